"""The entropy-coded stream gives the same bits back, is as long as the entropy says, and refuses damage."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lcomp import size, stream
from lcomp.errors import UserError
from lcomp.models import LeNet5
from lcomp.techniques.pruning import Pruning
from lcomp.techniques.quantization import DynamicQuantization, StaticQuantization, WeightSharing
from lcomp.techniques.technique import finalize


def same_bits(one, other):
    assert list(one) == list(other)
    for name, tensor in one.items():
        seen = other[name]
        assert (tensor.dtype, tensor.shape) == (seen.dtype, seen.shape), name
        assert stream.raw_bytes(tensor.contiguous()) == stream.raw_bytes(seen), name


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
    content = stream.encode(network)
    decoded = stream.decode(content)
    same_bits(network.state_dict(), decoded)
    pixels, other = torch.rand(3, 1, 28, 28), copy.deepcopy(network)
    for tensor in other.state_dict().values():
        tensor.zero_()
    other.load_state_dict(decoded)
    assert torch.equal(network(pixels), other(pixels))
    assert size.of_network(network)["stream_bytes"] == len(content)


TENSORS = st.one_of(
    st.lists(st.integers(-128, 127), max_size=60).map(lambda v: torch.tensor(v, dtype=torch.int8)),
    st.lists(st.sampled_from([0, 0, 0, 255]), max_size=300).map(lambda v: torch.tensor(v, dtype=torch.uint8)),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=9).map(lambda v: torch.tensor(v, dtype=torch.int64)),
    st.lists(st.sampled_from([0.0, -0.0, 1.5, float("nan"), float("inf")]), max_size=300).map(torch.tensor),
    st.lists(st.floats(width=32), max_size=9).map(lambda v: torch.tensor(v).reshape(1, -1, 1)),
    st.booleans().map(torch.tensor),
)


@given(st.lists(TENSORS, max_size=5))
def test_any_tensors_come_back_bit_for_bit(tensors):
    state = {f"layer{number}.gewicht": tensor for number, tensor in enumerate(tensors)}
    same_bits(state, stream.decode(stream.encode_state(state)))


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.95, 0.99])
def test_sparse_integers_take_their_empirical_entropy(sparsity):
    draw = np.random.default_rng(0)
    values = np.round(draw.normal(0, 4, 40_000)).clip(-15, 15) * (draw.random(40_000) >= sparsity)
    _, counts = np.unique(values, return_counts=True)
    share = counts / counts.sum()
    entropy = -(share * np.log2(share)).sum() * len(values) / 8
    content = stream.encode_state({"weight": torch.from_numpy(values).to(torch.int8).view(200, 200)})
    assert entropy <= len(content) <= 1.02 * entropy + 100  # the header: checksum, name, shape, a table of 31


def test_zeros_of_float_weights_cost_the_entropy_of_their_places():
    draw = torch.Generator().manual_seed(0)
    weight = torch.where(torch.rand(100, 400, generator=draw) < 0.1, torch.randn(100, 400, generator=draw), 0.0)
    kept = int(weight.count_nonzero())
    share = np.array([kept, 40_000 - kept]) / 40_000
    entropy = -(share * np.log2(share)).sum() * 40_000 / 8
    assert 4 * kept + entropy <= len(stream.encode_state({"weight": weight})) <= 4 * kept + 1.02 * entropy + 50


def test_a_float_network_takes_its_bytes():
    kept = 44_426 - 236  # its biases are zero
    assert kept * 4 <= len(stream.encode(LeNet5())) <= kept * 4 + 300


@given(st.data())
def test_damaged_bytes_are_refused(data):
    content = stream.encode_state({"a": torch.arange(9), "b": torch.zeros(50, dtype=torch.int8)})
    place = data.draw(st.integers(0, len(content) - 1))
    flipped = bytearray(content)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    for damaged in (bytes(flipped), content[:place], content + b"\0"):
        with pytest.raises(UserError, match="stream"):
            stream.decode(damaged)


def test_a_type_without_a_place_is_refused():
    with pytest.raises(UserError, match=r"weight: a tensor of torch\.complex64"):
        stream.encode_state({"weight": torch.zeros(2, dtype=torch.complex64)})
