"""A network's entropy-coded state gives the same bits back."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lcomp.errors import UserError
from lcomp.evaluation import size
from lcomp.models import LeNet5
from lcomp.packed import state_codec
from lcomp.techniques.pruning import Pruning
from lcomp.techniques.quantization import DynamicQuantization, StaticQuantization, WeightSharing
from lcomp.techniques.technique import finalize


def raw(tensor):
    return tensor.contiguous().flatten().view(torch.uint8).tolist()


def same_bits(one, other):
    assert list(one) == list(other)
    for name, tensor in one.items():
        seen = other[name]
        assert (tensor.dtype, tensor.shape) == (seen.dtype, seen.shape), name
        assert raw(tensor) == raw(seen), name


def compressed(network, *techniques):
    for technique in techniques:
        technique.prepare(network)
    pruning = [technique for technique in techniques if isinstance(technique, Pruning)]
    for technique in pruning:
        technique.prune(technique.sparsity)
    return finalize(network, techniques, [torch.rand(50, 1, 28, 28, generator=torch.Generator().manual_seed(0))])


class WithBatchNorm(LeNet5):
    """LeNet-5 whose first layer is normalized, and that has half-precision and boolean buffers, one of them empty."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(6)
        self.register_buffer("halves", torch.tensor([0.0, -0.0, float("nan"), 1.0], dtype=torch.float16))
        self.register_buffer("brain", torch.zeros(100, 3, dtype=torch.bfloat16))
        self.register_buffer("flags", torch.tensor([True] * 99 + [False]))
        self.register_buffer("nothing", torch.zeros(0, 3))


@pytest.mark.parametrize(
    "techniques",
    [
        [],
        [Pruning(0.9)],
        [StaticQuantization(8)],
        [StaticQuantization(2, granularity="tensor")],
        [DynamicQuantization(8)],
        [WeightSharing(8, begin=1)],
        [Pruning(0.95), WeightSharing(4, begin=1, exclude=["fc3"])],
    ],
    ids=["float", "pruned", "static", "ternary", "dynamic", "shared", "all"],
)
def test_every_kind_of_layer_comes_back_bit_for_bit(techniques):
    torch.manual_seed(0)
    network = compressed(WithBatchNorm(), *techniques)
    content = state_codec.encode(network.state_dict())
    pixels, other = torch.rand(3, 1, 28, 28), copy.deepcopy(network)
    for tensor in other.state_dict().values():
        tensor.zero_()
    decoded = state_codec.decode(content, other.state_dict())
    same_bits(network.state_dict(), decoded)
    other.load_state_dict(decoded)
    assert torch.equal(network(pixels), other(pixels))
    assert size.of_network(network, pixels).stream_bytes == len(content)


TENSORS = st.one_of(
    st.lists(st.integers(-128, 127), max_size=60).map(lambda v: torch.tensor(v, dtype=torch.int8)),
    st.lists(st.sampled_from([0, 0, 0, 255]), max_size=300).map(lambda v: torch.tensor(v, dtype=torch.uint8)),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=9).map(lambda v: torch.tensor(v, dtype=torch.int64)),
    st.lists(st.sampled_from([0.0, -0.0, 1.5, float("nan"), float("inf")]), max_size=300).map(torch.tensor),
    st.lists(st.floats(width=32), max_size=9).map(lambda v: torch.tensor(v).reshape(1, -1, 1)),
    st.booleans().map(torch.tensor),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(TENSORS, max_size=5))
def test_any_tensors_come_back_bit_for_bit(tensors):
    state = {f"layer{number}.gewicht": tensor for number, tensor in enumerate(tensors)}
    empty = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    same_bits(state, state_codec.decode(state_codec.encode(state), empty))


def test_zeros_of_float_weights_cost_the_entropy_of_their_places():
    draw = torch.Generator().manual_seed(0)
    weight = torch.where(torch.rand(100, 400, generator=draw) < 0.1, torch.randn(100, 400, generator=draw), 0.0)
    kept = int(weight.count_nonzero())
    share = np.array([kept, 40_000 - kept]) / 40_000
    entropy = -(share * np.log2(share)).sum() * 40_000 / 8
    content = state_codec.encode({"weight": weight})
    assert 3 * kept + entropy <= len(content) <= 3.5 * kept + 1.02 * entropy  # half an exponent's byte is known


def test_a_state_of_another_structure_is_refused():
    content = state_codec.encode({"a": torch.arange(9), "b": torch.arange(50, dtype=torch.int8)})
    with pytest.raises(UserError, match="something follows its end"):
        state_codec.decode(content, {"a": torch.arange(9)})
