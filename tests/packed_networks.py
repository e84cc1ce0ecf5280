"""Networks for the tests of packed files: one with every kind of step, and one that no package defines."""

import torch
from torch import nn
from torch.nn import functional as F

from lcomp.models.blocks import Normalize
from lcomp.packed.layer_codec import make_convolution, make_linear
from lcomp.packed.network import Clip, Constant, Join, Mean, Network, Zeros
from lcomp.packed.operations import batch_norm
from lcomp.packed.sentences import MASK, Attend, First, MaskedMean, Places, layer_norm, make_embedding
from lcomp.techniques.pruning.vocabulary import Renumbered
from lcomp.techniques.quantization.integer_layers import DynamicInput, Input, IntegerWeight, SharedWeight


def integer_weight(*shape):
    values = torch.randint(-7, 8, shape, dtype=torch.int8)
    return IntegerWeight(values, torch.rand(shape[0]) + 0.01)


def shared_weight(*shape):
    book = torch.cat([torch.zeros(1), torch.randn(6)])
    return SharedWeight(torch.randint(0, 7, shape, dtype=torch.uint8), book)


def drawn(norm):
    for values in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
        values.uniform_(0.5, 2)
    return norm


def every_kind() -> Network:
    """A network of all kinds of step and all forms of weights, untrained."""
    torch.manual_seed(0)
    plain = [
        Input(torch.tensor(1 / 255), torch.tensor(0.0), 255),
        make_convolution(integer_weight(6, 1, 3, 3), torch.randn(6), (1, 1), (0, 0), (1, 1), 1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        Input(torch.tensor(0.3), torch.tensor(5.0), 15),
        make_convolution(shared_weight(6, 2, 3, 2), None, (2, 1), (1, 0), (1, 2), 3),
        nn.Hardswish(),
        nn.AvgPool2d((1, 2), (1, 2), (0, 1), count_include_pad=False),
        batch_norm((6, 1, 1), 1e-5, *torch.rand(4, 6)),
        make_convolution(torch.randn(6, 6, 1, 1), torch.randn(6), (1, 1), (0, 0), (1, 1), 1),
        nn.LeakyReLU(0.1),
        Zeros(0, 0, 1, 0, 0, 3),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        Clip(-1.5, float("inf")),
        nn.ELU(0.7),
        nn.GELU("tanh"),
        nn.GELU(),
        Constant("sub", torch.randn(6)),
        Constant("div", torch.tensor([3.0])),
        DynamicInput(),
    ]
    steps, sources = [*plain], [(number,) for number in range(len(plain))]

    def add(step, *others):
        steps.append(step)
        sources.append(others or (len(steps) - 1,))

    add(nn.Sigmoid())
    add(Join("mul"), len(steps), len(steps) - 1)
    add(nn.Identity(), 18)
    add(nn.Tanh())
    add(Join("sub"), len(steps) - 2, len(steps))
    add(Join("concat"), len(steps), len(steps) - 1)
    add(Mean())
    add(nn.Hardsigmoid())
    add(Join("add"), len(steps), len(steps))
    add(nn.Flatten())
    add(make_linear(integer_weight(9, 12), torch.randn(9)))
    add(make_linear(torch.randn(7, 9), None))
    return Network((1, 28, 28), 7, steps, sources)


def of_sentences() -> Network:
    """A network of all kinds of step that only those that read sentences have, untrained."""
    torch.manual_seed(0)
    steps = [
        make_embedding(integer_weight(11, 12)),
        Places(make_embedding(shared_weight(9, 12))),
        Join("add"),
        layer_norm(12, 1e-12, torch.randn(12), torch.randn(12)),
        make_linear(torch.randn(8, 12), torch.randn(8)),
        nn.Identity(),
        make_linear(integer_weight(8, 12), None),
        nn.Identity(),
        make_linear(shared_weight(8, 12), torch.randn(8)),
        Attend(4, 0.5),
        nn.GELU(),
        make_linear(integer_weight(12, 8), torch.randn(12)),
        Join("add"),
        First(),
        nn.Identity(),
        MaskedMean(),
        Join("sub"),
        Renumbered(make_embedding(integer_weight(6, 12)), torch.tensor([0, 1, 2, 1, 3, 1, 4, 5, 1, 1, 1])),
        First(),
        Join("add"),
        make_linear(torch.randn(3, 12), torch.randn(3)),
    ]
    sources = [(0,), (0,), (2, 1), (3,), (4,), (4,), (6,), (4,), (8,), (5, 7, 9, MASK), (10,), (11,), (12, 4), (13,)]
    return Network((1, 1, 7), 3, steps, [*sources, (13,), (15, MASK), (14, 16), (0,), (18,), (19, 17), (20,)])


def example_of(network):
    """Inputs of one example."""
    if not network.reads_sentences:
        return (torch.rand(1, *network.input_shape),)
    return tuple(torch.full((1, network.input_shape[-1]), number) for number in (0, 1))


def smooth() -> Network:
    """A convolution whose weights go on as their neighbours lean, which a file of version 2 has a form for."""
    draw = torch.Generator().manual_seed(0)
    slope, offset = (torch.randn(24, 8, 1, 1, generator=draw) for _ in range(2))
    weights = offset * 3 + slope * torch.arange(3) + slope.flip(0) * torch.arange(3).view(3, 1)
    integers = weights.round().clamp(-7, 7).to(torch.int8)
    bent = make_convolution(IntegerWeight(integers, torch.ones(24)), torch.ones(24), (1, 1), (0, 0), (1, 1), 1)
    first = make_convolution(integer_weight(8, 1, 3, 3), None, (1, 1), (0, 0), (1, 1), 1)
    return Network((1, 6, 6), 24, [first, bent, Mean(), nn.Flatten()], [(number,) for number in range(4)])


class Foreign(nn.Module):
    """What a user may write: a padded first convolution, residual and gated branches, operators between layers."""

    def __init__(self):
        super().__init__()
        self.normalize, self.first = Normalize(), nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.norm, self.branch = drawn(nn.BatchNorm2d(8)), nn.Conv2d(8, 8, (3, 1), padding="same", groups=2, bias=False)
        self.gate, self.last, self.out = nn.Conv2d(8, 8, 1), nn.Conv2d(16, 12, 3), nn.Linear(12, 10)
        self.pool, self.norm_of_values = nn.MaxPool2d(3, 2, 1), drawn(nn.BatchNorm1d(12))

    def forward(self, x):
        x = F.relu6(self.norm(F.leaky_relu(self.first(self.normalize(x)), 0.1)))
        x = self.pool(x) if x.shape[-1] > 10 else x
        y = F.silu(self.branch(x)) - x / 3
        x = x + F.hardsigmoid(self.gate(y.mean((2, 3), keepdim=True))) * y
        x = self.last(torch.cat([F.gelu(x), F.hardswish(x)], 1))
        return self.out(self.norm_of_values(F.adaptive_avg_pool2d(torch.tanh(x), 1).flatten(1)) + 0.5)
