"""No file that a sweep or a search leaves has a secret in it, and points that differ in one are two."""

import pytest
from test_launcher import records

from lcomp.errors import UserError
from lcomp.search.space import Space

NETWORK = """
import logging
from lcomp.models import SmallCNN

class Network(SmallCNN):
    def __init__(self, password="", api_key="", cls_token="", auth=None, url="", **given):
        super().__init__(**given)
        logging.getLogger("mine").warning("logged in with password=%s", password)
        if "fails" in url:
            raise ValueError(f"cannot log in: {{'password': '{password}'}} at {url}")
"""
MODEL = ["-m", "model=small_cnn", "model._target_=mine.Network", "launcher=serial", "logger=wandb", "report=true"]
SMALL = ["data=mnist5k", "data.epoch_examples=500", "+model.api_key=hidden1", "+model.auth={user:me,password:hidden2}"]
SECRETS = [f"hidden{number}" for number in range(1, 8)]


@pytest.fixture
def sweep(lcomp_in, tmp_path):
    (tmp_path / "mine.py").write_text(NETWORK)
    return lambda *arguments: lcomp_in(tmp_path)(*MODEL, *SMALL, *arguments)


def leaks(folder, done):
    """The files under `folder`, hidden ones and those of W&B and SQLite too, that hold a secret; and the terminal."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    assert len(files) > 20
    places = {str(path): path.read_bytes() for path in files}
    places["terminal"] = (done.stdout + done.stderr).encode()
    return [(place, secret) for place, content in places.items() for secret in SECRETS if secret.encode() in content]


@pytest.mark.slow
def test_a_grid_over_passwords_has_a_run_for_each_and_leaves_none(sweep, tmp_path):
    done = sweep(
        "+model.password=hidden3 x,hidden4", "+model.cls_token=learned,mean", "+model.url='a://me:hidden5@h/fails'"
    )
    assert done.returncode == 1, done.stdout
    found = records(tmp_path)
    assert len(found) == 4 and all("cannot log in" in record["error"] for record in found)
    tokens = [override for record in found for override in record["overrides"] if "cls_token" in override]
    assert sorted(tokens) == 2 * ["++model.cls_token=learned"] + 2 * ["++model.cls_token=mean"]
    assert len({record["hidden"] for record in found}) == 2
    assert leaks(tmp_path, done) == []


@pytest.mark.slow
def test_a_sweep_over_passwords_is_resumed_by_what_they_are(sweep, tmp_path):
    done = sweep("+model.password=hidden3,hidden4")
    assert done.returncode == 0, done.stderr
    assert [record["status"] for record in records(tmp_path)] == ["ok", "ok"]
    again = sweep("+model.password=hidden3,hidden4", "resume=last")
    assert again.returncode == 0 and "2 of 2 runs are finished" in again.stdout, again.stderr
    other = sweep("+model.password=hidden3,hidden6", "resume=last")
    assert other.returncode == 1 and "hidden values: was" in other.stderr
    assert len(records(tmp_path)) == 2
    assert leaks(tmp_path, done) == leaks(tmp_path, other) == []


@pytest.mark.slow
def test_a_search_runs_with_secrets_that_its_study_does_not_have(sweep, tmp_path):
    done = sweep(
        "+model.password=hidden7", "sweeper=optuna", "n_trials=2", "trainer.learning_rate=interval(0.001,0.002)"
    )
    assert done.returncode == 0, done.stderr
    assert [record["status"] for record in records(tmp_path)] == ["ok", "ok"]
    assert list(tmp_path.rglob("study.db")) and list(tmp_path.rglob("*.wandb"))
    assert leaks(tmp_path, done) == []


@pytest.mark.parametrize("asked", ["+password=choice({})", "+data.url=choice('a://me:{}@h',b)"])
def test_a_secret_is_not_searched_for(asked):
    with pytest.raises(UserError, match="a secret cannot be searched for"):
        Space([asked.format("a,b")])
