"""Low-rank decomposition: two smaller layers in the place of one (Denton et al. 2014; Jaderberg et al. 2014)."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from lcomp.errors import UserError, validate_choice
from lcomp.record.interruption import raise_machine_error
from lcomp.techniques import inspection, layer_graph
from lcomp.techniques.example import Example, arguments
from lcomp.techniques.layer_kinds import looks_up
from lcomp.techniques.parametrizations import chain
from lcomp.techniques.pruning.channel_removal import evaluated_logits, first_line
from lcomp.techniques.pruning.factors import (
    FORMS,
    Decomposition,
    Factors,
    Option,
    by_budget,
    by_energy,
    empty_factors,
    form_of,
    options,
)
from lcomp.techniques.technique import (
    Layer,
    StoredWeight,
    Technique,
    acted_on,
    check_patterns,
    layers,
    warn_of_others,
)

log = logging.getLogger(__name__)
SPARSITY = 0.5  # where neither a share of the weights nor one of their squares is named


class LowRank(Technique):
    """Puts two layers of low rank in the place of convolutions and linear layers, before training; these fine-tune.

    A weight becomes the product of two, its truncated singular value decomposition. Ranks follow from the spectra: each
    layer keeps the least rank with a share `energy` of its squares, or all together keep a budget, see
    `factors.by_budget`. A layer whose factors would not be smaller, or that the budget spares, stays as it is.

    Args:
        sparsity: share of the cost of the layers that are acted on that goes, above 0 to below 1; reached to one rank.
        energy: share of the squares of each layer's weight that stays, above 0 to 1, in the place of `sparsity`. Where
            both are None `sparsity` is 0.5.
        form: of convolutions, `spatial` or `channel`, see `factors.Decomposition`.
        cost: what is saved, `weights` or `macs`, multiplications for an example.
        exclude: names of layers (`fc3`, `conv*`) that stay.

    Raises:
        UserError: a value outside its range, both `sparsity` and `energy`, a sparsity that ranks of one do not reach, a
            name in `exclude` that matches no layer; in `check` with an example: a network that fails with such layers.
    """

    stage = 1

    def __init__(
        self,
        sparsity: float | None = None,
        energy: float | None = None,
        form: str = "spatial",
        cost: str = "weights",
        exclude: Sequence[str] = (),
    ):
        if sparsity is not None and energy is not None:
            raise UserError(f"prune.sparsity={sparsity}, prune.energy={energy}: name one, and leave the other null")
        if sparsity is not None and not 0 < sparsity < 1:
            raise UserError(f"prune.sparsity={sparsity}: the share of the cost that goes, above 0 to below 1")
        if energy is not None and not 0 < energy <= 1:
            raise UserError(f"prune.energy={energy}: the share of each weight's squares that stays, above 0 to 1")
        validate_choice("prune.form", form, FORMS)
        validate_choice("prune.cost", cost, ("weights", "macs"))
        self.sparsity = SPARSITY if sparsity is None and energy is None else sparsity
        self.energy, self.form, self.cost, self.exclude = energy, form, cost, tuple(exclude)

    def broken_promise(self, before: nn.Module, after: nn.Module, weights: Sequence[StoredWeight]) -> str:
        sizes = [(layer.weight.numel(), looks_up(layer)) for _, layer in layers(before)]
        whole = sum(size for size, stays in sizes if stays)  # what looks rows up is never factored
        had, has = sum(size for size, _ in sizes) - whole, sum(weight.size for weight in weights) - whole
        least = self.sparsity if self.sparsity is not None and self.cost == "weights" else 0.0
        return "" if has <= (1 - least) * had else f"{has} weights of {had}, not a share of {least} less"

    def check(self, network: nn.Module, example: Example | None = None) -> None:
        super().check(network, example)
        check_patterns(network, self.exclude, "prune.exclude")
        selected, _ = self.acted_on(network)
        if self.calls is not None or self.cost == "weights":
            self.check_budget(selected)
        if example is not None:
            self.try_out(network, example, selected)

    def check_budget(self, selected: Mapping[str, Layer]) -> None:
        """Raises UserError for a sparsity beyond that of ranks of one."""
        costs = [self.costs(name, layer) for name, layer in selected.items()]
        most = 1 - sum(map(min, costs)) / sum(whole for whole, _ in costs)
        if self.sparsity is not None and self.sparsity > most:
            raise UserError(f"prune.sparsity={self.sparsity}: ranks of one remove {most:.3g} of the {self.cost}")

    def try_out(self, network: nn.Module, example: Example, selected: Iterable[str]) -> None:
        """Raises UserError unless a copy with factors in the place of all the layers gives as many logits."""
        trial, given = copy.deepcopy(network).cpu().eval(), tuple(tensor.cpu() for tensor in arguments(example))
        before = evaluated_logits(trial, given)
        for name in selected:
            self.replace(trial, name, empty_factors(trial.get_submodule(name), self.form, 1))  # type: ignore[arg-type]
        try:
            shape = evaluated_logits(trial, given).shape
            cause = "" if shape == before.shape else f"it gives {tuple(shape)}, not {tuple(before.shape)}"
        except UserError:
            raise
        except Exception as error:  # whatever a user's forward raises that reads a layer's attributes
            raise_machine_error(error)
            cause = first_line(error)
        if cause:
            kind = type(network).__name__
            raise UserError(f"prune=low_rank: {kind} fails with two layers for one ({cause}); name it in prune.exclude")

    def acted_on(self, network: nn.Module) -> tuple[dict[str, Layer], dict[str, str]]:
        """The layers to take apart, by name, and why others are left alone."""
        shared = inspection.weight_sharers(network)

        def reason(name: str, layer: Layer) -> str | None:
            return (
                f"its weight is {', '.join(shared[name])} too" if name in shared else self.reason_against(name, layer)
            )

        return acted_on(network, "prune", self.exclude, reason, self.calls)

    def reason_against(self, name: str, layer: Layer) -> str | None:
        """Why the layer cannot be taken apart."""
        if looks_up(layer):
            return "it looks rows up"
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            return f"it has {layer.groups} groups"
        if chain(layer):
            return "something else is parametrized on its weight"
        if inspection.has_other_hooks(layer):
            return "it has hooks of its own"
        if not inspection.computes_as_its_kind(layer):
            return f"it does not compute as a {'Conv2d' if isinstance(layer, nn.Conv2d) else 'Linear'} does"
        if self.calls is not None and name not in self.calls.ranks:
            return "its weight is read, but the layer itself is not called"
        return None

    def prepare(self, network: nn.Module) -> None:
        if any(isinstance(module, Factors) for module in network.modules()):
            return
        self.check(network)
        selected, left_alone = self.acted_on(network)
        warn_of_others(network, "prune", left_alone)
        decompositions = {name: Decomposition(layer, self.form) for name, layer in selected.items()}
        chosen = self.choose([self.options(name, of) for name, of in decompositions.items()])
        whole = [name for name, option in zip(selected, chosen, strict=True) if option.rank is None]
        if whole:
            log.info("prune=low_rank leaves %s whole: %s", ", ".join(whole), self.why_whole)
        for (name, decomposition), option in zip(decompositions.items(), chosen, strict=True):
            if option.rank is not None:
                self.replace(network, name, decomposition.factors(option.rank))

    @property
    def why_whole(self) -> str:
        if self.energy is None:
            return f"the budget of {self.cost} is kept by others"
        return f"factors that keep a share of {self.energy} of the squares are not cheaper"

    def prepare_for(self, network: nn.Module, state: Mapping[str, Tensor]) -> None:
        selected, _ = self.acted_on(network)
        for name, layer in selected.items():
            ranks = [len(one) for key, one in state.items() if key.startswith(f"{name}.0.") and one.dim() > 1]
            if ranks:
                self.replace(network, name, empty_factors(layer, self.form, ranks[0]))

    @staticmethod
    def replace(network: nn.Module, name: str, factors: Factors) -> None:
        """Puts factors in the place of a layer, under all of its names."""
        layer = network.get_submodule(name)
        for alias, module in list(network.named_modules(remove_duplicate=False)):
            if module is layer:
                layer_graph.replace_module(network, alias, factors)

    def choose(self, rows: Sequence[Sequence[Option]]) -> list[Option]:
        """What becomes of each layer."""
        if self.energy is not None:
            return by_energy(rows, self.energy)
        assert self.sparsity is not None
        return by_budget(rows, (1 - self.sparsity) * sum(row[0].cost for row in rows))

    def options(self, name: str, decomposition: Decomposition) -> list[Option]:
        """What can become of the layer of that name."""
        whole, one = self.costs(name, decomposition.layer)
        return options(whole, one, decomposition.energies)

    def costs(self, name: str, layer: Layer) -> tuple[int, int]:
        """What the layer of that name costs whole, and what one rank of its factors does."""
        first, second = empty_factors(layer, self.form, 1).pair
        inner, outer = self.positions(name, layer)
        return layer.weight.numel() * outer, first.weight.numel() * inner + second.weight.numel() * outer

    def positions(self, name: str, layer: Layer) -> tuple[int, int]:
        """At how many places of an example the weights of the first factor are multiplied, and those of the second; one
        each where weights are counted.

        Raises:
            UserError: multiplications are to be counted, and nothing is known of the layer's inputs.
        """
        if self.cost == "weights":
            return 1, 1
        if self.calls is None or name not in self.calls.sizes:
            raise UserError("prune.cost=macs: the network has to be asked with a batch first: check(network, example)")
        inner = outer = 0
        for given, returned in self.calls.sizes[name]:
            places = math.prod(returned[1:]) // len(layer.weight)
            outer += places
            inner += places // returned[-1] * given[-1] if form_of(layer, self.form) == "spatial" else places
        return inner, outer

    def scalars(self, network: nn.Module) -> dict[str, float]:
        return {
            f"rank/{name}": float(module.rank)
            for name, module in network.named_modules()
            if isinstance(module, Factors)
        }

    def finalize(self, network: nn.Module, calibration: Iterable[Example] = ()) -> nn.Module:
        return network
