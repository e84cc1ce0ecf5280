"""The paper's rows take the paper's number of optimizer steps; whole runs on real digits, with short epochs."""

import hydra
import pytest

from lcomp.config import run_config
from lcomp.run import run
from lcomp.training import components

STEPS = 4  # of an epoch here
EPOCHS = {  # the paper's, after its baseline's 10
    "paper_baseline": 0,
    "paper_prune_constant_50": 4,
    "paper_prune_constant_80": 4,
    "paper_prune_scheduled_80": 4,
    "paper_quant_dynamic": 0,
    "paper_quant_static": 0,
    "paper_quant_qat": 2,
    "paper_kd_t1": 10,
    "paper_kd_t3": 10,
    "paper_kd_t8": 10,
}

QUICK = ("paper_prune_scheduled_80", "paper_quant_static", "paper_quant_qat", "paper_kd_t1")  # one of each kind


def test_every_row_of_the_paper_is_counted():
    assert set(EPOCHS) == {path.stem for path in (run_config.folder() / "experiment").glob("paper_*.yaml")}


@pytest.fixture(scope="module")
def baselines(tmp_path_factory):
    """(a cache for all rows, the steps of each baseline that was trained for it)"""
    fit, steps = components.fit, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(components, "fit", lambda *given, **named: steps.append(fit(*given, **named)))
        yield tmp_path_factory.mktemp("cache"), steps


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in EPOCHS]
)
def test_a_row_takes_its_epochs_of_steps_from_the_one_baseline_of_ten(name, baselines, tmp_path):
    cache, steps_of_baselines = baselines
    with hydra.initialize_config_dir(str(run_config.folder().resolve()), version_base="1.3"):
        settings = [
            "data=mnist5k",
            f"data.epoch_examples={256 * STEPS}",
            f"baseline.cache={cache}",
            "measure.latency_runs=1",
            "progress=false",
        ]
        cfg = hydra.compose("config", [f"experiment={name}", *settings])
    result = run(cfg, tmp_path / "run", [])
    assert result.status == "ok", result.error
    assert steps_of_baselines == [10 * STEPS]
    assert result.steps == EPOCHS[name] * STEPS
