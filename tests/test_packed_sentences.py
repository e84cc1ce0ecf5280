"""Encoders as files: what artifacts hold; packed, the same logits to the bit, at any length; damage is refused."""

import random
import zlib
from functools import cache

import numpy as np
import onnx
import pytest
import torch
from test_encoders import IDS, MASK, TASK, constants, outputs_in_runtime, small

from lcomp import unpack
from lcomp.c.model import make_model
from lcomp.errors import UserError
from lcomp.evaluation.size import of_network
from lcomp.export import export
from lcomp.models import Bert
from lcomp.packed import load, pack
from lcomp.packed.file import HEADER, file_content, read_network, write_network
from lcomp.packed.layer_codec import make_linear
from lcomp.packed.network import Network
from lcomp.packed.sentences import Attend, First, MaskedMean, Places, make_embedding
from lcomp.runtimes.c import C
from lcomp.techniques.quantization import DynamicQuantization, StaticQuantization, WeightSharing

TECHNIQUES = {
    "floats": None,
    "static": StaticQuantization(8, calibration_images=4),
    "4 bits": StaticQuantization(4, granularity="tensor", calibration_images=4),
    "weights": StaticQuantization(3, activation_bits=None),
    "dynamic": DynamicQuantization(8),
    "shared": WeightSharing(6, begin=1.0),
}


def finalized(technique):
    network, example = small(), {"input_ids": IDS, "attention_mask": MASK}
    if technique is None:
        return network
    technique.check(network, example)
    technique.prepare(network)
    return technique.finalize(network, [example]).eval()


def packed(network, folder, version=1):
    export(network, folder / "a.onnx", TASK)
    return pack(folder / "a.onnx", folder / "a.lcomp", version)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A network that the technique of a name has finalized, and the folder of its artifact; made once."""

    @cache
    @torch.no_grad()
    def made(name):
        network, folder = finalized(TECHNIQUES[name]), tmp_path_factory.mktemp("exported")
        export(network, folder / "a.onnx", TASK)
        return network, folder

    return made


@torch.no_grad()
@pytest.mark.parametrize("name", TECHNIQUES)
def test_an_encoder_is_rebuilt_to_the_bit_from_fewer_bytes(name, exported):
    network, folder = exported(name)
    parts = pack(folder / "a.onnx", folder / "a.lcomp")
    again, size = load(folder / "a.lcomp"), (folder / "a.lcomp").stat().st_size
    for rows in (slice(None), slice(1, 2)):
        ids, mask = IDS[rows], MASK[rows]
        longest = int(mask.sum(1).max())
        assert torch.equal(again(ids[:, :longest], mask[:, :longest]), network(ids[:, :longest], mask[:, :longest]))
    weights = sum(p.numel() for p in small().parameters() if p.dim() > 1)
    bits = {"floats": 32, "static": 8, "4 bits": 4, "weights": 3, "dynamic": 8, "shared": 6}[name]
    assert parts["weights"] <= weights * bits / 8 + 100 and size < (folder / "a.onnx").stat().st_size
    assert abs(sum(parts.values()) - size) < 5


KINDS = {"static": np.int8, "4 bits": np.int8, "dynamic": np.int8, "shared": np.uint8}


@torch.no_grad()
@pytest.mark.parametrize("name", KINDS)
def test_embeddings_are_integers_in_the_artifact_and_are_looked_up_as_such(name, exported):
    network, folder = exported(name)
    floats, expected, held = small()(IDS, MASK), network(IDS, MASK), constants(folder / "a.onnx")
    assert np.abs(outputs_in_runtime(folder / "a.onnx", IDS, MASK) - expected.numpy()).max() < 1e-4
    assert (expected - floats).abs().max() < 0.6 * floats.abs().max() and not torch.equal(expected, floats)
    words = held["embeddings.words.weight.integers"]
    assert words.dtype == KINDS[name] and words.shape == (23, 16)
    assert not [name for name, array in held.items() if array.dtype == np.float32 and array.size > 64]
    readers = [
        node.op_type
        for node in onnx.load(folder / "a.onnx").graph.node
        if node.input[0].endswith("words.weight.integers")
    ]
    assert readers == ["Gather"]
    assert of_network(network, IDS, MASK).parameters == of_network(small(), IDS, MASK).parameters


@pytest.mark.slow
@torch.no_grad()
def test_an_encoder_is_as_large_in_version_2_and_has_no_c(tmp_path):
    network, contents = finalized(TECHNIQUES["static"]), []
    for version in (1, 2):
        packed(network, tmp_path, version)
        contents.append((tmp_path / "a.lcomp").read_bytes())
        assert torch.equal(load(tmp_path / "a.lcomp")(IDS, MASK), network(IDS, MASK))
    assert contents[0][3:] == contents[1][3:] and [content[2] for content in contents] == [1, 2]
    for artifact in ("a.onnx", "a.lcomp"):
        with pytest.raises(UserError, match="has no C: a network that reads sentences"):
            make_model(tmp_path / artifact)
    with pytest.raises(UserError, match=r"runtime=c: .* several inputs \(input_ids, attention_mask\)"):
        C().see({"input_ids": IDS.numpy(), "attention_mask": MASK.numpy()})


@torch.no_grad()
def test_the_mean_of_tokens_is_a_step(tmp_path):
    torch.manual_seed(0)
    network = Bert(1, 16, 4, 24, pool="mean", **TASK.arguments).eval()
    packed(network, tmp_path)
    again = load(tmp_path / "a.lcomp")
    assert torch.equal(again(IDS, MASK), network(IDS, MASK)) and any(isinstance(s, MaskedMean) for s in again.steps)


@pytest.mark.slow
@torch.no_grad()
def test_a_packed_encoder_becomes_onnx_again(exported, tmp_path, capsys):
    network, folder = exported("static")
    pack(folder / "a.onnx", tmp_path / "a.lcomp")
    assert unpack.main([str(tmp_path / "a.lcomp"), "--to", "onnx", "--out", str(tmp_path / "b.onnx")]) == 0
    names = [value.name for value in onnx.load(tmp_path / "b.onnx").graph.input]
    assert names == ["input_ids", "attention_mask"]
    seen = outputs_in_runtime(tmp_path / "b.onnx", IDS, MASK)
    assert abs(seen - network(IDS, MASK).numpy()).max() < 1e-4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"op": "Mul", "constant": 10_000.0, "by": 5.0}, "has no place in a packed network"),
        ({"op": "Softmax", "axis": 2}, "the operator Softmax"),
        ({"op": "LayerNormalization", "axis": 1}, "of other axes than the last"),
    ],
)
def test_what_is_no_attention_is_refused(change, words, exported, tmp_path):
    model = onnx.load(exported("floats")[1] / "a.onnx")
    for node in model.graph.node:
        for attribute in node.attribute if node.op_type == change["op"] else ():
            if attribute.name == "axis" and "axis" in change:
                attribute.i = change["axis"]
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if "constant" in change and array.size == 1 and array == change["constant"]:
            tensor.CopyFrom(onnx.numpy_helper.from_array(array * 0 + array.dtype.type(change["by"]), tensor.name))
    (tmp_path / "b.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=words):
        pack(tmp_path / "b.onnx", tmp_path / "b.lcomp")


@pytest.mark.slow
def test_damaged_files_are_refused_or_are_whole_networks(exported, tmp_path):
    pack(exported("4 bits")[1] / "a.onnx", tmp_path / "a.lcomp")
    content, draw, refused = (tmp_path / "a.lcomp").read_bytes(), random.Random(0), 0
    for _ in range(150):
        body = bytearray(content[HEADER:])
        for _ in range(draw.randrange(1, 4)):
            body[draw.randrange(len(body))] = draw.randrange(256)
        try:
            network = read_network(content[:3] + zlib.crc32(body).to_bytes(4, "little") + bytes(body))
        except UserError:
            refused += 1
        else:
            assert isinstance(network, Network)
    assert refused > 100


def written(steps, sources, length=5):
    return file_content(write_network(Network((1, 1, length), 2, steps, sources)))


@pytest.mark.parametrize(
    ("steps", "sources", "words"),
    [
        (
            lambda: [make_embedding(torch.ones(3, 4)), torch.nn.Identity(), First()],
            [(0,), (0,), (2,)],
            "something else",
        ),
        (
            lambda: [make_embedding(torch.ones(3, 4)), make_linear(torch.ones(8, 4), None), Attend(2, 1.0), First()],
            [(0,), (1,), (1, 2, 2, -1), (3,)],
            r"a Attend of values of shape \(5, 4\) and \(5, 8\)",
        ),
        (lambda: [MaskedMean()], [(0, -1)], "MaskedMean of values of shape|mask without token ids"),
        (lambda: [make_embedding(torch.ones(3, 4)), Attend(3, 1.0)], [(0,), (1, 1, 1, -1)], "attention of 3 heads"),
        (lambda: [Places(make_embedding(torch.ones(5, 4)))], [(0,)], "ends with values of shape"),
    ],
)
def test_steps_that_cannot_follow_each_other_are_refused(steps, sources, words):
    with pytest.raises(UserError, match=words):
        read_network(written(steps(), sources))
