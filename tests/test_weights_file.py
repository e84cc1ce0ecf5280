"""`baseline.weights`: a baseline from a file of weights, whoever wrote it."""

import os
import re
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from training import compose

from lcomp.errors import UserError
from lcomp.models import CifarResNet, LeNet5, mobilenet_v2, resnet18
from lcomp.record.files import sha256
from lcomp.run import run
from lcomp.training import weights_file
from lcomp.training.weights_file import load_weights

LENET = Path(__file__).parents[1] / "conf/model/lenet5.yaml"


def small(**settings):
    return CifarResNet(**{"blocks": 1, "widths": (4, 6, 8), "num_classes": 3} | settings)


def others(network):
    """What a training script saves of the network: no normalization of lcomp's."""
    return {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("normalize")}


def uncounted(state):
    return {name: tensor for name, tensor in state.items() if "num_batches" not in name}


def prefixed(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


WRITTEN = {
    "safetensors": lambda state, path: save_file(state, path),
    "state dict": lambda state, path: torch.save(state, path),
    "as torch 1.0 saved": lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
    "an ordered one of parameters": lambda state, path: torch.save(
        {name: nn.Parameter(tensor) if tensor.is_floating_point() else tensor for name, tensor in state.items()}, path
    ),
    "under state_dict": lambda state, path: torch.save({"best_prec1": torch.tensor(91.7), "state_dict": state}, path),
    "under model": lambda state, path: torch.save({"model": state, "optimizer": {"state": {}}, "epoch": 3}, path),
    "of DataParallel": lambda state, path: torch.save({"state_dict": prefixed(uncounted(state), "module.")}, path),
    "of Lightning": lambda state, path: torch.save(
        {"state_dict": prefixed(state, "model.") | {"loss.weight": torch.ones(3)}, "epoch": 1, "loops": {}}, path
    ),
    "compiled, in a module, wrapped": lambda state, path: torch.save(prefixed(state, "module.model._orig_mod."), path),
    "half precision": lambda state, path: torch.save(
        {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}, path
    ),
}


@pytest.mark.parametrize("how", WRITTEN)
def test_weights_come_from_whatever_people_write(how, tmp_path):
    torch.manual_seed(0)
    written, read = small(), small()
    with torch.no_grad():
        for tensor in others(written).values():
            tensor.copy_(torch.randint(-8, 9, tensor.shape) / 8)  # which half precision holds
    WRITTEN[how](others(written), tmp_path / "weights")
    load_weights(tmp_path / "weights", read)
    different = [
        name for name in uncounted(others(read)) if not torch.equal(*(of.state_dict()[name] for of in (read, written)))
    ]
    assert not different and read.conv1.weight.dtype == torch.float32


@settings(deadline=None, max_examples=30)
@given(
    outer=st.lists(st.sampled_from(weights_file.WRAPPERS), max_size=3).map(
        lambda parts: "".join(f"{p}." for p in parts)
    ),
    inner=st.lists(st.sampled_from(weights_file.WRAPPERS), max_size=2).map(
        lambda parts: "".join(f"{p}." for p in parts)
    ),
)
def test_names_are_matched_whatever_wraps_either(outer, inner):
    bare = {"conv.weight": torch.ones(1), "model.bias": torch.zeros(1), "head.module.x": torch.ones(2)}
    own = [inner + name for name in bare]
    found = weights_file.for_names(prefixed(bare, outer), own)
    assert found.keys() == set(own) and all(found[inner + name] is tensor for name, tensor in bare.items())


@pytest.mark.parametrize(("make", "first"), [(resnet18, "conv1"), (mobilenet_v2, "features.0.0")])
def test_torchvisions_own_names_fit_its_networks_here(make, first, tmp_path):
    written, read = make(), make()
    own = {name.replace(f"{first}.1.", f"{first}."): tensor for name, tensor in written.state_dict().items()}
    torch.save(
        {name: tensor for name, tensor in own.items() if ".mean" not in name and ".std" not in name}, tmp_path / "a"
    )
    load_weights(tmp_path / "a", read)
    assert f"{first}.weight" in own and all(map(torch.equal, read.state_dict().values(), written.state_dict().values()))


def test_the_normalization_of_the_network_is_read_where_the_file_has_one(tmp_path):
    torch.save(
        prefixed(small(mean=0.25).state_dict() | {"normalize.mean": torch.tensor(0.5)}, "network."), tmp_path / "a"
    )
    load_weights(tmp_path / "a", network := small(mean=0.25))
    assert network.normalize.mean == 0.5
    torch.save(others(small()), tmp_path / "b")
    load_weights(tmp_path / "b", network := small(mean=0.25))
    assert network.normalize.mean == 0.25


class Code:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def broken(change):
    def write(path):
        state = others(small())
        change(state)
        torch.save({"state_dict": prefixed(state, "module.")}, path)

    return write


def zipped(path):
    torch.save(others(small()), path)
    content = {entry: zipfile.ZipFile(path).read(entry) for entry in zipfile.ZipFile(path).namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in content.items():
            archive.writestr(entry, data + bytes(100_000))


REFUSED = {
    "a text": (lambda path: path.write_text("weights"), "nothing else is read; save a network's weights alone"),
    "nothing": (lambda path: path.write_bytes(b""), "not a file of weights"),
    "half a file": (
        lambda path: (torch.save(others(small()), path), path.write_bytes(path.read_bytes()[:5000])),
        "weights",
    ),
    "half of safetensors": (
        lambda path: (save_file(others(small()), path), path.write_bytes(path.read_bytes()[:5000])),
        "not a file of weights",
    ),
    "a header without end": (lambda path: path.write_bytes(b"\xff" * 7 + b"\x7f{"), "not a file of weights"),
    "a whole network": (lambda path: torch.save(small(), path), "nothing else is read; save a network's weights alone"),
    "a number": (lambda path: torch.save(3, path), "has no weights by name; it holds a int"),
    "a list": (lambda path: torch.save([torch.ones(3)], path), "it holds a list"),
    "other things": (lambda path: torch.save({"epoch": 3, "note": "x"}, path), "it holds a dict of epoch, note"),
    "what unpacks to more": (zipped, "unpacks to"),
    "a pruned one": (
        broken(lambda state: state.update({"conv1.parametrizations.weight.0.mask": torch.ones(1)})),
        "holds a pruned or quantized network",
    ),
    "one without a layer": (
        broken(lambda state: [state.pop(name) for name in list(state) if name.startswith("layer2")]),
        r"CifarResNet: 10 missing: (layer2\.0\.[\w.]+, ){4}layer2\.0\.[\w.]+ and 5 more$",
    ),
    "one with another": (
        broken(lambda state: state.update({f"old{i}": torch.ones(1) for i in range(7)})),
        r"7 not in the network: old0, old1, old2, old3, old4 and 2 more$",
    ),
    "one of other classes": (
        broken(lambda state: state.update({"linear.weight": torch.ones(5, 8), "linear.bias": torch.ones(5)})),
        r"2 of another shape: linear.weight \(5, 8\), not \(3, 8\), linear.bias \(5,\), not \(3,\)$",
    ),
    "integers": (
        broken(lambda state: state.update({"conv1.weight": torch.ones(4, 3, 3, 3, dtype=torch.int8)})),
        r"1 of another kind: conv1.weight of integers, not floats$",
    ),
    "sparse": (
        broken(lambda state: state.update({"linear.weight": torch.ones(3, 8).to_sparse()})),
        r"1 of another kind: linear.weight of torch.sparse_coo, not floats$",
    ),
    "meta": (
        broken(lambda state: state.update({"linear.weight": torch.ones(3, 8, device="meta")})),
        r"linear.weight of .*, not floats$",
    ),
    "not finite": (
        broken(lambda state: state["bn1.running_var"].fill_(float("nan"))),
        r"1 not finite: bn1.running_var$",
    ),
    "several faults": (
        broken(lambda state: (state.pop("bn1.bias"), state.update({"bn1.beta": torch.ones(4)}))),
        r"1 missing: bn1.bias; 1 not in the network: bn1.beta$",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_file_that_is_something_else_is_refused_in_a_line(what, tmp_path):
    write, said = REFUSED[what]
    write(tmp_path / "weights.pt")
    network = small()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(UserError, match=said) as caught:
        load_weights(tmp_path / "weights.pt", network)
    assert str(caught.value).startswith(f"{tmp_path}/weights.pt: ") and len(str(caught.value)) < 600
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_no_code_in_a_file_is_executed(tmp_path):
    torch.save(others(small()) | {"x": Code(tmp_path / "executed")}, tmp_path / "weights.pt")
    with pytest.raises(UserError, match="nothing else is read"):
        load_weights(tmp_path / "weights.pt", small())
    assert not (tmp_path / "executed").exists()


def ask(tmp_path, *overrides, weights="lenet.pt"):
    cfg, choices = compose(f"baseline.cache={tmp_path}/cache", f"baseline.weights={tmp_path / weights}", *overrides)
    return run(cfg, tmp_path / "run", list(overrides), choices, timed=False)


def saved(path, seed=1):
    torch.manual_seed(seed)
    torch.save({"state_dict": prefixed(others(LeNet5()), "module.")}, path)
    return path


@pytest.mark.slow
def test_a_run_begins_with_the_weights_of_the_file_and_its_content_is_its_identity(tmp_path):
    path = saved(tmp_path / "lenet.pt")
    first = ask(tmp_path)
    assert first.status == "ok", first.error
    assert first.metrics["test_accuracy"] == first.baseline["test_accuracy"] < 0.3  # of weights that never learned
    assert first.baseline_artifact["weights"] == sha256(path)
    moved = path.rename(tmp_path / "other name.pt")
    again = ask(tmp_path, weights=moved.name)
    assert again.config_hash == first.config_hash and again.artifact == first.artifact
    saved(moved, seed=2)
    other = ask(tmp_path, weights=moved.name)
    assert other.config_hash != first.config_hash and other.artifact != first.artifact
    assert len([entry for entry in (tmp_path / "cache").iterdir() if entry.is_dir()]) == 2


def test_how_a_baseline_would_be_trained_does_not_count_where_it_is_read(tmp_path):
    saved(tmp_path / "lenet.pt")
    cfg, choices = compose(f"baseline.cache={tmp_path}/c", f"baseline.weights={tmp_path}/lenet.pt")
    hashes = set()
    for epochs in (1, 7):  # as an experiment's file may say
        cfg.baseline.trainer.max_epochs = epochs
        hashes.add(run(cfg, tmp_path / str(epochs), [], choices, timed=False).config_hash)
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["baseline.trainer.max_epochs=3"], "baseline.trainer.max_epochs=3: nothing trains a baseline whose weights"),
        (["optimizer@baseline.optimizer=sgd"], "optimizer@baseline.optimizer=sgd: nothing trains"),
        (["+baseline.optimizer.lr=1"], r"\+baseline.optimizer.lr=1: nothing trains"),
        (["kd.ensemble=3", "kd=logit"], "kd.ensemble=3 needs more; name files as teachers by kd.teacher"),
        (["baseline.perturb={affine: {severity: 1}}"], "not trained on what baseline.perturb says"),
        (["baseline.weights=3"], "baseline.weights=3: must be the path of a file of weights"),
        (["baseline.weights=nowhere.pt"], "baseline.weights=.*/nowhere.pt: no such file"),
        (
            ["model=small_cnn"],
            r"baseline.weights=.*lenet.pt: not the weights of this SmallCNN: 2 missing: conv.weight, conv.bias; 6 not",
        ),
    ],
)
def test_what_cannot_go_with_weights_of_a_file_is_refused_before_anything_trains(overrides, said, tmp_path):
    saved(tmp_path / "lenet.pt")
    result = ask(tmp_path, *overrides)
    assert result.status == "failed" and re.search(said, result.error), result.error
    assert not result.seconds.get("train")


@pytest.mark.slow
def test_the_student_learns_from_a_teacher_that_was_read(tmp_path):
    saved(tmp_path / "lenet.pt")
    result = ask(
        tmp_path, "kd=logit", "kd.student=small_cnn", "data.epoch_examples=600", "prune=constant", "quant=static"
    )
    assert result.status == "ok", result.error
    assert result.baseline["test_accuracy"] < 0.3 and result.baseline["parameters"] == 44_426
    assert result.metrics["parameters"] == 11_042


def test_a_relative_path_means_the_folder_where_it_was_typed(tmp_path, monkeypatch):
    saved(tmp_path / "lenet.pt")
    monkeypatch.chdir(tmp_path)
    result = ask(tmp_path, "baseline.weights=lenet.pt")
    assert result.status == "ok", result.error


@pytest.mark.slow
def test_the_weights_of_a_run_of_lcomps_start_another(tmp_path):
    cfg, choices = compose(f"baseline.cache={tmp_path}/cache", "data.epoch_examples=2000")
    first = run(cfg, tmp_path / "first", [], choices, timed=False)
    result = ask(tmp_path, weights="first/checkpoint.ckpt")
    assert result.status == "ok", result.error
    assert result.baseline["test_accuracy"] == first.metrics["test_accuracy"] > 0.4
