"""Packed networks: the same bits and logits come back, from few bytes, for any network and every technique."""

import copy
import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx_graphs import initializers, logits, operators
from packed_networks import Foreign, every_kind, example_of, of_sentences, smooth
from quickly import first_quickly
from torch import nn

from lcomp import pack, unpack
from lcomp.errors import UserError
from lcomp.evaluation import size
from lcomp.export.onnx_export import export
from lcomp.export.rounding import on_grid, round_network, significant
from lcomp.models import LeNet5
from lcomp.packed import from_onnx, same_tensors
from lcomp.packed import pack as packed_into
from lcomp.packed.coder import Reader, Writer
from lcomp.packed.file import HEADER, file_content, read_network, write_network
from lcomp.packed.network import Clip
from lcomp.packed.operations import OPERATIONS
from lcomp.packed.tensors import (
    MOST_LEVELS,
    kernel_bits,
    kernels,
    read_floats,
    read_integers,
    write_floats,
    write_integers,
)
from lcomp.tasks import ImageClassification
from lcomp.techniques.pruning import Pruning
from lcomp.techniques.quantization import StaticQuantization, WeightSharing
from lcomp.techniques.quantization.integer_layers import Input
from lcomp.techniques.technique import finalize

unhurried = settings(deadline=None, max_examples=50)
BUDGET = 1 << 20
WHOLE = arrays.arrays(np.int64, st.integers(1, 300), elements=st.integers(-5, 5) | st.integers(-8000, 8000))
ANY_FLOATS = arrays.arrays(np.float32, st.integers(1, 60), elements=st.floats(width=32))
FEW_BITS = st.builds(
    lambda whole, unit: (whole * 2.0**unit).astype(np.float32), WHOLE, st.integers(-140, 100) | st.integers(-9, 0)
)


def reader_of(io: Writer) -> Reader:
    return Reader(io.content(), BUDGET)


@unhurried
@given(st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 40)), st.lists(st.integers(-(2**31), 2**31)))
def test_numbers_come_back(numbers, signed):
    io = Writer()
    assert [io.number(n) for n in numbers] == numbers and [io.signed(n) for n in signed] == signed
    reader = reader_of(io)
    assert [reader.number() for _ in numbers] == numbers and [reader.signed() for _ in signed] == signed
    reader.end()


@unhurried
@given(WHOLE)
@example(np.array([0, 64, 1, 2] * 50))  # with marks for the levels that occur
@example(np.zeros(9, np.int64))
def test_whole_numbers_come_back(values):
    io = Writer()
    write_integers(io, values)
    reader = reader_of(io)
    assert np.array_equal(read_integers(reader, len(values)), values)
    reader.end()


def test_whole_numbers_too_far_apart_are_refused():
    with pytest.raises(UserError, match="too far apart"):
        write_integers(Writer(), np.array([0, MOST_LEVELS]))


@unhurried
@given(ANY_FLOATS | FEW_BITS)
@example(np.array([0.1] * 9, np.float32))
@example(np.array([-0.0, 1.0, np.nan, -np.inf, 1e-45], np.float32))
def test_floats_come_back_bit_for_bit(values):
    io = Writer()
    write_floats(io, values)
    reader = reader_of(io)
    assert read_floats(reader, len(values)).tobytes() == values.tobytes()
    reader.end()
    assert sum(io.spent.values()) <= 2.1 + 32 * len(values)  # no form is larger than the floats themselves


@unhurried
@given(
    arrays.arrays(np.int64, st.tuples(*[st.integers(1, n) for n in (20, 4, 4)]), elements=st.integers(-7, 7)),
    st.integers(0, 9),
)
def test_planes_of_whole_numbers_come_back(values, steepest):
    io = Writer()
    kernels(io, values, 7, steepest)
    reader = reader_of(io)
    assert np.array_equal(kernels(reader, np.zeros_like(values), 7, steepest), values)
    reader.end()
    assert sum(io.spent.values()) == pytest.approx(kernel_bits(values, 7, steepest), rel=0.02, abs=2)


@pytest.mark.parametrize("asked", first_quickly([2, None]))
def test_a_run_writes_the_version_that_is_asked_for(lcomp, tmp_path, asked):
    done = lcomp(
        "quant=static", "quant.bits=3", "pack.bias_bits=6", f"pack.version={asked or 'null'}", "hydra.run.dir=run"
    )
    assert done.returncode == 0, done.stderr
    file = (tmp_path / "run/artifact.lcomp").read_bytes()
    assert file[2] == (asked or 1)
    assert json.loads((tmp_path / "run/result.json").read_text())["metrics"]["packed_bytes"] == len(file)


def test_version_2_rebuilds_the_same_network_in_fewer_bytes_and_version_1_has_no_such_form():
    network = smooth()
    first, second = (file_content(write_network(network, version)) for version in (1, 2))
    assert len(second) < len(first) and (first[2], second[2]) == (1, 2)
    for file in (first, second):
        made = read_network(file)
        assert same_tensors(network, made)
    with pytest.raises(UserError, match="form that this version does not know"):
        read_network(second[:2] + b"\1" + second[3:])


def entropy_bytes(values):
    share = np.unique(values, return_counts=True)[1] / values.size
    return -(share * np.log2(share)).sum() * values.size / 8


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.95, 0.99])
def test_sparse_whole_numbers_take_their_empirical_entropy(sparsity):
    draw = np.random.default_rng(0)
    values = np.round(draw.normal(0, 4, 40_000)).clip(-15, 15) * (draw.random(40_000) >= sparsity)
    io = Writer()
    write_integers(io, values.astype(np.int64))
    entropy = entropy_bytes(values)
    assert entropy <= len(io.content()) <= 1.01 * entropy + 30  # 31 levels to learn
    assert len(io.content()) == pytest.approx(sum(io.spent.values()) / 8, abs=5)


def test_smooth_kernels_take_less_than_the_same_weights_in_another_order():
    draw = np.random.default_rng(0)
    smooth = (draw.normal(0, 3, (200, 1, 1)) + draw.normal(0, 1, (200, 3, 3))).round().clip(-7, 7).astype(np.int64)
    costs = []
    for values in (smooth, draw.permutation(smooth.ravel()).reshape(smooth.shape)):
        io = Writer()
        kernels(io, values, 7)
        costs.append(sum(io.spent.values()) / 8)
    assert costs[0] < 0.9 * entropy_bytes(smooth) < costs[1]


def test_float_weights_take_their_mantissas_and_the_entropy_of_their_exponents():
    values = np.random.default_rng(0).normal(0, 0.1, 20_000).astype(np.float32)
    io = Writer()
    write_floats(io, values)
    exponents = np.frexp(values)[1]
    assert len(io.content()) <= 1.002 * (20_000 * 24 / 8 + entropy_bytes(exponents))


def test_every_kind_of_step_comes_back():
    networks = every_kind(), of_sentences()
    kinds = {type(step) for network in networks for step in network.steps}
    known = [operation.kind if isinstance(operation.kind, tuple) else (operation.kind,) for operation in OPERATIONS]
    assert all(kinds & set(one) for one in known) and kinds <= {kind for one in known for kind in one}
    for network, classes in zip(networks, (7, 3), strict=True):
        file = file_content(write_network(network))
        made = read_network(file)
        assert same_tensors(network, made) and made.sources == network.sources and made.classes == classes
        assert file_content(write_network(made)) == file
        assert torch.equal(made(*(shown := example_of(network))), network(*shown))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    torch.manual_seed(0)
    network, path = Foreign().eval(), tmp_path_factory.mktemp("foreign") / "artifact.onnx"
    export(network, path, ImageClassification())
    return network, path


@pytest.mark.slow
def test_a_network_of_a_user_s_is_rebuilt_by_a_process_that_has_never_heard_of_it(foreign, tmp_path):
    network, path = foreign
    assert pack.main([str(path)]) == 0
    pixels = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "pixels.npy", pixels.numpy())
    code = (
        "import lcomp, numpy, sys, torch\n"
        f"network = lcomp.load({str(path.with_suffix('.lcomp'))!r})\n"
        f"pixels = torch.from_numpy(numpy.load({str(tmp_path / 'pixels.npy')!r}))\n"
        f"numpy.save({str(tmp_path / 'logits.npy')!r}, network(pixels).detach().numpy())\n"
        "assert 'packed_networks' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=120)
    assert np.allclose(np.load(tmp_path / "logits.npy"), network(pixels).detach(), atol=1e-5)


def test_it_turns_back_into_the_same_graph(foreign, capsys):
    _, path = foreign
    packed_into(path, path.with_suffix(".lcomp"))
    assert unpack.main([str(path.with_suffix(".lcomp")), "--to", "onnx"]) == 1
    assert "--out" in capsys.readouterr().err  # the artifact lies there
    back = path.with_name("back.onnx")
    assert unpack.main([str(path.with_suffix(".lcomp")), "--to", "onnx", "--out", str(back)]) == 0
    assert operators(back) == operators(path)
    pixels = np.random.default_rng(0).random((20, 1, 28, 28), dtype=np.float32)
    assert np.array_equal(logits(back, pixels), logits(path, pixels))


def compressed(network, *techniques):
    for technique in techniques:
        technique.prepare(network)
        if isinstance(technique, Pruning):
            technique.prune(technique.sparsity)
    return finalize(network, techniques, [torch.rand(50, 1, 28, 28, generator=torch.Generator().manual_seed(0))])


def test_structure_takes_tens_of_bytes_and_a_sparse_network_its_entropy(tmp_path):
    torch.manual_seed(0)
    network = compressed(LeNet5(), Pruning(0.95), StaticQuantization(4, granularity="tensor"))
    network = round_network(network, bias_bits=8, scale_bits=8)
    export(network, tmp_path / "a.onnx", ImageClassification())
    parts = packed_into(tmp_path / "a.onnx", tmp_path / "a.lcomp")
    assert parts["header"] == HEADER == 7 and parts["structure"] < 28
    assert parts["scales"] < 10 * 3.5 and parts["biases"] < 236 + 5 * 5
    weights = [w for w in initializers(tmp_path / "a.onnx").values() if w.dtype == np.int8 and w.ndim > 1]
    assert parts["weights"] < 1.03 * sum(map(entropy_bytes, weights)) + 5 * 4
    assert (tmp_path / "a.lcomp").stat().st_size == pytest.approx(sum(parts.values()), abs=5)


def test_narrow_activations_are_one_step(tmp_path):
    """The artifact has a Clip in front of each: its eight-bit quantizer knows no fewer levels."""
    torch.manual_seed(0)
    network = compressed(LeNet5(), StaticQuantization(4, activation_bits=3))
    export(network, tmp_path / "a.onnx", ImageClassification())
    made = from_onnx(tmp_path / "a.onnx")
    assert [step.levels for step in made.steps if isinstance(step, Input)] == [255, 7, 7, 7, 7]
    assert not any(isinstance(step, Clip) for step in made.steps)
    pixels = torch.rand(9, 1, 28, 28)
    assert torch.equal(made(pixels), network(pixels))


def test_values_that_no_weight_takes_are_left_out(tmp_path):
    torch.manual_seed(0)
    network = compressed(LeNet5(), Pruning(0.9), WeightSharing(8, begin=1))
    export(network, tmp_path / "a.onnx", ImageClassification())
    made = from_onnx(tmp_path / "a.onnx")
    books = [step.coded for step in made.steps if hasattr(step, "coded")]
    assert all(len(book.codebook) == len(book.integers.unique()) for book in books)
    assert len(books[0].codebook) < 100  # of the 256 that the artifact has
    pixels = torch.rand(9, 1, 28, 28)
    assert torch.equal(made(pixels), network(pixels))


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20), st.integers(2, 12))
@example([1.5], 3)
@unhurried
def test_rounded_biases_are_whole_multiples_and_near(values, bits):
    values = torch.tensor(values)
    made, most = on_grid(values, bits).double(), 2 ** (bits - 1) - 1
    largest = float(values.abs().max())
    if largest > 1e-30:
        unit = 2.0 ** np.ceil(np.log2(largest / most))
        whole = made / unit
        assert torch.equal(whole, whole.round()) and whole.abs().max() <= most
        assert float((made - values.double()).abs().max()) <= unit / 2 * (1 + 1e-6)
    assert not torch.signbit(made[made == 0]).any()


@given(st.lists(st.floats(2.0**-60, 2.0**60, width=32), min_size=1), st.integers(1, 16))
@unhurried
def test_rounded_scales_keep_their_significant_bits(values, bits):
    values = torch.tensor(values)
    made = significant(values, bits)
    assert ((made / values - 1).abs() <= 2.0**-bits).all()
    fractions = torch.frexp(made).mantissa * 2**bits
    assert torch.equal(fractions, fractions.round())


def test_nothing_is_rounded_unless_asked():
    network = compressed(LeNet5(), StaticQuantization(8))
    before = copy.deepcopy(network.state_dict())
    assert round_network(network) is network
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class WithSoftmax(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(784, 10), nn.Softmax(1))


def test_an_operator_without_a_place_is_named_and_leaves_no_file(tmp_path, caplog, capsys):
    export(WithSoftmax(), tmp_path / "artifact.onnx", ImageClassification())
    with caplog.at_level(logging.WARNING):
        assert size.of_packed(tmp_path / "artifact.onnx") is None
    assert "no packed_bytes" in caplog.text and "Softmax" in caplog.text
    assert pack.main([str(tmp_path)]) == 1
    assert "the operator Softmax; docs/format.md" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["artifact.onnx"]
