"""Small files that ask for much: refused before there is memory or time for it, by name and with the limit."""

import json
import os
import tracemalloc
import zipfile
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import onnx
import pytest
import torch
from omegaconf import OmegaConf
from onnx import TensorProto, helper
from test_packed_damage import FLATTEN, RELU, add, crafted, floats, form, no, number, square, step, yes
from torch import nn

from lcomp import unpack
from lcomp.errors import UserError
from lcomp.packed.artifact import from_onnx
from lcomp.packed.coder import BLOCK, FREE, KEPT, NUMBERS, WHILE_READ, Coder, Reader, Writer
from lcomp.packed.file import load, read_network
from lcomp.packed.network import Join, Network
from lcomp.packed.tensors import read_floats, write_floats
from lcomp.record import limits, predictions
from lcomp.record.limits import Refused
from lcomp.record.result import read_result as read_record
from lcomp.record.untrusted import read_arrays, read_bytes, read_json, read_onnx, read_yaml
from lcomp.report.weights import weights
from lcomp.sweeps import sweep
from lcomp.training.weights_file import load_weights

MEGABYTE, COUNT = 1 << 20, 300_000


@contextmanager
def little_memory(most=8 * MEGABYTE):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def noise(count):
    """Writes so many bytes that nobody reads."""
    draw = np.random.default_rng(0)
    return lambda io: io.bits(8, draw.integers(0, 256, count))


def linear(outputs, *rest):
    return (FLATTEN, step(nn.Linear, outputs - 1), *rest)


@pytest.mark.parametrize("form_of_floats", range(4))
def test_arrays_that_a_file_of_4_kb_may_not_ask_for(form_of_floats):
    """64 million numbers, 2^14 for each byte."""
    settings = {0: [], 1: [], 2: [number(0), number(0), number(0)], 3: [number(0), number(0), number(0), number(0)]}
    file = crafted(
        *linear(1 << 16, form(0), floats(form_of_floats), *settings[form_of_floats], noise(4200)), shape=(1, 32, 30)
    )
    assert len(file) * NUMBERS > 1 << 26
    with (
        little_memory(),
        pytest.raises(Refused, match=r"an array asks for 1,258,291,200 bytes, where 536,870,912 is.*N"),
    ):
        read_network(file)


def test_many_arrays_are_counted_together(monkeypatch):
    """Each of them is allowed; a network keeps them all."""
    monkeypatch.setattr(limits, "MEMORY", 8 * MEGABYTE)
    one = [step(nn.Linear, 511), form(0), floats(0), lambda io: io.bits(32, np.array([1 << 20])), no]
    assert isinstance(read_network(crafted(FLATTEN, *one, shape=(1, 16, 32))), Network)
    with pytest.raises(Refused, match="an array asks for"):
        read_network(crafted(FLATTEN, *6 * one, shape=(1, 16, 32)))


@pytest.mark.parametrize(
    "made",
    [
        lambda draw: draw.standard_normal(COUNT).astype(np.float32),
        lambda draw: draw.integers(0, 1 << 32, COUNT, np.uint32).view(np.float32),
        lambda draw: draw.integers(-99, 99, COUNT).astype(np.float32) / 64,
        lambda draw: 2 * draw.integers(0, 99, COUNT).astype(np.float32),
    ],
    ids=["pattern", "raw", "fixed", "fixed, some levels"],
)
def test_an_array_takes_no_more_memory_while_it_is_read_than_is_claimed_for_it(made):
    values, writer = made(np.random.default_rng(0)), Writer()
    write_floats(writer, values)
    reader = Reader(writer.content())
    with little_memory(WHILE_READ * COUNT + MEGABYTE // 8):
        again = read_floats(reader, COUNT)
    assert again.view(np.uint32).tolist() == values.view(np.uint32).tolist() and reader.kept >= KEPT * COUNT


def test_a_kernel_of_a_million_places_costs_no_million_blocks(monkeypatch):
    """829 bytes that took 160 seconds; with one level nothing is even decoded."""
    calls, adaptive = [], Coder.adaptive

    def counted(self, counts, values):
        calls.append(1)
        return adaptive(self, counts, values)

    monkeypatch.setattr(Coder, "adaptive", counted)
    for most in (0, 7):
        kernel = [step(nn.Conv2d, 0), square(1024), no, form(1), yes, number(most), noise(800)]
        with pytest.raises(UserError, match="more numbers than a file of its length"):
            read_network(crafted(*kernel, shape=(1, 1025, 1025)))
    assert len(calls) <= 2 * (FREE + 900 * NUMBERS) / BLOCK


def test_tables_of_many_levels_are_counted_each_time_they_are_made():
    """A short array that renews a table of 16,384 levels with every sixteenth of its numbers."""
    io = Reader(b"\1", work=1 << 21)
    with pytest.raises(UserError, match="more numbers than"):
        io.sequence(1 << 14, np.zeros(1 << 30, np.int64)[: 1 << 22])
    assert io.spent <= (1 << 21) + (1 << 14) + BLOCK


def test_work_has_a_limit_of_its_own(monkeypatch):
    writer = Writer()
    write_floats(writer, np.random.default_rng(0).standard_normal(3000).astype(np.float32))
    assert len(read_floats(Reader(writer.content()), 3000)) == 3000
    monkeypatch.setattr(limits, "WORK", 50_000)
    with pytest.raises(Refused, match=r"decoding it asks for .* steps, where 50,000 is the limit"):
        read_floats(Reader(writer.content()), 3000)
    monkeypatch.setenv(limits.VARIABLE, "100")
    assert len(read_floats(Reader(writer.content()), 3000)) == 3000


def test_values_that_a_network_keeps_while_it_runs_are_counted():
    """200 values of 4 MB that are all read at the end."""
    values = 200
    joins = [part for number in range(values) for part in (step(Join), add, lambda io, n=number: io.number(2 * n + 1))]
    kept = crafted(*[RELU] * values, *joins, FLATTEN, shape=(1, 1024, 1024))
    with pytest.raises(Refused, match=r"running it on an example asks for 8[0-9]{2},[0-9,]* bytes"):
        read_network(kept)
    passing = read_network(crafted(*[RELU] * values, FLATTEN, shape=(1, 1024, 1024)))  # each is read once, by the next
    assert len(passing.steps) == values + 1


def test_a_long_network_is_loaded_and_becomes_onnx_where_that_is_asked_for(tmp_path, monkeypatch, capsys):
    """1,380 bytes, 4,096 steps: the exporter takes their number squared."""
    path = tmp_path / "long.lcomp"
    path.write_bytes(crafted(*[RELU] * 4095, FLATTEN, shape=(1, 2, 2)))
    assert load(path)(torch.tensor([[[[1.0, -1], [2, 3]]]])).tolist() == [[1, 0, 2, 3]]
    exported = []
    monkeypatch.setattr(
        "lcomp.packed.commands.export", lambda network, path, *_: (exported.append(path), path.write_bytes(b""))
    )
    assert unpack.main([str(path), "--to", "onnx"]) == 1 and not exported
    said = capsys.readouterr().err
    assert f"{path}: its export asks for 4,096 steps, where 512 is the limit; LCOMP_LIMITS=N" in said
    monkeypatch.setenv(limits.VARIABLE, "8")
    assert unpack.main([str(path), "--to", "onnx"]) == 0 and exported


@pytest.mark.parametrize("given", ["many", "0", "-1", "nan", ""])
def test_a_limit_that_is_none_is_refused(given, monkeypatch):
    monkeypatch.setenv(limits.VARIABLE, given)
    with pytest.raises(UserError, match=f"LCOMP_LIMITS={given}: must be a number above 0"):
        limits.user_factor()


def written(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


def test_predictions_that_unpack_to_more_than_the_limit_are_none(tmp_path, monkeypatch):
    path = written(
        tmp_path / predictions.FILE, predictions=np.zeros(35 * MEGABYTE, np.int16), labels=np.zeros(9, np.int16)
    )
    assert path.stat().st_size < MEGABYTE // 8
    with little_memory():
        assert predictions.read_predictions(tmp_path) is None
        with pytest.raises(Refused, match=r"predictions\.npz asks for 73,400,\d+ bytes, where 67,108,864 is the limit"):
            read_arrays(path)
    monkeypatch.setenv(limits.VARIABLE, "2")
    assert len(read_arrays(path)["predictions"]) == 35 * MEGABYTE


def test_an_array_that_states_more_than_it_holds_is_refused(tmp_path):
    path = tmp_path / predictions.FILE
    with zipfile.ZipFile(path, "w") as archive, archive.open("predictions.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<i2", "fortran_order": False, "shape": (1 << 40,)})
        file.write(bytes(8))
    with little_memory(), pytest.raises(Refused, match="has not the"):
        read_arrays(path)


TWO = {"predictions": np.zeros(2, np.int16), "labels": np.zeros(2, np.int16)}


@pytest.mark.parametrize(
    "arrays",
    [
        {"predictions": np.array([1, "a"], object), "labels": np.zeros(2, np.int16)},
        {"predictions": np.zeros(2), "labels": np.zeros(2, np.int16)},
        {"predictions": np.zeros(2, np.int16)},
        {"predictions": np.zeros(2, np.int16), "labels": np.zeros(3, np.int16)},
        {"predictions": np.array([0, -1]), "labels": np.zeros(2, np.int16)},
        {"predictions": np.zeros((2, 1), np.int16), "labels": np.zeros((2, 1), np.int16)},
        TWO | {"mistakes": np.array([2]), "pixels": np.zeros((1, 1, 2, 2), np.uint8)},
        TWO | {"mistakes": np.array([1]), "pixels": np.zeros((2, 1, 2, 2), np.uint8)},
        TWO | {"mistakes": np.array([1]), "pixels": np.zeros((1, 4), np.uint8)},
        TWO | {"mistakes": np.array([1]), "texts": np.zeros((2, 4), np.uint8)},
        TWO | {"mistakes": np.array([1]), "texts": np.zeros((1, 4, 1), np.uint8)},
        TWO | {"mistakes": np.array([1]), "texts": np.zeros((1, 4), np.int64)},
        TWO | {"mistakes": np.array([1]), "pixels": np.zeros((1, 1, 2, 2), np.int64)},
    ],
)
def test_arrays_that_do_not_belong_together_are_none(tmp_path, arrays):
    written(tmp_path / predictions.FILE, **arrays)
    assert predictions.read_predictions(tmp_path) is None


def test_arrays_in_any_order_of_memory_come_back(tmp_path):
    pixels = np.asfortranarray(np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2))
    found = read_arrays(written(tmp_path / "a.npz", pixels=pixels, one=np.array(3)))
    assert np.array_equal(found["pixels"], pixels) and found["one"] == 3


def test_a_checkpoint_takes_no_more_than_it_has_bytes(tmp_path):
    network, path, packed = nn.Linear(512, 512), tmp_path / "a.ckpt", tmp_path / "b.ckpt"
    network.weight.data.zero_()
    torch.save({"state_dict": network.state_dict()}, path)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as small:
        for entry in whole.infolist():
            small.writestr(entry.filename, whole.read(entry))
    assert packed.stat().st_size < 10_000
    with pytest.raises(UserError, match=r"b\.ckpt: unpacks to 1,\d+,\d+ bytes, and has \d,\d+"):
        load_weights(packed, nn.Linear(512, 512))
    old = tmp_path / "old.ckpt"
    torch.save({"state_dict": network.state_dict()}, old, _use_new_zipfile_serialization=False)
    for whole in (path, old):
        assert torch.equal(load_weights(whole, nn.Linear(512, 512)).bias, network.bias)


def test_no_checkpoint_makes_bytes_from_nothing(tmp_path):
    """A hundred bytes of pickle that torch takes for data: bytearray(8 billion)."""
    path = tmp_path / "c.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("c/data.pkl", b"\x80\x02}X\n\0\0\0state_dictcbuiltins\nbytearray\n\x8a\x05\0\0\0\0\2\x85Rs.")
        archive.writestr("c/version", b"3\n")
    with pytest.raises(UserError, match=r"c\.ckpt: has bytearrays"):
        load_weights(path, nn.Linear(1, 1))


LAUGHS = "a: &a [x,x,x,x,x,x,x,x]\n" + "".join(f"{b}: &{b} [{','.join(8 * ['*' + a])}]\n" for a, b in zip("abcdefgh", "bcdefghi"))  # fmt: skip  # noqa: B905, E501


def test_aliases_of_yaml_are_refused_and_interpolations_stay(tmp_path):
    path = tmp_path / "config.yaml"
    for text in ("a: &a [1]\nb: *a\n", LAUGHS):
        path.write_text(text)
        with little_memory(), pytest.raises(Refused, match=r"config\.yaml: line 2 has an alias \(\*a\)"):
            read_yaml(path)
    path.write_text("a: ${b}\nb: [1, {c: 1e3}]\n")
    assert OmegaConf.to_container(read_yaml(path), resolve=False) == {"a": "${b}", "b": [1, {"c": 1000.0}]}


def test_what_a_sweep_reads_of_its_runs_is_bounded(tmp_path, caplog):
    (tmp_path / "0" / ".hydra").mkdir(parents=True)
    (tmp_path / "0" / ".hydra" / "overrides.yaml").write_text(LAUGHS)
    sweep.close_interrupted(tmp_path)
    assert "it is not known what was asked for" in caplog.text and "has an alias" in caplog.text
    assert read_record(tmp_path / "0" / "result.json").overrides == []


@pytest.mark.parametrize("reader", [read_json, read_record, read_yaml])
@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 100 + "]" * 100, '{"a":' * 900 + "1" + "}" * 900])
def test_what_nests_too_deep_is_refused(tmp_path, reader, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(Refused, match=r"a\.json: "):
        reader(path)


@pytest.mark.parametrize(
    "reader", [read_json, read_record, read_yaml, read_onnx, read_arrays, load, lambda path: read_bytes(path, 9)]
)
def test_a_large_file_a_pipe_and_a_device_are_refused_at_once(tmp_path, reader):
    large, pipe = tmp_path / "large", tmp_path / "pipe"
    with large.open("wb") as file:
        file.truncate(1 << 40)  # without a block on the disk
    os.mkfifo(pipe)
    with little_memory():
        for path, said in ((large, "asks for 1,099,511,627,776 bytes"), (pipe, "no regular file")):
            with pytest.raises(UserError, match=f"{path}:? .*{said}"):
                reader(path)
        with pytest.raises(UserError, match="/dev/zero: is no regular file"):
            reader(type(tmp_path)("/dev/zero"))


def test_a_json_file_that_is_none_is_named(tmp_path):
    for text in (b"", b"{", b"\xff", b"nul"):
        (tmp_path / "result.json").write_bytes(text)
        with pytest.raises(Refused, match=r"result\.json: no JSON"):
            read_json(tmp_path / "result.json")
    (tmp_path / "result.json").write_text(json.dumps({"a": [1]}))
    assert read_json(tmp_path / "result.json") == {"a": [1]}


def saved(path, nodes, constants=(), inputs=(1, 1, 4, 4)):
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", *inputs[1:]])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "classes"])
    graph = helper.make_graph(nodes, "g", [pixels], [logits], list(constants))
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString())
    return path


def tensor(name, array):
    return onnx.numpy_helper.from_array(np.asarray(array), name)


def test_weights_in_another_file_are_not_looked_for(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(64))
    outside = tensor("w", np.zeros(16, np.float32))
    onnx.external_data_helper.set_external_data(outside, "secret")
    outside.ClearField("raw_data")
    path = saved(tmp_path / "a.onnx", [helper.make_node("Add", ["pixels", "w"], ["logits"])], [outside])
    for reader in (read_onnx, from_onnx, weights):
        with pytest.raises(Refused, match="'w' lie in another file"):
            reader(path)


def test_scales_that_multiply_the_size_of_their_weights_are_refused(tmp_path):
    arrays = {"w": np.ones((1, 4000), np.int8), "s": np.ones(40_000, np.float32), "z": np.zeros(40_000, np.int8)}
    constants = [tensor(name, array) for name, array in arrays.items()]
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["d"], axis=0),
        helper.make_node("Flatten", ["pixels"], ["f"]),
        helper.make_node("Gemm", ["f", "d"], ["logits"], transB=1),
    ]
    path = saved(tmp_path / "a.onnx", nodes, constants)
    with little_memory(), pytest.raises(ValueError, match=r"40000 scales beside \(1, 4000\)"):
        weights(path)
    with pytest.raises(UserError, match=r"40000 scales beside \(1, 4000\)"):
        from_onnx(path)


def test_a_graph_that_reads_itself_is_refused(tmp_path):
    """Whoever follows what each node reads would never end."""
    nodes = [
        helper.make_node("SpaceToDepth", ["b"], ["a"], blocksize=2),
        helper.make_node("SpaceToDepth", ["a"], ["b"], blocksize=2),
        helper.make_node("DequantizeLinear", ["a", "s", "z"], ["logits"]),
    ]
    path = saved(tmp_path / "a.onnx", nodes, [tensor("s", np.float32(1)), tensor("z", np.uint8(0))])
    with pytest.raises(UserError, match="no whole ONNX model"):
        from_onnx(path)


def test_a_graph_of_more_steps_than_a_file_has_is_refused_before_they_are_made(tmp_path):
    names = ["pixels", *map(str, range(5000)), "logits"]
    nodes = [helper.make_node("Relu", [a], [b]) for a, b in pairwise(names)]
    with pytest.raises(UserError, match="more than 4,096 steps"):
        from_onnx(saved(tmp_path / "a.onnx", nodes))
