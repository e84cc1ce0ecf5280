"""Training a student under a teacher without data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT
from torch.utils.data import DataLoader, Dataset, Sampler

from lcomp.data.protocol import Data
from lcomp.errors import UserError
from lcomp.modules.baseline import in_32_bits
from lcomp.modules.distillation import DistillationModule
from lcomp.modules.optimizers import ADAM, OptimizerFactory
from lcomp.modules.schedulers import SchedulerFactory
from lcomp.tasks import Batch, Loader, Task
from lcomp.tasks.task import Inputs
from lcomp.techniques.distillation.data_free import DataFreeDistillation, Generator, reverse_gradient
from lcomp.techniques.technique import Technique

BatchPosition = tuple[int, int]  # of a batch: epoch, step


class Latents(Dataset[tuple[Tensor, Tensor]]):
    """Batches (size, latent) from N(0, 1), and shares (1 + replays, size) from U(0, 1) that decide where the memory is
    written and read; each a function of (seed, epoch, step): a resumed run sees the same."""

    def __init__(self, size: int, latent: int, replays: int, seed: int):
        self.size, self.latent, self.replays, self.seed = size, latent, replays, seed

    def __getitem__(self, position: BatchPosition) -> tuple[Tensor, Tensor]:
        state = np.random.SeedSequence((self.seed, *position)).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(state) & (2**63 - 1))
        latents = torch.randn(self.size, self.latent, generator=generator)
        return latents, torch.rand(1 + self.replays, self.size, generator=generator)


class ReplayBuffer(nn.Module):
    """Examples that were drawn before, as bytes, with the teacher's logits; new ones take the places of random ones.

    Args:
        size: examples that are kept.
        shape: (C, H, W) of an example.
        classes: logits.
    """

    images: Tensor  # named so in checkpoints
    logits: Tensor
    seen: Tensor

    def __init__(self, size: int, shape: Sequence[int], classes: int):
        super().__init__()
        self.register_buffer("images", torch.zeros(size, *shape, dtype=torch.uint8))
        self.register_buffer("logits", torch.zeros(size, classes))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))  # examples that came, to `size`

    def sample(self, shares: Tensor) -> tuple[Tensor, Tensor]:
        """Examples and logits at `shares` (N,) in [0, 1) of what is kept."""
        places = (shares * self.seen).long()
        return self.images[places].float().div_(255), self.logits[places]

    def write(self, examples: Tensor, logits: Tensor, shares: Tensor) -> None:
        """Keeps `examples`: behind the others while there is room, then at `shares` (N,) of the memory."""
        size, count = len(self.images), len(examples)
        if self.seen + count <= size:
            places = self.seen + torch.arange(count, device=examples.device)
            self.seen += count
        else:
            places = (shares * self.seen).long()
        self.images[places] = (examples * 255).round().to(torch.uint8)
        self.logits[places] = logits


def number_of_logits(teacher: nn.Module, shape: Sequence[int]) -> int:
    with torch.no_grad():
        return int(teacher(torch.zeros(1, *shape)).shape[1])


class BatchPositionSampler(Sampler[BatchPosition]):
    """The places of an epoch's batches, in their order."""

    def __init__(self, steps: int):
        self.steps, self.epoch = steps, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[BatchPosition]:
        # A generator: a resumed Trainer makes the iterator before it sets the epoch.
        yield from ((self.epoch, step) for step in range(self.steps))


class DataFreeModule(DistillationModule):
    """Trains `network`, the student, and a generator of its examples at once: one backward pass of the sum of both
    losses, one optimizer. The generator is part of the checkpoint, and of nothing that is exported.

    Args:
        network, teacher, techniques, learning_rate, schedule, warmup, optimizer, task, scheduler: as in
            `DistillationModule`; the teacher's features are what its last linear layer reads.
        objective: both losses.
        input_shape: (C, H, W) of an example.
        seed: of the generator's first weights, and of the latents.

    Raises:
        UserError: the teacher has no linear layer, or the task's inputs are nothing that the generator draws.
    """

    def __init__(
        self,
        network: nn.Module,
        teacher: nn.Module,
        objective: DataFreeDistillation,
        techniques: Sequence[Technique] = (),
        learning_rate: float = 1e-3,
        schedule: str = "constant",
        warmup: float = 0.0,
        optimizer: OptimizerFactory = ADAM,
        input_shape: Sequence[int] = (1, 28, 28),
        seed: int = 0,
        task: Task | None = None,
        scheduler: SchedulerFactory | None = None,
    ):
        of_distillation = (network, teacher, objective, techniques, learning_rate, schedule, warmup, optimizer)
        super().__init__(*of_distillation, task=task, scheduler=scheduler)
        objective.check(self.task)
        self.free, self.seed = objective, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.generator = Generator(objective.latent, input_shape, objective.width, objective.strokes)
        classes = number_of_logits(self.teacher, input_shape)
        self.memory = ReplayBuffer(objective.memory if objective.replays else 0, input_shape, classes)
        self._classifiers = [last_linear(one) for one in getattr(teacher, "members", [teacher])]

    def parameter_groups(self) -> ParamsT:
        own = set(self.generator.parameters())
        others = [parameter for parameter in self.parameters() if parameter not in own]
        rate, params = self.free.generator_learning_rate, list(self.generator.parameters())
        groups: list[dict[str, list[nn.Parameter] | float]] = [{"params": others}, {"params": params, "lr": rate}]
        return groups

    def batches(self, data: Data) -> Loader:
        """Latents; an epoch has as many steps as one of the data's, of which no example is read."""
        latents = Latents(self.free.batch_size, self.free.latent, self.free.replays, self.seed)
        return DataLoader(latents, sampler=BatchPositionSampler(len(data.train_dataloader())), batch_size=None)

    @torch.no_grad()
    def inputs(self, batch: Batch) -> Inputs:
        """The examples of a batch of latents, as the generator is; nothing of it changes."""
        mode = self.generator.training
        examples: Tensor = self.generator.eval()(batch[0])
        self.generator.train(mode)
        return dict.fromkeys(self.task.example_inputs(1), examples)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        examples = self.generator(batch[0])
        logits, features = self.ask(examples)
        seen, answers = (reverse_gradient(x, self.free.adversarial) for x in (examples, logits))
        loss = self.student_loss(seen, answers, batch[1][1:]) + self.free.generator_loss(logits, features)
        if self.free.replays:
            self.memory.write(examples.detach(), logits.detach(), batch[1][0])
        self._losses.append((loss.detach(), len(examples)))
        return loss

    def student_loss(self, examples: Tensor, answers: Tensor, shares: Tensor) -> Tensor:
        """The student's loss on new examples, and on those of the memory at `shares` (replays, N), each replay weighs
        as the new ones do. It sees all of them at once: quantizers count what they see as one batch."""
        if not self.free.replays or not self.memory.seen:
            return self.objective(in_32_bits(self.network(examples)), answers, answers.argmax(1))
        earlier, logits = self.memory.sample(shares.flatten())
        new, old = in_32_bits(self.network(torch.cat([examples, earlier]))).split([len(examples), len(earlier)])
        again = self.free.replays * self.objective(old, logits, logits.argmax(1))
        return self.objective(new, answers, answers.argmax(1)) + again

    def ask(self, examples: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's logits (N, classes) and features (N, ...), through which gradients reach `examples`."""
        seen: list[Tensor] = []
        hooks = [c.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for c in self._classifiers]
        try:
            logits = in_32_bits(self.teacher.to(examples.device)(examples))
        finally:
            for hook in hooks:
                hook.remove()
        return logits, torch.cat(seen, 1)


def last_linear(teacher: nn.Module) -> nn.Linear:
    found = [layer for layer in teacher.modules() if isinstance(layer, nn.Linear)]
    if not found:
        raise UserError(f"kd=data_free: {type(teacher).__name__} has no Linear layer, whose inputs are its features")
    return found[-1]
