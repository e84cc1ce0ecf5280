"""Which configuration keys become columns of the page."""

from records import record

from lcomp.report.runs import load_runs
from lcomp.report.varied_keys import settings, varied_keys


def varied(folder):
    runs = load_runs([folder])
    return varied_keys([settings(run.result) for run in runs], runs)


def test_every_key_that_differs_is_one_and_what_all_share_is_not(tmp_path):
    shared = {"prune.schedule": "cubic", "prune.sparsity": 0.5}
    record(tmp_path / "0", "trainer.max_epochs=5", "+own.key=a", "seed=1", params=shared, choices={"model": "mlp"})
    record(tmp_path / "1", "trainer.max_epochs=5", params=shared | {"prune.sparsity": 0.8}, seed=1)
    assert varied(tmp_path) == ["prune.sparsity", "model", "own.key"]


def test_what_was_asked_for_is_a_number_where_it_is_one_and_no_secret(tmp_path):
    made = record(tmp_path / "0", "trainer.max_epochs=5", "optimizer.lr=1e-3", "x=true", "logger.api_key=hunter2secret")
    made.choices["callbacks"] = ["ema", "rate"]
    assert settings(made) | {"model": None} == {
        "trainer.max_epochs": 5, "optimizer.lr": 1e-3, "x": "true", "logger.api_key": "***", "callbacks": "ema, rate",
        "model": None, "kd": "none", "prune": "none", "quant": "none", "perturb": "none",
    }  # fmt: skip


def test_one_value_written_in_two_ways_is_one(tmp_path):
    record(tmp_path / "0", "optimizer.lr=0.10", "x=1")
    record(tmp_path / "1", "optimizer.lr=0.1", "x=2")
    assert varied(tmp_path) == ["x"]
