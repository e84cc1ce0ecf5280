"""What the command line answers, above all to mistakes; nothing here trains."""

import subprocess
import sys

import pytest

from lcomp.cli import help_text, shorthand
from lcomp.cli.error_messages import explain
from lcomp.config import run_config
from lcomp.errors import suggestion

RUN = """
import os, sys
from lcomp.{module} import main
if len({asked!r}) > 1:
    import lcomp.cli.command
for folder, arguments in {asked!r}:  # forked, so that what main needs is imported once
    if os.fork():
        os.wait()
        continue
    os.chdir(folder)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = ["lcomp", *arguments]
    try:
        sys.exit(main())
    except SystemExit as exit:
        print("exit code", exit.code)
    for name in ("hydra", "numpy", "torch"):
        print(name, "imported:", name in sys.modules)
    break
"""


def ask(folder, *arguments, module="__main__"):
    """(standard output, standard error) of one command."""
    [answer] = ask_each([folder], [arguments], module)
    return answer


def ask_each(folders, commands, module="__main__"):
    """What `ask` gives, of each command in a folder of its own."""
    asked = [(str(folder), list(arguments)) for folder, arguments in zip(folders, commands, strict=True)]
    subprocess.run([sys.executable, "-c", RUN.format(module=module, asked=asked)], timeout=120, check=True)
    return [tuple((folder / name).read_text() for name in ("out", "err")) for folder in folders]


def files_of(group):
    """The choices of a group, by its files."""
    return sorted(path.stem for path in (run_config.folder() / group).glob("*.yaml"))


FOLDERS = {path.parent.relative_to(run_config.folder()) for path in run_config.folder().rglob("*/*.yaml")}
GROUPS = sorted(str(folder) for folder in FOLDERS if folder.parts[:1] not in ((), ("hydra",)))


def test_help_lists_the_groups_and_commands_worth_trying(tmp_path):
    seen, _ = ask(tmp_path, "--help")
    listed = dict(line.split(": ", 1) for line in seen.partition("after -m):\n\n")[2].partition("\n\n")[0].splitlines())
    assert {group: choices.split(", ") for group, choices in listed.items()} == {g: files_of(g) for g in GROUPS}
    assert "python -m lcomp -m kd.temperature=1,3,6,8" in seen and "torch imported: False" in seen


def test_help_is_what_hydra_would_say_without_it(tmp_path):
    folders = [tmp_path / name for name in ("plain", "hydra")]
    for folder in folders:
        folder.mkdir()
    plain, _ = ask(folders[0], "--help")
    composed, _ = ask(folders[1], "--help", "seed=0")
    assert "hydra imported: False" in plain and "hydra imported: True" in composed
    assert plain.partition("exit code")[0].strip() == composed.partition("exit code")[0].strip()


def test_hydra_says_the_help_where_a_plugin_of_others_may_bring_choices(tmp_path, monkeypatch):
    assert help_text.is_plain(["--help"]) and help_text.is_plain(["-h"])
    assert not help_text.is_plain(["--help", "--config-dir", "mine"])
    (tmp_path / "of_others").mkdir()
    (tmp_path / "of_others" / "__init__.py").touch()
    monkeypatch.setattr(help_text.hydra_plugins, "__path__", [*help_text.hydra_plugins.__path__, str(tmp_path)])
    assert not help_text.is_plain(["--help"])


def test_cfg_shows_the_composed_configuration(tmp_path):
    seen, said = ask(tmp_path, "--cfg", "job", "prune.sparsity=0.9")
    assert "sparsity: 0.9" in seen and "_target_: lcomp.techniques.pruning.Pruning" in seen
    assert "numpy imported: False" in seen
    assert "torch imported: False" in seen and "prune.sparsity=0.9 chooses prune=scheduled" in said


def having(group, key):
    """The choices of a group whose files have a key."""
    files = [run_config.folder() / group / f"{choice}.yaml" for choice in files_of(group)]
    return ", ".join(f"{group}={path.stem}" for path in files if f"\n{key}:" in path.read_text())


MISTAKES = [
    (["prune.sparsty=0.5"], "prune.sparsty: no such key; .*did you mean prune.sparsity?"),
    (["prunne=scheduled"], "did you mean prune?"),
    (
        ["prune=schedled"],
        f"prune=schedled: no such choice; allowed are {', '.join(files_of('prune'))}; did you mean scheduled?",
    ),
    (["perturb=rotate"], "did you mean rotation?"),
    (["perturb=[rotation,blur]"], "perturb=blur: no such choice"),
    (["trainer.max_epoch=3"], "did you mean trainer.max_epochs?"),
    (
        ["prune=none", "prune.sparsity=0.5"],
        f"those with it are {having('prune', 'sparsity')}",
    ),
    (["quant=static", "quant.freeze=0.5"], f"those with it are {having('quant', 'freeze')}"),
    (
        ["prune/schedule=cubc"],
        f"allowed are {', '.join(files_of('prune/schedule'))}; did you mean cubic?",
    ),
    (["kd.temperature=1,3"], "add -m"),
    (["kd.temperature"], "write key=value"),
    (
        ["multirun/sweep-A"],
        "multirun/sweep-A: neither a subcommand (report, watch, summary, sensitivity, pack, unpack, c, doctor) nor an",
    ),
    (["reprot", "multirun"], "reprot: neither a subcommand .*did you mean report?"),
    (["seed=1", "report"], "report: a subcommand stands first, as in "),
    (["-m", "seed=1,2", "pack"], "pack: a subcommand stands first"),
    (["-m", "kd=none,logit", "kd.temprature=1,3"], "did you mean kd.temperature?"),
    (["-m", "modle=lenet5,small_cnn"], "did you mean model?"),
    (["hparam_search=pareto"], "hparam_search: no such key; did you mean hparams_search?"),
    (["-m", "n_trial=3"], "did you mean n_trials?"),
    (["temperature=3"], "temperature: no such key; write kd.temperature"),
    (["cache=x"], "cache: no such key; write baseline.cache"),
    (["max_epochs=3"], "max_epochs: no such key; write trainer.max_epochs"),
    (["momentum=0.9"], "momentum: no such key; write optimizer.momentum, of optimizer=muon,sgd"),
    (["prune/criteria=taylor"], "no such group; prune has .*prune/criterion.*; did you mean prune/criterion?"),
    (["-m", "seed=1,2", "resume=nothere"], "resume=nothere: no sweep there"),
    (["--multirun", "kd.temperature=1,3", "resume=nothere"], "resume=nothere: no sweep there"),
    (["kd.temperature=1,3", "-m", "resume=nothere", "seed=1"], "resume=nothere: no sweep there"),
    (["--kd.temperature=1,3"], "add -m, as in python -m lcomp -m kd.temperature=1,3"),
    (["kd.temperature=1,3", "n_trials=4"], "n_trials=4: belongs to a sweep; add -m"),
    (["n_trials=4", "--config-dir", "."], "n_trials=4: belongs to a sweep; add -m"),
    (["--kd.temprature=3"], "did you mean kd.temperature?"),
    (["--kd.temperature", "3"], "--kd.temperature: no such flag; .*without dashes before it: kd.temperature=VALUE"),
    (["-seed=3"], "-seed=3: no such flag; .*without dashes before it: seed=3"),
    (["seed=1", "--multi-run"], "--multi-run: no such flag.*did you mean --multirun?"),
    (["--config_dir=own"], "did you mean --config-dir?"),
    (["--cfg", "jobs"], "argument --cfg/-c: invalid choice: 'jobs' (choose from .*--hydra-help lists the flags"),
    (["kd.temperature=1,3", "-m", "--cfg", "job"], "--cfg job: shows what one run would use; leave -m"),
    (["-m", "seed=1,2", "sweeper=optuna", "hydra.sweeper.nothing=1"], "hydra.sweeper.nothing: no such key"),
    (["-m", "seed=1,2", "+hydra.sweeper.n_trials=1"], "hydra.sweeper: cannot be made .*n_trials"),
    (["-m", "seed=1,2", "hydra.sweep.dir=x/${seed}"], "one folder for the whole sweep, and ${seed} differs"),
    (
        ["-m", "kd.temperature=1,2", "hydra.sweep.dir=${hydra.job.override_dirname}"],
        "hydra.sweep.dir=${hydra.job.override_dirname}: one folder for the whole sweep",
    ),
    (["-m", "seed=1,2", "+seeds=3"], "seeds: nothing reads this key; .*did you mean seed?"),
    (["-m", "seed=1,2", "+se=3"], "se: nothing reads this key; "),
    (["optimizer=[adam,sgd]"], "optimizer=[adam,sgd]: one choice of optimizer at a time; .*-m optimizer=adam,sgd"),
    (["logger=[csv,wandb]", "logger.proyect=x"], "logger.proyect: no such key; .*did you mean logger.project?"),
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """(folder, standard output, standard error) of each mistake."""
    folders = [tmp_path_factory.mktemp("mistake") for _ in MISTAKES]
    said = ask_each(folders, [arguments for arguments, _ in MISTAKES])
    return [(folder, *streams) for folder, streams in zip(folders, said, strict=True)]


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=lambda number: " ".join(MISTAKES[number][0]))
def test_a_mistake_is_answered_in_one_line_with_the_nearest_right_word(answers, number):
    folder, seen, said = answers[number]
    [line] = [line for line in said.splitlines() if line.startswith("lcomp: ")]
    for part in MISTAKES[number][1].split(".*"):
        assert part in line
    assert "Traceback" not in said
    assert "exit code 1" in seen and "torch imported: False" in seen
    assert not list(folder.glob("multirun/*/*/result.json"))


@pytest.fixture(scope="module")
def summaries(tmp_path_factory):
    """What is said of a network, and of one that there is not."""
    folders = [tmp_path_factory.mktemp("summary") for _ in range(2)]
    return ask_each(folders, [["model=small_cnn"], ["model=lenet"]], module="summary")


def test_summary_is_the_table_of_fig_9(summaries):
    seen, _ = summaries[0]
    for layer, shape, parameters in (
        ("conv (Conv2d)", "(4, 26, 26)", "40"),
        ("pool (MaxPool2d)", "(4, 13, 13)", "0"),
        ("flatten (Flatten)", "676", "0"),
        ("fc1 (Linear)", "16", "10,832"),
        ("fc2 (Linear)", "10", "170"),
        ("total", "", "11,042"),
    ):
        assert any(all(cell in line for cell in (layer, shape, parameters)) for line in seen.splitlines()), layer


def test_summary_answers_mistakes_alike(summaries):
    seen, said = summaries[1]
    assert "model=lenet: no such choice" in said and "did you mean lenet5?" in said and "exit code 1" in seen


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["kd.temperature=3"], ["kd=logit", "kd.temperature=3"]),
        (["-m", "prune.sparsity=0.1,0.2"], ["-m", "prune=scheduled", "prune.sparsity=0.1,0.2"]),
        (["quant.bits=4", "quant=static"], ["quant.bits=4", "quant=static"]),
        (["prune/schedule=linear"], ["prune=scheduled", "prune/schedule=linear"]),
        (["-m", "kd=none,logit", "kd.temperature=3"], ["-m", "kd=none,logit", "kd.temperature=choice(3)"]),
        (["trainer.max_epochs=3"], ["trainer.max_epochs=3"]),
        (["--kd.temperature=3"], ["kd=logit", "kd.temperature=3"]),
        (["kd.temperature=1,3", "-m"], ["-m", "kd=logit", "kd.temperature=1,3"]),
        (["model._target_=own.Net", "+model.hidden=16"], ["model._target_=own.Net", "++model.hidden=16"]),
    ],
)
def test_naming_a_familys_key_chooses_its_default_technique(given, expected):
    explicit, said = shorthand.expand(given)
    assert explicit == expected
    assert len(said) == (len(expected) - len(given))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["seed=1", "-m", "threads=1,2"], ["-m", "seed=1", "threads=1,2"]),
        (
            ["seed=1,2", "--config-dir", "own", "threads=1", "--multirun"],
            ["--config-dir", "own", "--multirun", "seed=1,2", "threads=1"],
        ),
        (["--info", "seed=1"], ["--info=all", "seed=1"]),
        (["seed=1", "-i"], ["--info=all", "seed=1"]),
        (["--info", "defaults", "seed=1"], ["--info", "defaults", "seed=1"]),
        (["seed=1", "-c", "job", "threads=2", "-p", "model"], ["-c", "job", "-p", "model", "seed=1", "threads=2"]),
        (["--cfg=job", "--seed=1"], ["--cfg=job", "seed=1"]),
        (["-h", "seed=1"], ["-h", "seed=1"]),
        (["--multi", "seed=1,2"], ["--multi", "seed=1,2"]),  # cut short, as argparse allows
        (["--data.root=a b", "seed=1"], ["data.root=a b", "seed=1"]),
        (["seed=1", "seed=1"], ["seed=1", "seed=1"]),
        (["notes=slower, but smaller: it's fine"], [r"notes='slower, but smaller: it\'s fine'"]),
        (["notes='a, b'", "notes=null"], ["notes='a, b'", "notes=null"]),
    ],
)
def test_flags_may_stand_anywhere(given, expected):
    assert shorthand.expand(given)[0] == expected


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("trainer.optimizer", ["trainer.max_epochs", "trainer.learning_rate", "trainer.schedule", "trainer.warmup"]),
        ("trainer.name", ["trainer.warmup"]),
        ("name", ["project", "entity", "mode"]),
    ],
)
def test_what_is_not_near_is_not_suggested(key, allowed):
    assert suggestion(key, allowed) == ""


@pytest.mark.parametrize(("seen", "near"), [("trainer.warm_up", "trainer.warmup"), ("rotate", "rotation")])
def test_a_slip_is(seen, near):
    assert suggestion(seen, ["trainer.warmup", "trainer.schedule", "rotation"]) == f"; did you mean {near}?"


def test_unforeseen_errors_keep_their_first_line():
    assert explain(ValueError("first\nsecond"), []) == "first"


def test_output_that_nobody_reads_to_its_end_is_no_error(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "lcomp", "--help"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()  # as `head` does
    assert process.stderr.read() == b"" and process.wait() == 1
    process.stderr.close()
