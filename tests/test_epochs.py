"""What a search is told of each epoch."""

import pytest

from lcomp.data import MNISTDataModule
from lcomp.errors import TrialPruned
from lcomp.models import LeNet5
from lcomp.modules import BaselineModule, PruningModule, QATModule
from lcomp.training.epochs import Epochs
from lcomp.training.fit import fit


@pytest.fixture(scope="module")
def digits():
    """Epochs of 22 steps."""
    return MNISTDataModule(dataset="mnist5k", epoch_examples=5_400)


def told(module, digits, epochs=4):
    seen = []
    watch = Epochs(lambda epoch, accuracy: seen.append((epoch, accuracy)))
    fit(module, digits, epochs, seed=0, progress=False, epochs=watch)
    return seen, watch.curves.columns["val_accuracy"]


def test_each_epoch_but_the_last_is_told(digits):
    seen, accuracies = told(BaselineModule(LeNet5()), digits)
    assert seen == list(enumerate(accuracies[:3], 1)) and len(accuracies) == 4
    assert all(0 < accuracy <= 1 for accuracy in accuracies)


def test_epochs_before_a_schedule_has_ended_are_not_told(digits):
    seen, accuracies = told(PruningModule(LeNet5(), sparsity=0.8, end=0.5), digits)
    assert [epoch for epoch, _ in seen] == [3] and len(accuracies) == 4
    seen, _ = told(QATModule(LeNet5(), bits=8, begin=0.5, freeze=0.75), digits)
    assert [epoch for epoch, _ in seen] == [3]  # the second ended on the step before rounding began


def test_giving_up_ends_training_at_once(digits):
    def report(epoch, accuracy):
        raise TrialPruned(f"after epoch {epoch}")

    watch = Epochs(report)
    with pytest.raises(TrialPruned, match="after epoch 1"):
        fit(BaselineModule(LeNet5()), digits, 4, seed=0, progress=False, epochs=watch)
    assert len(watch.curves.rows) == 1
