"""Files of a user's own in a folder of his: what they may choose, and what in them is refused by name."""

import pytest
from hydra.core.plugins import Plugins
from test_command_line import ask_each

from lcomp.config import composition
from lcomp.search.choices import register

pytestmark = pytest.mark.slow  # a dozen processes
WHOLE = "# @package _global_\n"
FILES = {
    "experiment/bare.yaml": "seed: 3\n",
    "experiment/misspelt.yaml": WHOLE + "seeds: 3\n",
    "experiment/deep.yaml": WHOLE + "measure:\n  latency_run: 5\n",
    "experiment/below.yaml": WHOLE + "baseline:\n  trainer:\n    max_epoch: 5\n",
    "experiment/serial.yaml": WHOLE + "defaults:\n  - override /hydra/launcher: serial\n",
    "experiment/search.yaml": WHOLE
    + "defaults:\n  - override /hydra/sweeper: optuna\nhydra:\n  sweeper:\n    n_trials: 2\n",
    "experiment/elsewhere.yaml": WHOLE + "hydra:\n  sweep:\n    dir: elsewhere\n",
    "experiment/nolauncher.yaml": WHOLE + "defaults:\n  - override /hydra/launcher: srial\n",
    "experiment/plain.yaml": WHOLE + "seed: 4\n",
    "hparams_search/bare.yaml": "hydra:\n  sweeper:\n    n_trials: 2\n",
    "trainer/mine.yaml": "defaults:\n  - default\nmax_epoch: 3\n",
    "model/mine.yaml": "_target_: own.Net\nanything: 3\n",
}
HEADER = "begin the file with '# @package _global_'"
REFUSED = [  # arguments, the file that is named, other words
    ("experiment=bare", "experiment/bare.yaml", HEADER),
    ("-m experiment=bare seed=1,2", "experiment/bare.yaml", HEADER),
    ("experiment=misspelt", "experiment/misspelt.yaml", "seeds (.*did you mean seed?"),
    ("-m experiment=misspelt seed=1,2", "experiment/misspelt.yaml", "seeds (.*did you mean seed?"),
    ("-m experiment=deep seed=1,2", "experiment/deep.yaml", "did you mean measure.latency_runs?"),
    ("-m experiment=below seed=1,2", "experiment/below.yaml", "did you mean baseline.trainer.max_epochs?"),
    ("-m trainer=mine seed=1,2", "trainer/mine.yaml", "did you mean trainer.max_epochs?"),
    ("-m hparams_search=bare kd.temperature=1,3", "hparams_search/bare.yaml", HEADER),
    ("-m experiment=plain,serial", "", "experiment=serial: sets hydra.launcher.*launcher=serial"),
    ("-m experiment=plain,search", "", "experiment=search: sets hydra.sweeper"),
    ("-m experiment=elsewhere,plain", "", "experiment=elsewhere: sets hydra.sweep,"),
    ("-m experiment=nolauncher seed=1,2", "", "hydra/launcher=srial: no such choice.*did you mean serial?"),
]


def write_all(folder):
    for name, text in FILES.items():
        (folder / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "own" / name).write_text(text)


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """(folder, standard output, standard error) of each command that is refused."""
    folders = [tmp_path_factory.mktemp("own") for _ in REFUSED]
    for folder in folders:
        write_all(folder)
    commands = [["--config-dir", "own", *arguments.split()] for arguments, _, _ in REFUSED]
    said = ask_each(folders, commands)
    return [(folder, *streams) for folder, streams in zip(folders, said, strict=True)]


@pytest.mark.parametrize("number", range(len(REFUSED)), ids=lambda number: REFUSED[number][0])
def test_what_nothing_would_heed_is_refused_with_its_file(answers, number):
    folder, seen, said = answers[number]
    arguments, file, words = REFUSED[number]
    whole = "-m" in arguments  # a run by itself leaves a record of its failure
    [line] = [
        line for line in (said if whole else seen).splitlines() if line.startswith("lcomp: ") or "failed: " in line
    ]
    for part in [*words.split(".*"), *([f"(in {folder}/own/{file})"] if file else [])]:
        assert part in line
    assert "Traceback" not in said and "exit code 1" in seen
    if whole:
        assert (
            "torch imported: False" in seen
            and not (folder / "multirun").exists()
            and not (folder / "elsewhere").exists()
        )


@pytest.mark.parametrize(
    ("overrides", "launcher", "searches"),
    [
        ([], "local", "grid"),
        (["experiment=plain"], "local", "grid"),
        (["experiment=serial"], "serial", "grid"),
        (["experiment=search"], "local", "optuna"),
        (["experiment=serial", "hydra/launcher=local"], "local", "grid"),
        (["experiment=serial", "hydra/sweeper=optuna"], "serial", "optuna"),
    ],
)
def test_an_experiment_chooses_its_own_launcher_and_sweeper(tmp_path, overrides, launcher, searches):
    write_all(tmp_path)
    Plugins.instance()
    register()
    with composition.hydra.initialize_config_dir(str(composition.folder().resolve()), version_base="1.3"):
        given = [*overrides, f"hydra.searchpath=['file://{tmp_path}/own']"]
        cfg = composition.hydra.compose("config", given, return_hydra_config=True)
    chosen = cfg.hydra.runtime.choices
    assert (chosen["hydra/launcher"], chosen["hydra/sweeper"]) == (launcher, searches)
    if "experiment=search" in overrides:
        assert cfg.hydra.sweeper.n_trials == 2
