"""Checkpoints load without executing anything, and say what is wrong with them; the log names the data."""

import logging
import pickle

import pytest
import torch
from torch import nn

from lcomp.errors import UserError
from lcomp.models import LeNet5, SmallCNN
from lcomp.modules import BaselineModule, PruningModule
from lcomp.record import log
from lcomp.training.fit import NotFinite, fit, save
from lcomp.training.weights_file import load_weights


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_loading_a_checkpoint_never_unpickles_code(tmp_path):
    torch.save({"state_dict": {"x": Malicious(tmp_path / "executed")}}, tmp_path / "evil.ckpt")
    with pytest.raises(UserError, match="holds something else than tensors by name"):
        load_weights(tmp_path / "evil.ckpt", SmallCNN())
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Malicious(tmp_path / "executed")))
    with pytest.raises(UserError, match="holds something else than tensors by name"):
        load_weights(tmp_path / "evil.pkl", SmallCNN())
    assert not (tmp_path / "executed").exists()


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    module = BaselineModule(SmallCNN())
    path = save(module, tmp_path)
    back = load_weights(path, SmallCNN())
    assert all(torch.equal(a, b) for a, b in zip(module.network.parameters(), back.parameters(), strict=True))
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.ckpt"]


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    path = save(BaselineModule(SmallCNN()), tmp_path)
    with pytest.raises(UserError, match="not the weights of this LeNet5: 6 missing"):
        load_weights(path, LeNet5())
    with pytest.raises(UserError, match=r"no such file; name one of weights: .*checkpoint\.ckpt"):
        load_weights(tmp_path / "none.ckpt", LeNet5())


def test_a_pruned_network_is_no_teacher(tmp_path):
    module = PruningModule(SmallCNN(), 0.5)
    module.techniques[0].prepare(module.network)
    with pytest.raises(UserError, match="holds a pruned or quantized network"):
        load_weights(save(module, tmp_path), SmallCNN())


def test_moments_in_a_checkpoint_lie_as_its_weights_do(digits, tmp_path):
    module = BaselineModule(LeNet5())
    fit(module, digits, 1, 0, False)
    kept = torch.load(save(module, tmp_path), weights_only=True)
    moments = kept["optimizer_states"][0]["state"]
    weights = [weight for name, weight in kept["state_dict"].items() if "normalize" not in name]
    assert len(moments) == len(weights) == 10
    for number, weight in enumerate(weights):
        assert weight.is_contiguous()
        assert moments[number]["exp_avg"].is_contiguous() and moments[number]["exp_avg_sq"].is_contiguous()


def test_a_network_that_flattens_by_view_trains(digits):
    class Yours(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.out = nn.Conv2d(1, 4, 5, stride=4), nn.Linear(144, 10)

        def forward(self, x):
            x = self.conv(x).relu()
            return self.out(x.view(x.size(0), -1))

    assert fit(BaselineModule(Yours()), digits, 1, 0, False) == 211


def test_training_stops_on_the_first_loss_that_is_not_finite(digits):
    network = SmallCNN()
    with torch.no_grad():
        network.fc2.bias.fill_(float("nan"))
    with pytest.raises(NotFinite, match="the training loss is nan at step"):
        fit(BaselineModule(network), digits, 1, 0, False)


def test_every_log_line_names_the_data(monkeypatch):
    handler, before, after = (
        logging.NullHandler(),
        logging.makeLogRecord({"msg": "x"}),
        logging.makeLogRecord({"msg": "x"}),
    )
    handler.addFilter(log.NameData())
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    assert handler.filter(before) and before.dataset == "no data yet"
    log.name_dataset("mnist5k")
    assert handler.filter(after) and after.dataset == "mnist5k"
