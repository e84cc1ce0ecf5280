"""Which epochs a user's Trainer may choose, when it may stop, and how its checkpoints come back."""

import re

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, Timer
from training import loaders, train, weights

from lcomp.errors import UserError
from lcomp.models import SmallCNN
from lcomp.modules import BaselineModule
from lcomp.techniques.pruning import FilterPruning, LotteryTicket, NMPruning, Pruning
from lcomp.techniques.quantization import (
    LearnedStepQuantization,
    MixedPrecision,
    QuantizationAwareTraining,
    StaticQuantization,
    WeightSharing,
)
from lcomp.techniques.technique import finalize, load_checkpoint


class Yours(pl.LightningModule):
    """A module that knows nothing of lcomp, whose score falls from epoch to epoch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = SmallCNN()

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("score", 1 / (1 + self.global_step))
        self.log("cost", float(self.global_step))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 3e-3)


def zeros(network):
    found = weights(network).values()
    return sum(int((w == 0).sum()) for w in found) / sum(w.numel() for w in found)


def fit(digits, techniques, *callbacks, epochs=8, **settings):
    module = Yours()
    trainer = train(
        module,
        digits,
        epochs,
        5,
        callbacks=[*callbacks, *techniques],
        enable_checkpointing=any(isinstance(one, ModelCheckpoint) for one in callbacks),
        **settings,
    )
    return module, trainer


@pytest.mark.parametrize("monitor, mode", [("score", "max"), ("cost", "min")])
@pytest.mark.parametrize("keep", [1, 3, -1])
def test_the_best_checkpoint_is_of_a_network_whose_schedule_has_ended(digits, tmp_path, monitor, mode, keep):
    best = ModelCheckpoint(tmp_path, "{step}", monitor=monitor, mode=mode, save_top_k=keep)
    fit(digits, [Pruning(0.9, interval=1)], best)
    assert best.best_model_path == str(tmp_path / "step=35.ckpt")
    assert float(best.best_model_score) == pytest.approx(1 / 36 if mode == "max" else 35)
    steps = {1: [35], 3: [35, 40], -1: range(5, 45, 5)}[keep]
    assert {path.name for path in tmp_path.iterdir()} == {f"step={step}.ckpt" for step in steps}
    techniques = [Pruning(0.9, interval=1)]
    loaded = load_checkpoint(best.best_model_path, Yours(), techniques)
    assert zeros(finalize(loaded, techniques)) == pytest.approx(0.9, abs=1e-4)


def test_a_checkpoint_that_monitors_nothing_is_left_alone(digits, tmp_path):
    last = ModelCheckpoint(tmp_path, "{step}", save_last=True, every_n_train_steps=8, save_top_k=-1)
    fit(digits, [Pruning(0.9)], last)
    assert len(list(tmp_path.iterdir())) == 6 and last.best_model_path.endswith("step=40.ckpt")


def test_checkpoints_are_chosen_from_the_first_epoch_where_nothing_is_scheduled(digits, tmp_path):
    best = ModelCheckpoint(tmp_path, "{step}", monitor="score", mode="max")
    fit(digits, [QuantizationAwareTraining(8)], best)
    assert best.best_model_path.endswith("step=5.ckpt")
    again = ModelCheckpoint(tmp_path / "static", "{step}", monitor="score", mode="max")
    fit(digits, [StaticQuantization()], again)
    assert again.best_model_path.endswith("step=5.ckpt")


def test_no_epoch_is_best_where_none_follows_the_schedule(digits, tmp_path, caplog):
    best = ModelCheckpoint(tmp_path, "{step}", monitor="score", mode="max")
    module, _ = fit(digits, [Pruning(0.9, end=1.0)], best)
    assert best.best_model_path == "" and "no validation followed the end of the techniques' schedules" in caplog.text
    assert zeros(module.net) == pytest.approx(0.9, abs=1e-4)


def test_early_stopping_waits_for_the_schedule_and_then_begins_anew(digits, caplog):
    stopping = EarlyStopping("score", mode="max", patience=1)
    module, trainer = fit(digits, [Pruning(0.9, end=0.5, interval=1)], stopping, epochs=10)
    assert trainer.global_step == 35  # settled at step 26; 30 is the best of those after it, 35 is worse
    assert zeros(module.net) == pytest.approx(0.9, abs=1e-4)
    assert caplog.text.count("stopping early is held back to step 26") == 1
    assert trainer.min_steps is None


def test_a_stop_that_a_user_asked_for_comes_when_the_schedule_has_ended(digits):
    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.should_stop = trainer.should_stop or trainer.global_step == 7

    module, trainer = fit(digits, [Pruning(0.9, end=0.5)], Stop())
    assert trainer.global_step == 21 and zeros(module.net) == pytest.approx(0.9, abs=1e-4)


def test_a_trainer_whose_time_is_up_finishes_the_schedule(digits):
    class Slow(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            timer = next(one for one in trainer.callbacks if isinstance(one, Timer))
            timer._duration = 0.0 if trainer.global_step >= 3 else 1e9

    module, trainer = fit(digits, [Pruning(0.9, end=0.5)], Slow(), max_time="00:01:00:00")
    assert trainer.global_step == 21 and zeros(module.net) == pytest.approx(0.9, abs=1e-4)


@pytest.mark.parametrize("settings", [{"max_steps": 20, "epochs": -1}, {"fast_dev_run": True}])
def test_shorter_fits_end_with_the_sparsity(digits, settings, tmp_path):
    module, _ = fit(digits, [Pruning(0.9)], **settings)
    assert zeros(module.net) == pytest.approx(0.9, abs=1e-4)


@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
@pytest.mark.parametrize("left_at", [10, 35])
def test_a_resumed_fit_chooses_as_a_whole_one(digits, tmp_path, left_at):
    def callbacks(folder):
        best = ModelCheckpoint(tmp_path / folder, "{step}", monitor="score", mode="max", save_top_k=2)
        return best, EarlyStopping("score", mode="max", patience=10), Pruning(0.9, interval=1)

    every = ModelCheckpoint(tmp_path / "every", "{step}", save_top_k=-1)
    whole, *others = callbacks("best")
    train(Yours(), digits, 8, 5, callbacks=[whole, *others, every], enable_checkpointing=True)
    again, *others = callbacks("best")
    trainer = pl.Trainer(max_epochs=8, accelerator="cpu", logger=False, enable_progress_bar=False,
                         enable_model_summary=False, num_sanity_val_steps=0, callbacks=[again, *others])  # fmt: skip
    trainer.fit(Yours(), *loaders(digits, 5), ckpt_path=tmp_path / "every" / f"step={left_at}.ckpt", weights_only=True)
    assert whole.best_model_path == str(tmp_path / "best" / "step=35.ckpt")
    assert again.best_model_path.startswith(str(tmp_path / "best" / "step=35"))
    assert trainer.global_step == 40


TECHNIQUES = {
    "pruned": lambda: [Pruning(0.9, interval=1), QuantizationAwareTraining(8)],
    "patterned": lambda: [NMPruning(2, 4), LearnedStepQuantization(4)],
    "ticket": lambda: [LotteryTicket(0.8, rounds=2), MixedPrecision()],
    "shared": lambda: [Pruning(0.5, end=0.5), WeightSharing(3, begin=0.5)],
}


@pytest.mark.parametrize("name", TECHNIQUES)
@pytest.mark.parametrize("kind", ["baseline", "network"])
def test_a_checkpoint_comes_back_as_training_left_it(digits, tmp_path, name, kind):
    module = BaselineModule(SmallCNN(), TECHNIQUES[name]())
    trainer = train(module, digits)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    techniques = TECHNIQUES[name]()
    if kind == "baseline":
        fresh = load_checkpoint(tmp_path / "last.ckpt", BaselineModule(SmallCNN(), techniques))
        network = fresh.network
    else:
        network = load_checkpoint(tmp_path / "last.ckpt", SmallCNN(), techniques)
    expected = module.network.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in network.state_dict().items())
    x = digits.validation.images[:64] / 255
    with torch.no_grad():
        assert torch.equal(finalize(network, techniques)(x), module.finalize()(x))


def test_a_checkpoint_under_other_techniques_is_refused(digits, tmp_path):
    _, trainer = fit(digits, [Pruning(0.9)], epochs=1)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(UserError, match="not of Yours under no technique; name all, as in training"):
        load_checkpoint(tmp_path / "last.ckpt", Yours())
    with pytest.raises(UserError, match="not of Yours under QuantizationAwareTraining"):
        load_checkpoint(tmp_path / "last.ckpt", Yours(), [QuantizationAwareTraining(8)])
    with pytest.raises(UserError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none.ckpt", Yours(), [Pruning(0.9)])
    (tmp_path / "noise").write_bytes(b"noise")
    with pytest.raises(UserError, match="cannot be read"):
        load_checkpoint(tmp_path / "noise", Yours(), [Pruning(0.9)])


class Leave(pl.Callback):
    """Ends a fit in its middle, as a killed process would."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            raise ArithmeticError


@pytest.mark.parametrize(
    "technique, said",
    [
        (Pruning(0.9, interval=1), r"prune.sparsity: 0\.\d+ of the weights are zero, of 0.9 that were to be"),
        (Pruning(0.2, sparsities={"fc1": 0.95}, interval=1), "prune.sparsity: 0"),
        (FilterPruning(0.5, interval=1), "prune.sparsity: 0.* of the channels are gone, of 0.5"),
        (NMPruning(2, 4, interval=1, end=0.9), "prune.sparsity: 0 of the weights are zero, of 0.5"),
        (LotteryTicket(0.9, rounds=3), "prune.rounds: 1 of 3 are over"),
        (WeightSharing(3, begin=0.9), "quant.begin=0.9: training ended before it"),
    ],
)
def test_an_unfinished_network_is_said_to_be_one(digits, technique, said, caplog):
    module = BaselineModule(SmallCNN(), [technique])
    with pytest.raises(ArithmeticError):
        train(module, digits, callbacks=[Leave(7)])
    caplog.clear()
    module.finalize()
    assert re.search(said, caplog.text)


@pytest.mark.parametrize(
    "technique", [QuantizationAwareTraining(begin=0.5), LearnedStepQuantization(begin=0.5), MixedPrecision(begin=0.5)]
)
def test_a_network_that_never_learned_to_be_rounded_is_refused(digits, technique):
    module = BaselineModule(SmallCNN(), [technique])
    with pytest.raises(ArithmeticError):
        train(module, digits, callbacks=[Leave(7)])
    with pytest.raises(UserError, match=r"quant\.begin=0\.5: training ended before it"):
        module.finalize()


@pytest.mark.parametrize("name", TECHNIQUES)
def test_a_finished_network_is_silent(digits, name, caplog):
    module = BaselineModule(SmallCNN(), TECHNIQUES[name]())
    train(module, digits)
    module.finalize()
    assert "not what was asked for" not in caplog.text
