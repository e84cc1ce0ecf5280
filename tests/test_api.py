"""lcomp from Python: the command line's words, records and errors, from scripts, event loops and notebooks."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch

import lcomp as package
from lcomp.api.screen import Screen
from lcomp.cli.words import words_of
from lcomp.errors import UserError
from lcomp.models import SmallCNN
from lcomp.record.interruption import BY_USER
from lcomp.record.listener import Listener
from lcomp.record.result import FILE_NAME, Result
from lcomp.tasks import ImageClassification

SMALL = {
    "data": "mnist5k",
    "data.epoch_examples": 2000,
    "trainer.max_epochs": 1,
    "baseline.trainer.max_epochs": 1,
    "measure.latency_runs": 20,
    "logger": "none",
    "report": False,
}
FIGURES = ("val_accuracy", "test_accuracy", "gzip_bytes", "sparsity")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current one, as a script's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LCOMP_DATA", raising=False)
    return tmp_path


def small(cache):
    return SMALL | {"baseline.cache": cache}


def lowered(overrides):
    """Hydra writes a sweep's truth values as Python does."""
    return [one.replace("=False", "=false") if one.startswith("reuse=") else one for one in overrides]


def typed(given):
    """The same, on a command line."""
    return [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in given.items()]


WORDS = {
    "numbers": ({"seed": 3, "trainer.learning_rate": 1e-4}, False, ["seed=3", "trainer.learning_rate=0.0001"]),
    "none and truth": ({"name": None, "report": False}, False, ["name=null", "report=false"]),
    "a sweep": ({"kd.temperature": [1, 3.5]}, True, ["kd.temperature=1,3.5"]),
    "choices": ({"quant": ["none", "qat"]}, True, ["quant=none,qat"]),
    "a text is hydra's grammar": ({"a.b": "interval(0.5,0.9)"}, True, ["a.b=interval(0.5,0.9)"]),
    "a range": ({"quant.bits": range(2, 9, 2)}, True, ["quant.bits=range(2,9,2)"]),
    "lists in a sweep": ({"perturb": [["crop", "flip"], "none"]}, True, ["perturb=[crop,flip],none"]),
    "a list that is no sweep": ({"perturb": ["crop", "flip"]}, False, ["perturb=[crop,flip]"]),
    "settings are not swept": ({"objective": ["val_accuracy", "macs"]}, True, ["objective=[val_accuracy,macs]"]),
    "a dictionary": ({"quant.bits_of": {"fc1": 4}}, True, ["quant.bits_of={fc1:4}"]),
    "numpy": ({"prune.sparsity": np.array([0.5, 0.25])}, True, ["prune.sparsity=0.5,0.25"]),
    "a number of numpy": ({"seed": np.int64(2)}, False, ["seed=2"]),
    "a path": ({"data.root": Path("my data/a=b,c")}, False, ["data.root='my data/a=b,c'"]),
    "texts that look like others": ({"name": ["true", "1", "a,b"]}, True, ["name='true','1','a,b'"]),
    "a class": ({"model._target_": SmallCNN}, False, ["model._target_=lcomp.models.small_cnn.SmallCNN"]),
}


@pytest.mark.parametrize("what", WORDS)
def test_values_become_the_command_line_s_words(what):
    given, swept, words = WORDS[what]
    assert words_of(given, {}, swept) == words
    assert words_of(["x=1"], given, swept) == ["x=1", *words]


def local_class():
    class Network:
        pass

    return Network


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seed": object}, None),
        ({"seed": object()}, "a object cannot be said on a command line"),
        ({"seed": []}, r"seed=\[\]: a sweep over no value"),
        ("seed=1", r"overrides are a dictionary, or a list of words such as \['seed=1'\]"),
        ({"model._target_": local_class()}, "processes of their own, which cannot import it"),
    ],
)
def test_what_has_no_word_is_refused(given, said):
    if said is None:
        assert words_of(given, {}, True) == ["seed=builtins.object"]
        return
    with pytest.raises(UserError, match=said):
        words_of(given, {}, True)
    with pytest.raises(UserError, match="seed: given twice"):
        words_of({"seed": 1}, {"seed": 2}, True)


def test_the_package_is_light_and_its_functions_outlive_the_rooms_of_their_names():
    code = """
        import sys, lcomp
        assert not {"hydra", "numpy", "torch"} & sys.modules.keys()
        functions = [lcomp.run, lcomp.sweep, lcomp.search, lcomp.report, lcomp.export, lcomp.load, lcomp.results]
        assert not {"torch", "optuna", "matplotlib", "pandas"} & sys.modules.keys(), sorted(sys.modules)
        import lcomp.report.text, lcomp.export, lcomp.search, lcomp.run
        from lcomp.export import export
        from lcomp.run import run
        assert lcomp.export.export is export and lcomp.run.run is run and lcomp.report.text.PICTURES == "report"
        for name in ("run", "search", "export", "report"):
            try:
                getattr(lcomp, name)(**({"progress": "loud"} if name in ("run", "search") else {}))
            except (lcomp.UserError, TypeError) as error:
                print(f"{name}: {error}")
        try:
            lcomp.nothing
        except AttributeError as error:
            print(error)
    """
    code = "\n".join(line.removeprefix("        ") for line in code.splitlines())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "run: progress='loud': True, False or 'auto'" and lines[1].startswith("search: progress=")
    assert "'network', 'path', and 'task'" in lines[2] and "'folder'" in lines[3]
    assert lines[4] == "module 'lcomp' has no attribute 'nothing'"


@pytest.mark.slow
def test_a_run_within_an_event_loop_is_the_command_line_s(folder, lcomp, cache, capsys, monkeypatch):
    given = {**small(cache), "prune.sparsity": 0.8}
    for name, value in {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "MPLBACKEND": "module://no_such_package"}.items():
        monkeypatch.setenv(name, value)  # as a notebook's kernel sets them

    async def notebook():
        return package.run(given, seed=1)

    run = asyncio.run(notebook())
    said = capsys.readouterr()
    done = lcomp(*typed({**given, "seed": 1}))
    assert done.returncode == 0, done.stderr
    [other] = [path for path in folder.glob("multirun/run-*") if path != run.folder]
    record = json.loads((other / FILE_NAME).read_text())
    assert run.is_ok and run.folder.parent == folder / "multirun" and run.config_hash == record["config_hash"]
    assert run.overrides == record["overrides"] and run.params["prune.sparsity"] == 0.8
    assert [run.metrics[name] for name in FIGURES] == [record["metrics"][name] for name in FIGURES]
    assert run.artifact.read_bytes() == (other / "artifact.onnx").read_bytes()
    assert "prune.sparsity=0.8 seed=1: validation accuracy" in said.out and f"artifact: {run.folder}" in said.out
    assert "prune.sparsity=0.8 chooses prune=scheduled" in said.err and "\x1b" not in said.out + said.err
    assert not torch.is_inference_mode_enabled()


def test_errors_are_raised_and_a_failed_run_is_among_them(folder, cache, capsys):
    with pytest.raises(UserError, match=r"prune.sparsty: no such key; .* did you mean prune.sparsity"):
        package.run({"prune.sparsty": 0.5})
    with pytest.raises(package.RunFailed, match=r"prune.sparsity=2") as failed:
        package.run({**small(cache), "prune.sparsity": 2}, progress=False)
    assert failed.value.run.status == "failed" and (failed.value.run.folder / FILE_NAME).is_file()
    said = capsys.readouterr()
    assert "chooses" in said.err and said.out == ""  # of the first, which was not to be silent


@pytest.fixture
def swept(folder):
    """A sweep's folder, with three finished runs and one that failed."""
    for number, (status, accuracy) in enumerate([("ok", 0.9), ("failed", 0), ("ok", 0.95), ("ok", 0.8)]):
        figures = {"val_accuracy": accuracy, "test_accuracy": accuracy, "gzip_bytes": 100 + number, "file_bytes": 200}
        made = Result(status, overrides=[f"seed={number}"], metrics=figures if status == "ok" else {}, seed=number)
        made.baseline = figures if status == "ok" else {}
        made.error = None if status == "ok" else "why"
        made.dataset = {"name": "digits", "sha256": "a", "train": 1, "val": 1, "test": 1}
        made.write(folder / str(number))
    (folder / "sweep.json").write_text(json.dumps({"arguments": [], "plan": {}}))
    return folder


def test_results_are_the_runs_of_a_folder(swept):
    sweep = package.results(swept)
    assert [run.folder.name for run in sweep] == ["0", "1", "2", "3"] and len(sweep) == 4 and sweep[-1].is_ok
    assert [run.error for run in sweep.failed] == ["why"]
    assert sweep.best().folder.name == "2" and sweep.best("gzip_bytes").folder.name == "0"
    assert sweep.best("gzip_bytes", lowest=False).folder.name == "3"
    frame = sweep.to_pandas()
    assert list(frame.index) == ["0", "1", "2", "3"] and list(frame.status) == ["ok", "failed", "ok", "ok"]
    assert frame["metrics.val_accuracy"].tolist()[2:] == [0.95, 0.8] and frame["metrics.gzip_bytes"].isna()["1"]
    assert "<table" in sweep._repr_html_() and "4 runs, 1 failed" in repr(sweep)
    with pytest.raises(UserError, match=r"lattency: no finished run in .* has it; they have file_bytes"):
        sweep.best("lattency")
    with pytest.raises(UserError, match="no sweep there"):
        package.results(swept / "0")


def test_a_report_is_written_where_it_is_asked_for(swept):
    page = package.report(swept, out=swept / "page")
    assert page == swept / "page" / "report.html" and page.is_file() and (swept / "page" / "results.csv").is_file()
    (swept / "empty").mkdir()
    with pytest.raises(UserError, match="no record in it"):
        package.report(swept / "empty")


def test_an_export_is_read_back(folder):
    torch.manual_seed(0)
    network, task, images = SmallCNN().eval(), ImageClassification(10, (1, 28, 28)), torch.rand(3, 1, 28, 28)
    assert package.export(network, folder / "a.onnx", task).read_bytes()[:1] == b"\x08"
    packed = package.export(network, str(folder / "a.lcomp"), task)
    assert torch.allclose(package.load(packed)(images), network(images), atol=1e-5)
    with pytest.raises(UserError, match=r"a.pt: its suffix says what is written: .onnx, or .lcomp"):
        package.export(network, "a.pt", task)


SCRIPT = """
import lcomp
small = {small!r}
sweep = lcomp.sweep({{**small, "quant": ["none", "net"]}}, config_dir="conf", seed=range(1, 3), progress={progress})
print("FOLDER", sweep.folder, [run.status for run in sweep])
"""


@pytest.mark.slow
def test_a_sweep_from_a_script_without_a_guard_is_the_command_line_s(folder, lcomp, cache):
    """A module beside the script, not in the current folder, is found by the workers too."""
    given = {key: str(value) if isinstance(value, Path) else value for key, value in small(cache).items()}
    (folder / "scripts").mkdir()
    (folder / "conf" / "quant").mkdir(parents=True)
    (folder / "conf" / "quant" / "net.yaml").write_text("_target_: mine.Mine\nbits: 4\n")
    (folder / "scripts" / "mine.py").write_text(
        "from lcomp.techniques.quantization import QuantizationAwareTraining\n"
        "class Mine(QuantizationAwareTraining):\n    pass\n"
    )
    (folder / "scripts" / "sweep.py").write_text(SCRIPT.format(small=given, progress=True))
    script = [sys.executable, str(folder / "scripts" / "sweep.py")]
    done = subprocess.run(script, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "['ok', 'ok', 'ok', 'ok']" in done.stdout and "4/4 [mnist5k]" in done.stdout and "val acc %" in done.stdout
    assert "100% |" in done.stderr and "4 of 4 finished" in done.stderr
    ours = package.results(done.stdout.split("FOLDER ")[1].split()[0])
    arguments = [*typed(given), "quant=none,qat", "seed=range(1,3,1)", "launcher=serial", "reuse=false"]
    other = lcomp("-m", *arguments)
    assert other.returncode == 0, other.stderr
    [theirs] = [path for path in folder.glob("multirun/sweep-*") if path != ours.folder]
    for run, same in zip(ours[:2], package.results(theirs)[:2], strict=True):  # those without a class of their own
        assert run.config_hash == same.config_hash and [*run.overrides, "reuse=false"] == lowered(same.overrides)
        assert [run.metrics[name] for name in FIGURES] == [same.metrics[name] for name in FIGURES]


@pytest.mark.slow
def test_a_search_knows_its_front_and_goes_on(folder, cache):
    asked = {**small(cache), "prune.sparsity": "interval(0.5,0.9)", "objective": ["val_accuracy", "gzip_bytes"]}
    search = package.search(asked, n_trials=2, progress=False)
    front = [(run.metrics["val_accuracy"], run.metrics["gzip_bytes"]) for run in search.front]
    every = [(run.metrics["val_accuracy"], run.metrics["gzip_bytes"]) for run in search]
    best = [one for one in every if not any(o[0] >= one[0] and o[1] <= one[1] and o != one for o in every)]
    assert len(every) == 2 and sorted(front) == sorted(best)
    again = package.search(asked, n_trials=2, resume=search.folder, progress=False)
    assert (
        again.folder == search.folder
        and len(again) == 2
        and sorted(map(repr, again.front)) == sorted(map(repr, search.front))
    )


@pytest.mark.slow
def test_an_interrupted_call_leaves_its_records_and_goes_on(folder, cache, capsys):
    given = {**small(cache), "trainer.max_epochs": 400, "prune.sparsity": [0.5, 0.8], "launcher.workers": 1}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it

    def interrupt():
        while not list(folder.glob("multirun/sweep-*/0/checkpoints*")):
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            package.sweep(given)
    finally:
        signal.signal(signal.SIGINT, before)
    [left] = folder.glob("multirun/sweep-*")
    assert f"resume={left.relative_to(folder)}" in capsys.readouterr().err
    [run] = package.results(left)
    assert run.status == "failed" and run.error == BY_USER
    short = {**given, "trainer.max_epochs": 1}
    with pytest.raises(UserError, match="that sweep was another one"):
        package.sweep(short, resume="last")


@pytest.mark.slow
def test_a_run_ends_with_the_program_that_asked_for_it(folder, cache):
    given = {key: str(value) if isinstance(value, Path) else value for key, value in small(cache).items()}
    given["trainer.max_epochs"] = 4000
    code = f"import lcomp; lcomp.run({given!r} | {{'prune.sparsity': 0.5}}, progress=False)"
    program = subprocess.Popen([sys.executable, "-c", code], cwd=folder)
    while not list(folder.glob("multirun/run-*/checkpoints*")):
        time.sleep(0.2)
    program.kill()
    program.wait()
    [left] = folder.glob("multirun/run-*")
    until = time.monotonic() + 120
    while error_of(left) != BY_USER and time.monotonic() < until:
        time.sleep(0.2)
    assert error_of(left) == BY_USER


def error_of(folder):
    """What the record says, which is there before the run has ended."""
    return json.loads((folder / FILE_NAME).read_text())["error"] if (folder / FILE_NAME).exists() else None


def test_a_notebook_has_one_bar_for_each_training(monkeypatch):
    monkeypatch.setattr("lcomp.api.screen.in_notebook", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    err, out = StringIO(), StringIO()
    monkeypatch.setattr("sys.stderr", err)
    with Screen() as screen:
        assert screen.mode == "draws" and not screen.is_terminal(sys.stdout, 1)
        screen.progress(1, 4, "1 of 4 finished")
        screen.write(out, "a line\n")
        screen.progress(4, 4, "4 of 4 finished")
        first = screen.bar
        screen.progress(1, 4, "another")
        assert screen.bar is not first
    assert out.getvalue() == "a line\n" and "100% |" in err.getvalue() and "4 of 4 finished" in err.getvalue()
    silent = Screen(False)
    silent.write(out, "unseen")
    assert silent.mode == "silent" and out.getvalue() == "a line\n" and Screen(True).mode == "draws"


def test_a_listener_hears_events_whole_and_progress_now_and_then():
    reading, writing = os.pipe()
    listener = Listener()
    listener.tell(folder="nobody hears")
    listener.begin(writing, draws=True)
    listener.tell(folder="here")
    for done in range(1001):
        listener.tell_progress(done, 1000, "text")
    events = [json.loads(line) for line in os.read(reading, 65536).splitlines()]
    assert events[0] == {"folder": "here"} and events[-1] == {"done": 1000, "total": 1000, "text": "text"}
    assert 2 < len(events) < 100 or len(events) == 3
    os.close(reading)
    listener.tell(folder="gone")
    assert not listener.is_there
    os.close(writing)
