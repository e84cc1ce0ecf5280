"""Two processes, as on two machines, on one study in a real PostgreSQL; one of them is killed."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from test_launcher import records, wait_for
from test_sweeps import kill_all

from lcomp.search.study import counted_trials


def program(name):
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *map(Path, os.environ["PATH"].split(":"))]
    return next((str(place / name) for place in places if (place / name).exists()), None)


@pytest.fixture
def database():
    """The URL of a database of the test's own, on a socket in a folder of its own."""
    if not program("initdb"):
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    place = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # a socket's path is short
    as_user = {}
    if os.geteuid() == 0:  # the server refuses to be root's
        names = [user.pw_name for user in pwd.getpwall()]
        as_user = {"user": "postgres" if "postgres" in names else "nobody"}
        shutil.chown(place, as_user["user"])
    options = f"-c listen_addresses= -c unix_socket_directories={place} -c fsync=off"
    run = {"check": True, "stdout": subprocess.DEVNULL, "cwd": place, **as_user}
    subprocess.run([program("initdb"), "-D", place / "data", "-A", "trust", "-U", "lcomp"], **run)
    control = [program("pg_ctl"), "-D", place / "data", "-w"]
    subprocess.run([*control, "-o", options, "-l", place / "log", "start"], **run)
    try:
        yield f"postgresql+psycopg://lcomp@/postgres?host={place}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **run)
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.slow
def test_a_killed_process_leaves_its_trial_to_the_other(lcomp_in, tmp_path, database):
    here, there = tmp_path / "here", tmp_path / "there"
    command = ["-m", "hydra/sweeper=optuna", "kd.temperature=interval(1,10)", "n_trials=4", "launcher=serial"]
    command += [f"storage='{database}'", "study_name=shared", "hydra.sweeper.heartbeat=2", "trainer.max_epochs=1"]
    processes = []
    for folder in (there, here):
        folder.mkdir()
        processes.append(lcomp_in(folder, wait=False)(*command))
        wait_for(lambda folder=folder: [*folder.glob("multirun/sweep-*/*/lcomp.log")])
    kill_all(processes[0])
    out, err = processes[1].communicate(timeout=300)
    assert processes[1].returncode == 0, err
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(database)
    trials = optuna.load_study(study_name="shared", storage=storage).get_trials(deepcopy=False)
    storage.remove_session()
    storage.engine.dispose()
    assert [trial.state for trial in counted_trials(trials)] == [TrialState.COMPLETE] * 4
    lost = [trial for trial in trials if trial.state == TrialState.FAIL]
    assert len(lost) == 1 and lost[0].number in {n for t in trials for n in t.system_attrs.get("retry_history", ())}
    [taken_over] = [t for t in counted_trials(trials) if t.params == lost[0].params]
    folders = {path.parent.name for path in here.glob("multirun/sweep-*/*/result.json")}
    assert str(taken_over.number) in folders and len(records(here)) + len(records(there)) == 4
    assert "Best val_accuracy" in out
