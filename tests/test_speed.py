"""`speed=auto`: the precision and the memory format of training, chosen by a probe, kept, and part of what a run is."""

import json
import logging
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from lcomp.config import identity
from lcomp.config.composition import compose
from lcomp.config.run_spec import TrainerSettings, parse
from lcomp.errors import UserError
from lcomp.models import LeNet5, SmallCNN
from lcomp.tasks import ImageClassification
from lcomp.training import components, speed
from lcomp.training.speed import Choice

BF16 = Choice("bf16-mixed", None)
EXACT = Choice("32-true", None)
SETTINGS = {"max_epochs": 1, "learning_rate": 0.1, "schedule": "constant", "warmup": 0.0}


def settings(**others):
    return TrainerSettings(**SETTINGS | others)


@pytest.fixture
def probed(monkeypatch):
    """Stands for the clock: the choice named is the fastest; keeps which networks were probed."""
    state = SimpleNamespace(best=BF16, networks=[])

    def seconds(network, task, batch, found, device):
        state.networks.append(type(network).__name__)
        return {one: 0.1 if one == state.best else 1.0 for one in found}

    monkeypatch.setattr(speed, "step_seconds", seconds)
    return state


def resolved(digits, tmp_path, *overrides):
    spec = parse(compose([f"baseline.cache={tmp_path}", "data=mnist5k", *overrides]))
    return speed.with_speed(spec, digits, lambda model: components.make_network(model, digits, 0))


def test_exact_is_the_default_and_changes_nothing(digits, tmp_path, probed):
    spec = parse(compose([f"baseline.cache={tmp_path}"]))
    assert spec.speed == "exact" and speed.with_speed(spec, digits, nn.Module) is spec
    assert not probed.networks
    with pytest.raises(UserError, match="speed=fast: must be exact or auto"):
        parse(compose(["speed=fast"]))


def test_what_is_chosen_is_as_if_it_had_been_stated(digits, tmp_path, probed):
    stated = ["trainer.precision=bf16-mixed", "baseline.trainer.precision=bf16-mixed"]
    auto, asked = resolved(digits, tmp_path, "speed=auto"), resolved(digits, tmp_path, *stated)
    assert (auto.trainer, auto.baseline.trainer) == (asked.trainer, asked.baseline.trainer)
    assert identity.config_hash(dict(auto.config), "data") == identity.config_hash(dict(asked.config), "data")
    exact = resolved(digits, tmp_path)
    assert identity.config_hash(dict(auto.config), "data") != identity.config_hash(dict(exact.config), "data")
    assert components.training_identity(auto, digits, auto.baseline) == components.training_identity(
        asked, digits, asked.baseline
    )


def test_a_choice_is_kept_and_used_again_until_its_file_is_damaged(digits, tmp_path, probed):
    first = resolved(digits, tmp_path, "speed=auto", "kd=logit")
    assert sorted(probed.networks) == ["LeNet5", "SmallCNN"]  # the baseline, and what learns from it
    probed.best = EXACT
    assert resolved(digits, tmp_path, "speed=auto", "kd=logit").trainer == first.trainer
    assert len(probed.networks) == 2
    for path in tmp_path.glob("speed-*.json"):
        assert json.loads(path.read_text())["precision"] == "bf16-mixed"
        path.write_text('{"precision": "8-')
    again = resolved(digits, tmp_path, "speed=auto", "kd=logit")
    assert len(probed.networks) == 4 and again.trainer.precision == "32-true"


def test_another_batch_size_or_thread_is_another_choice(digits, tmp_path, probed):
    resolved(digits, tmp_path, "speed=auto")
    count = len(probed.networks)
    resolved(digits, tmp_path, "speed=auto", "threads=2")
    assert len(probed.networks) == 2 * count


def test_what_is_stated_stays(digits, tmp_path, probed):
    probed.best = Choice("32-true", "contiguous")
    both = ["trainer.precision=bf16-mixed", "trainer.memory_format=channels_last"]
    spec = resolved(digits, tmp_path, "speed=auto", *both)
    assert (spec.trainer.precision, spec.trainer.memory_format) == ("bf16-mixed", "channels_last")
    assert spec.baseline.trainer.memory_format == "contiguous"


def test_what_can_be_chosen():
    both = [Choice("32-true", None), Choice("32-true", "contiguous"), BF16, Choice("bf16-mixed", "contiguous")]
    assert speed.choices(LeNet5(), settings()) == both
    assert speed.choices(nn.Sequential(nn.Conv2d(1, 1, 1)), settings(gradient_clip_val=1.0)) == [
        EXACT,
        Choice("32-true", "channels_last"),
    ]
    assert speed.choices(nn.Linear(2, 2), settings()) == [EXACT, BF16]
    assert speed.choices(nn.Linear(2, 2), settings(precision="bf16-mixed")) == [BF16]


@pytest.mark.parametrize(("seconds", "chosen"), [(0.89, BF16), (0.91, EXACT), (1.1, EXACT)])
def test_another_choice_saves_a_tenth_or_the_exact_one_stays(seconds, chosen):
    assert speed.fastest({EXACT: 1.0, BF16: seconds}, EXACT) == chosen


class Refuses(nn.Module):
    """Computes in 32 bits alone; counts its steps."""

    def __init__(self, trouble):
        super().__init__()
        self.layer, self.trouble = nn.Linear(784, 10), trouble

    def forward(self, x):
        y = self.layer(torch.dropout(x.flatten(1), 0.5, train=True))
        if y.dtype == torch.bfloat16:
            return self.trouble(y)
        return y


def refuse(outputs):
    raise RuntimeError("not implemented for 'BFloat16'")


@pytest.mark.parametrize("trouble", [refuse, lambda outputs: outputs * torch.nan])
def test_a_choice_that_a_layer_refuses_or_that_diverges_is_none(digits, trouble):
    batch = speed.first_batch(digits)
    seconds = speed.step_seconds(Refuses(trouble), ImageClassification(), batch, [EXACT, BF16], "cpu")
    assert list(seconds) == [EXACT] and seconds[EXACT] > 0


def test_a_probe_draws_nothing_and_teaches_nothing(digits):
    network = SmallCNN()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    seconds = speed.step_seconds(network, digits.task, speed.first_batch(digits), [EXACT, BF16], "cpu")
    assert seconds.keys() == {EXACT, BF16}
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    assert states[:2] == after[:2] and torch.equal(states[2], after[2])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())


def test_a_run_says_what_it_chose_and_trains_in_it(digits, tmp_path, probed, caplog):
    from lcomp.run import run

    few = ["data=mnist5k", "data.epoch_examples=300", "trainer.max_epochs=1", "baseline.trainer.max_epochs=1"]
    few += ["kd=logit", f"baseline.cache={tmp_path / 'cache'}", "logger=none", "measure.latency_runs=1"]
    with caplog.at_level(logging.INFO):
        auto = run(compose(["speed=auto", *few]), tmp_path / "auto", [])
    assert auto.status == "ok", auto.error
    assert "speed=auto: trains in bf16-mixed, the usual memory format (a step: " in caplog.text
    stated = ["trainer.precision=bf16-mixed", "baseline.trainer.precision=bf16-mixed"]
    asked = run(compose([*stated, *few]), tmp_path / "asked", [])
    assert auto.environment["precision"] == auto.environment["baseline_precision"] == "bf16-mixed"
    assert (auto.config_hash, auto.files["artifact.onnx"]) == (asked.config_hash, asked.files["artifact.onnx"])
    probed.best = Choice("32-true", "contiguous")
    other = run(compose(["speed=auto", "data.batch_size=64", *few]), tmp_path / "other", [])
    assert other.environment["memory_format"] == "contiguous" and "precision" not in other.environment
