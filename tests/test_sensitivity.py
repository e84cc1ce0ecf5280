"""Which layers bear compression: the scores, the files, and what is read and what is not."""

import csv
import json
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_command_line import ask
from torch import nn

from lcomp.cli.sensitivity import main
from lcomp.evaluation import measurement
from lcomp.evaluation.sensitivity import ALL, layer_sensitivities, pruned, quantized
from lcomp.report.sensitivity import write
from lcomp.tasks.split import Split
from lcomp.training import components
from lcomp.training.baseline_cache import Baseline

SPARSITIES, BITS = [0.0, 0.5, 0.9], [2, 8]


class Ignored(nn.Module):
    """A network whose layer `idle` is followed by zero weights."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 3, 2, bias=False)
        self.body = nn.ModuleDict({"idle": nn.Linear(12, 6), "busy": nn.Linear(12, 6)})
        self.last = nn.Linear(12, 4)
        with torch.no_grad():
            self.last.weight[:, :6] = 0

    def forward(self, x):
        x = self.conv(x).flatten(1)
        return self.last(torch.cat([self.body["idle"](x), self.body["busy"](x)], 1))


@pytest.fixture
def split():
    random = np.random.default_rng(0)
    return Split({"pixels": random.random((300, 1, 3, 3), dtype=np.float32)}, random.integers(0, 4, 300))


@pytest.fixture
def scores(split):
    return layer_sensitivities(Ignored(), split, SPARSITIES, BITS)


def of(scores, layer):
    return [score for score in scores if score.layer == layer]


def test_a_layer_that_nothing_reads_costs_nothing_and_others_do(scores):
    assert all(score.change == 0 and score.kl == 0 for score in of(scores, "body.idle"))
    assert all(score.change == 0 and score.kl == 0 for score in scores if score.value == 0)
    assert of(scores, "body.busy")[2].kl > of(scores, "body.busy")[1].kl > 0
    assert of(scores, "body.busy")[3].kl > of(scores, "body.busy")[4].kl > 0  # 2 bits, 8 bits


def test_every_layer_has_every_choice_and_its_share(scores):
    expected = [("sparsity", value) for value in SPARSITIES] + [("bits", value) for value in BITS]
    names = ["conv", "body.idle", "body.busy", "last", ALL]
    assert [(s.layer, s.kind, s.value) for s in scores] == [(name, *choice) for name in names for choice in expected]
    assert [of(scores, name)[0].share for name in names] == [w / 204 for w in (12, 72, 72, 48, 204)]


def test_scores_are_those_of_a_network_changed_by_hand(split, scores):
    network, pixels = Ignored().eval(), torch.from_numpy(split.pixels)
    with torch.no_grad():
        before = network(pixels)
        weight = network.body["busy"].weight
        weight[weight.abs() < weight.abs().flatten().sort().values[36]] = 0
        after = network(pixels)
    found = of(scores, "body.busy")[1]
    labels = torch.from_numpy(split.labels)
    right = [float((logits.argmax(1) == labels).float().mean()) for logits in (before, after)]
    assert (found.accuracy, found.change) == pytest.approx((right[1], right[1] - right[0]), abs=1e-6)
    kl = F.kl_div(F.log_softmax(after, 1), F.log_softmax(before, 1), log_target=True, reduction="batchmean")
    assert found.kl == pytest.approx(float(kl), rel=1e-3)


def test_all_layers_together_have_each_layers_own_change(split, scores):
    network = Ignored()
    with torch.no_grad():
        for layer in (network.conv, *network.body.values(), network.last):
            layer.weight.copy_(quantized(layer.weight, 2))
    own = measurement.predict_outputs(network, split.inputs)
    assert of(scores, ALL)[3].accuracy == pytest.approx((own.argmax(1) == split.labels).mean())


def test_the_network_is_left_as_it_was(split):
    network = Ignored().train()
    before, state = {key: value.clone() for key, value in network.state_dict().items()}, network.state_dict()
    layer_sensitivities(network, split, SPARSITIES, BITS)
    assert network.training and network.last.training
    assert all(value.data_ptr() == state[key].data_ptr() for key, value in network.state_dict().items())
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_what_a_weight_becomes():
    weight = torch.tensor([[0.5, -3.0, 1.0, 0.1], [0.0, 0.0, 0.0, 0.0]])
    assert pruned(weight, 0.75).tolist() == [[0.0, -3.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    assert quantized(weight, 3).tolist() == [[0.0, -3.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]  # half to even
    assert torch.equal(quantized(weight.view(2, 1, 2, 2), 3).flatten(1), quantized(weight, 3))


def test_the_files_hold_every_score_and_ask_nothing_of_a_network(scores, tmp_path):
    path = write(scores, "Sensitivity of <b>digits</b>", "model=lenet5 seed=1", tmp_path / "out")
    assert sorted(p.name for p in path.parent.iterdir()) == ["sensitivity.csv", "sensitivity.html"]
    with (path.parent / "sensitivity.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["layer"], r["kind"], float(r["value"])) for r in rows] == [(s.layer, s.kind, s.value) for s in scores]
    for name in ("accuracy", "change", "kl", "share"):
        assert [float(row[name]) for row in rows] == [getattr(score, name) for score in scores]
    text = path.read_text()
    [embedded] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    sparsity, bits = json.loads(embedded)
    assert (sparsity["x"], bits["x"]) == (SPARSITIES, BITS)
    assert [layer["name"] for layer in bits["layers"]] == ["conv", "body.idle", "body.busy", "last", ALL]
    assert sparsity["layers"][2]["change"] == pytest.approx([100 * s.change for s in of(scores, "body.busy")[:3]])
    assert sparsity["layers"][2]["kl"] == pytest.approx([s.kl for s in of(scores, "body.busy")[:3]], rel=1e-6)
    assert "<b>digits" not in text and "python -m lcomp.sensitivity model=lenet5 seed=1" in text
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=.?https?:", text)


class Untouchable:
    """A loader whose images must not be read."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __iter__(self):
        raise AssertionError("the test split was read")


def test_only_the_validation_split_is_read(digits, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(digits, "test_dataloader", lambda: Untouchable(digits.test))
    monkeypatch.setattr(components, "make_data", lambda cfg: digits)
    monkeypatch.setattr(components, "make_baseline", lambda cfg, data: Baseline(trained, tmp_path, 0.0))
    monkeypatch.setattr("sys.argv", ["sensitivity", "data=mnist5k", "--sparsities", "0.9,0.5", "seed=1", "--bits=4"])
    monkeypatch.chdir(tmp_path)
    assert main() == 0
    said = capsys.readouterr().out
    [page] = tmp_path.glob("multirun/sensitivity-*/sensitivity.html")
    assert f"Sensitivity: {page.relative_to(tmp_path)}" in said.replace("\n", "")
    rows = list(csv.DictReader((page.parent / "sensitivity.csv").read_text().splitlines()))
    assert [(row["layer"], row["value"]) for row in rows[:4]] == [
        ("conv1", "0.5"), ("conv1", "0.9"), ("conv1", "4"), ("conv2", "0.5"),
    ]  # fmt: skip
    split = measurement.split_of(digits.val_dataloader(), digits.task)
    unchanged = float((measurement.predict_outputs(trained, split.inputs).argmax(1) == split.labels).mean())
    assert {round(float(row["accuracy"]) - float(row["change"]), 9) for row in rows} == {round(unchanged, 9)}
    assert f"Unchanged: {unchanged:.2%}" in said and "fc1" in said and "69.5%" in said


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--sparsities", "0.5,95"], "--sparsities 0.5,95: shares from 0 to below 1"),
        (["--sparsities", "half"], "--sparsities half: shares"),
        (["--bits", "9"], "--bits 9: whole numbers from 2 to 8"),
        (["--bits", "2.5"], "--bits 2.5: whole numbers"),
        (["prune.sparsity=0.5"], "prune.sparsity=0.5: the baseline alone .* --sparsities"),
        (["quant/grid=binary"], "quant/grid=binary: the baseline alone"),
        (["seed=0,1"], "seed=0,1: one value"),
        (["modle=lenet5"], "did you mean model?"),
        (["seed=-1"], "seed=-1: must be a whole number"),
    ],
)
def test_a_mistake_is_answered_in_one_line(tmp_path, monkeypatch, capsys, arguments, answer):
    monkeypatch.setattr("sys.argv", ["sensitivity", *arguments])
    monkeypatch.chdir(tmp_path)
    assert main() == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("lcomp: ") and re.search(answer, line)
    assert not list(tmp_path.iterdir())


def test_help_comes_without_torch(tmp_path):
    seen, _ = ask(tmp_path, "--help", module="sensitivity")
    assert "--sparsities" in seen and "torch imported: False" in seen
