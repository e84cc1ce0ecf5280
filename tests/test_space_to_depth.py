"""A convolution of one channel over blocks of pixels gives what it gave before."""

import numpy as np
import onnx
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from quickly import first_quickly
from torch import nn

from lcomp import packed, runtimes
from lcomp.errors import UserError
from lcomp.export.onnx_export import export
from lcomp.export.space_to_depth import fold
from lcomp.export.space_to_depth.rewriting import widened
from lcomp.modules import BaselineModule
from lcomp.packed.artifact import from_onnx
from lcomp.runtimes.onnxruntime import inference_session
from lcomp.tasks import ImageClassification
from lcomp.techniques.quantization import DynamicQuantization, StaticQuantization, WeightSharing

ZERO = numpy_helper.from_array(np.array(0, np.uint8), "zero")


def model(weight, size=(8, 12), padding=(1, 1), stride=1, pool=2, step=2, behind=("Relu",), before="MaxPool", uses=1):
    """Pixels to pooled outputs of one convolution; `behind` follows it, the pooling before the node named `before`."""
    rng = np.random.default_rng(0)
    bias = rng.normal(size=len(weight)).astype(np.float32)
    numbers = {
        "weight": weight,
        "bias": bias,
        "low": np.float32(-0.5),
        "high": np.float32(0.75),
        "scale": np.float32(0.01),
    }
    numbers = {name: np.array(array) for name, array in numbers.items()}
    constants = [numpy_helper.from_array(array, name) for name, array in numbers.items()] + [ZERO]
    pads = [*padding, *padding]
    nodes = [helper.make_node("Conv", ["pixels", "weight", "bias"], ["c"], pads=pads, strides=[stride] * 2)]
    extra = {"Relu": [], "Clip": ["low", "high"], "QuantizeLinear": ["scale", "zero"], "Sigmoid": []}
    last = "c"
    for kind in (*behind, "end"):
        if kind == before or (kind == "end" and before == "MaxPool"):
            nodes.append(helper.make_node("MaxPool", [last], ["m"], kernel_shape=[pool] * 2, strides=[step] * 2))
            last = "m"
        if kind != "end":
            nodes.append(helper.make_node(kind, [last, *extra[kind]], [kind]))
            last = kind
    outputs = [last] + ["c"] * (uses - 1)
    kinds = {"QuantizeLinear": TensorProto.UINT8}
    shape = ["batch", len(weight), None, None]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", weight.shape[1], *size])],
        [helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), shape) for name in outputs],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def answers(made, pixels):
    return inference_session(made.SerializeToString()).run(None, {"pixels": pixels})[0]


@given(
    channels=st.integers(1, 5),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    behind=st.lists(st.sampled_from(["Relu", "Clip"]), max_size=2, unique=True).map(tuple),
    quantized=st.booleans(),
)
@example(channels=3, kernel=(5, 5), padding=(0, 0), behind=("Relu",), quantized=True)
@example(channels=2, kernel=(3, 3), padding=(1, 1), behind=("Relu", "Clip"), quantized=False)
@settings(max_examples=60, deadline=None)
def test_a_rewritten_convolution_gives_the_same_outputs(channels, kernel, padding, behind, quantized):
    """The weights, sixteenths of whole numbers, leave no rounding in the sums of pixels that are eighths."""
    rng = np.random.default_rng(channels)
    weight = (rng.integers(-16, 17, (channels, 1, *kernel)) / 16).astype(np.float32)
    padding = tuple(min(pad, size // 2) for pad, size in zip(padding, kernel, strict=True))
    behind += ("QuantizeLinear",) * quantized
    made = model(weight, padding=padding, behind=behind, before=behind[0] if behind else "MaxPool")
    even = all((size + 2 * pad - side + 1) % 2 == 0 for size, side, pad in zip((8, 12), kernel, padding, strict=True))
    pixels = (rng.integers(0, 9, (3, 1, 8, 12)) / 8).astype(np.float32)
    expected = answers(made, pixels)
    assert fold(made) is even
    kinds = [node.op_type for node in made.graph.node]
    assert ("SpaceToDepth" in kinds) is ("MaxPool" not in kinds) is even
    assert np.allclose(answers(made, pixels), expected, atol=1e-6)


def test_the_widened_weight_holds_every_tap_once_for_each_output_of_a_window():
    weight = np.arange(1, 51, dtype=np.int8).reshape(2, 1, 5, 5)
    wide, pads = widened(weight, (0, 0))
    assert wide.shape == (8, 4, 3, 3) and pads == [0, 0, 0, 0] and wide.dtype == np.int8
    for group in range(4):
        for output in range(2):
            taps = wide[2 * group + output]
            assert sorted(taps[taps != 0]) == sorted(weight[output].ravel())
    pixels = wide[0].reshape(2, 2, 3, 3).transpose(2, 0, 3, 1).reshape(6, 6)  # blocks back in their places
    assert np.array_equal(pixels[:5, :5], weight[0, 0]) and not pixels[5].any() and not pixels[:, 5].any()
    shifted = wide[6].reshape(2, 2, 3, 3).transpose(2, 0, 3, 1).reshape(6, 6)  # of the window's lower right output
    assert np.array_equal(shifted[1:, 1:], weight[0, 0]) and not shifted[0].any()


@pytest.mark.parametrize(
    "other",
    [
        {"stride": 2, "padding": (0, 0)},
        {"size": (9, 12)},
        {"padding": (0, 1), "size": (7, 12)},
        {"step": 1},
        {"pool": 3},
        {"behind": ("Sigmoid",)},  # before the pooling
        {"uses": 2},
        {"channels": 2},
    ],
)
def test_a_convolution_that_does_not_fit_stays_as_it_is(other):
    weight = np.ones((3, other.pop("channels", 1), 3, 3), np.float32)
    made = model(weight, **other)
    before = made.SerializeToString(deterministic=True)
    assert fold(made) is False and made.SerializeToString(deterministic=True) == before


def test_floats_stay_as_they_are_where_bits_must_not_change():
    made = model(np.ones((3, 1, 3, 3), np.float32))
    assert fold(made, exactly=True) is False and fold(made) is True


def exported(tmp_path, technique=None, network=None):
    """A small network after a technique, exported, and pixels for it."""
    torch.manual_seed(0)
    network = network or small()
    module = BaselineModule(network, [technique] if technique else [])
    pixels = torch.rand(300, 1, 12, 12)
    if technique:
        technique.prepare(network)
    path = tmp_path / "artifact.onnx"
    export(module.finalize([pixels]), path, ImageClassification(5, (1, 12, 12)))
    return path, pixels.numpy()


def small():
    return nn.Sequential(
        nn.Conv2d(1, 3, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5)
    )


def serial():
    """Two convolutions that read one channel."""
    two = [layer for n in (1, 3) for layer in (nn.Conv2d(n // 3 or 1, n, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))]
    return nn.Sequential(*two, nn.Flatten(), nn.Linear(27, 5))


class Branches(nn.Module):
    """Two convolutions of the pixels, one of them without pooling."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.last = nn.Conv2d(1, 3, 5), nn.Conv2d(1, 3, 3), nn.Linear(348, 5)

    def forward(self, x):
        pooled = nn.functional.max_pool2d(self.a(x).relu(), 2)
        return self.last(torch.cat([pooled.flatten(1), self.b(x).relu().flatten(1)], 1))


class Maxout(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.last = nn.Conv2d(1, 4, 5), nn.Conv2d(1, 4, 5), nn.Linear(256, 5)

    def forward(self, x):
        return self.last(torch.maximum(self.a(x), self.b(x)).flatten(1))


class Halves(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.last = nn.Conv2d(1, 8, 5), nn.Linear(256, 5)

    def forward(self, x):
        one, other = self.a(x).chunk(2, 1)
        return self.last((one * other.sigmoid()).flatten(1))


def test_integers_stay_integers_and_logits_the_same_bits(tmp_path):
    path, pixels = exported(tmp_path, StaticQuantization(8))
    engine = runtimes.ONNXRuntime(space_to_depth=True)
    file = engine.file(path)
    assert file.name == "artifact.space_to_depth.onnx"
    kinds = [node.op_type for node in onnx.load(file).graph.node]
    at = kinds.index("SpaceToDepth")
    assert kinds[at - 1] == "QuantizeLinear" and kinds[at + 1] == "DequantizeLinear"  # bytes are moved, not floats
    assert kinds[kinds.index("Split") - 1] == "QuantizeLinear" and kinds[kinds.index("Max") + 1] == "DequantizeLinear"
    plain = runtimes.ONNXRuntime()
    assert plain.file(path) == path
    expected = plain.session(path)({"pixels": pixels})
    assert (expected.std(0) > 0.01).all()  # the images differ in them
    assert np.array_equal(engine.session(file)({"pixels": pixels}), expected)
    assert np.array_equal(plain.session_for_many(path)({"pixels": pixels}), expected)
    assert fold(onnx.load(path), exactly=True) is True


@pytest.mark.parametrize(
    "technique",
    first_quickly(
        [StaticQuantization(8, exclude=["3"]), StaticQuantization(8, activation_bits=4), DynamicQuantization(8)]
    ),
    ids=["next layer float", "4-bit activations", "dynamic"],
)
def test_what_runtimes_compute_with_floats_keeps_its_bits_too(tmp_path, technique):
    """Of integers, but not fused into a kernel for them."""
    path, pixels = exported(tmp_path, technique)
    assert fold(onnx.load(path), exactly=True) is False and fold(onnx.load(path)) is True
    engine = runtimes.ONNXRuntime()
    assert np.array_equal(engine.session_for_many(path)({"pixels": pixels}), engine.session(path)({"pixels": pixels}))


@pytest.mark.parametrize("technique", [None, StaticQuantization(8)], ids=["float", "int8"])
@pytest.mark.parametrize("network", first_quickly([serial, Branches]))
def test_several_convolutions_of_one_channel(tmp_path, network, technique):
    path, pixels = exported(tmp_path, technique, network())
    plain, engine = runtimes.ONNXRuntime(), runtimes.ONNXRuntime(space_to_depth=True)
    nodes = onnx.load(engine.file(path)).graph.node
    blocks = [node for node in nodes if node.op_type == "SpaceToDepth"]
    assert len(blocks) == (2 if network is serial else 1)
    for block in blocks:  # what is in blocks is read by one convolution alone
        while block.op_type != "Conv":
            readers = [node for node in nodes if block.output[0] in node.input]
            assert len(readers) == 1
            block = readers[0]
    expected = plain.session(path)({"pixels": pixels})
    assert np.array_equal(plain.session_for_many(path)({"pixels": pixels}), expected)
    assert np.allclose(engine.session(engine.file(path))({"pixels": pixels}), expected, atol=0.01)


def test_an_artifact_with_nothing_to_rewrite_is_deployed_as_it_is_and_the_log_says_so(tmp_path, caplog):
    path, pixels = exported(tmp_path, network=Maxout())
    engine = runtimes.ONNXRuntime(space_to_depth=True)
    file = engine.file(path)
    assert "no convolution of one channel before a 2x2 max-pooling" in caplog.text
    assert np.array_equal(
        engine.session(file)({"pixels": pixels}), runtimes.ONNXRuntime().session(path)({"pixels": pixels})
    )


@pytest.mark.parametrize(("network", "operator"), first_quickly([(Maxout, "Max"), (Halves, "Split")]))
def test_other_maxima_and_splits_have_no_packed_form(tmp_path, network, operator):
    path, _ = exported(tmp_path, network=network())
    with pytest.raises(UserError, match=f"the operator {operator};"):
        from_onnx(path)


def test_indices_of_shared_weights_are_widened_with_the_one_of_zero(tmp_path):
    path, pixels = exported(tmp_path, WeightSharing(3, begin=0))
    assert "Gather" in [node.op_type for node in onnx.load(path).graph.node]
    engine = runtimes.ONNXRuntime(space_to_depth=True)
    assert "SpaceToDepth" in [node.op_type for node in onnx.load(engine.file(path)).graph.node]
    found, expected = (
        engine.session(engine.file(path))({"pixels": pixels}),
        runtimes.ONNXRuntime().session(path)({"pixels": pixels}),
    )
    assert np.allclose(found, expected, atol=1e-5)


def test_steps_of_a_rewritten_artifact_give_its_logits(tmp_path):
    """What LiteRT's file is made of."""
    for technique in (StaticQuantization(8), WeightSharing(3, begin=0)):
        path, pixels = exported(tmp_path, technique)
        expected = runtimes.ONNXRuntime().session(path)({"pixels": pixels})
        network = from_onnx(path, rewritten=True)
        assert [type(step).__name__ for step in network.steps].count("GroupMaximum") == 1
        with torch.no_grad():
            found = network(torch.from_numpy(pixels)).numpy()
        assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_a_rewritten_artifact_has_no_packed_form(tmp_path):
    path, _ = exported(tmp_path, StaticQuantization(8))
    file = runtimes.ONNXRuntime(space_to_depth=True).file(path)
    with pytest.raises(UserError, match="Blocks has no place in a packed network"):
        packed.pack(file, tmp_path / "artifact.lcomp")
    assert not (tmp_path / "artifact.lcomp").exists()
