"""Each protocol of the core, by a double that a user could have written."""

from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lcomp.config.composition import compose
from lcomp.config.run_spec import parse
from lcomp.data import loaders
from lcomp.errors import UserError
from lcomp.evaluation import measurement, size
from lcomp.export import export
from lcomp.modules import DistillationModule
from lcomp.record.metric import Metric
from lcomp.record.result import Result
from lcomp.runtimes import ONNXRuntime
from lcomp.tasks import ImageClassification, Task
from lcomp.techniques.distillation.objective import ObjectiveNeeds, needs_of
from lcomp.tracking.loggers import LightningTracker, make_tracker
from lcomp.tracking.tracker import Tracker
from lcomp.training import components


class TwoInputs(Task):
    """The sum of two numbers: two named inputs of different kinds."""

    metric = Metric("distance", higher_is_better=False, percent=False)
    output_size = 1
    output = "sum"

    def inputs(self, batch):
        return {"whole": batch["n"], "real": batch["x"]}

    def labels(self, batch):
        return batch["sum"]

    def loss(self, outputs, labels):
        return (outputs - labels).square().mean()

    def metrics(self, outputs, labels):
        return {"distance": (outputs - labels).abs().mean()}

    def example_inputs(self, n):
        return {"whole": torch.zeros(n, 1, dtype=torch.int64), "real": torch.zeros(n, 1)}


class Sum(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, whole, real):
        return self.weight * (whole + real)


class Pairs:
    """Data with three loaders and nothing else."""

    def prepare_data(self):
        pass

    def setup(self, stage):
        self.n = torch.arange(300)[:, None]

    def loader(self):
        rows = TensorDataset(self.n, self.n / 7)
        return DataLoader(rows, 100, collate_fn=lambda given: self.batch(*map(torch.stack, zip(*given, strict=True))))

    def batch(self, n, x):
        return {"n": n, "x": x, "sum": n + x}

    train_dataloader = val_dataloader = test_dataloader = loader


class Apart(torch.nn.Module):
    """An objective that declares nothing: how far the outputs are apart, weighed by a layer of its own."""

    def __init__(self):
        super().__init__()
        self.module = torch.nn.Linear(1, 1)

    def forward(self, student, teacher, labels):
        return self.module(student - teacher).square().mean()


class Watchful:
    """An objective that declares all that it can."""

    reads, reads_features, temperature = "sum", True, 2.0
    module = f"{__name__}.Watching"

    def __call__(self, student, teacher, labels):
        return (student - teacher).square().mean()


class Seeing(Watchful):
    """The same in the module of other objectives."""

    module = None


class Watching(DistillationModule):
    """What an objective asks to be trained by."""


def test_data_of_three_loaders_are_completed_by_what_the_core_asks():
    data = Pairs()
    loaders.begin(data, "data._target_=mine.Pairs")
    ready = loaders.set_up(data, "data._target_=mine.Pairs", TwoInputs())
    assert ready.eval_perturbations == {} and ready.mnist_c_root is None
    assert ready.carry_outputs(None) is False and ready.carry_indices() is None
    assert isinstance(ready.task, TwoInputs) and len(ready.train_dataloader()) == 3
    splits = measurement.splits_of(ready)
    assert {name: values.shape for name, values in splits.test.inputs.items()} == {"whole": (300, 1), "real": (300, 1)}
    assert splits.test.inputs["whole"].dtype.kind == "i" and splits.test.labels[7, 0] == 8


def test_perturbations_of_images_are_refused_where_there_are_none():
    data = Pairs()
    data.eval_perturbations = {"rotation": {"rotation": 3}}
    loaders.begin(data, "data._target_=mine.Pairs")
    with pytest.raises(UserError, match="its eval_perturbations change images; the task's inputs are whole, real"):
        loaders.set_up(data, "data._target_=mine.Pairs", TwoInputs())


def test_a_network_of_two_inputs_is_exported_by_their_names_and_measured(tmp_path):

    task, network = TwoInputs(), Sum().eval()
    export(network, tmp_path / "artifact.onnx", task)
    session = ONNXRuntime().session(tmp_path / "artifact.onnx")
    inputs = {"whole": torch.arange(600)[:, None].numpy(), "real": torch.full((600, 1), 0.5).numpy()}
    own, expected = measurement.artifact_outputs(session, inputs), measurement.predict_outputs(network, inputs)
    assert own.shape == (600, 1) and abs(own - expected).max() == 0 and own[3, 0] == 3.5
    labels = expected + 2
    assert task.figures(own, labels, "test") == {"test_distance": 2.0, "test_loss": 4.0}
    assert task.fidelity(own, expected) == {"output_difference": 0.0}
    assert size.of_graph(tmp_path / "artifact.onnx").memory_bytes > 0
    assert size.of_network(network, *map(torch.from_numpy, inputs.values())).parameters == 1
    [latency] = measurement.latencies([session], inputs, 3)
    assert latency.latency_us_p50 > 0


def test_an_objective_is_trained_as_it_declares():
    data, asked = Pairs(), []
    loaders.begin(data, "data._target_=mine.Pairs")
    data.carry_outputs = lambda teacher: bool(asked.append(teacher)) or True
    ready, teacher, student = loaders.set_up(data, "data._target_=mine.Pairs", TwoInputs()), Sum(), Sum()
    teacher.weight.data.fill_(3.0)

    assert needs_of(Apart()) == needs_of(lambda *outputs: 0) == needs_of(None) == ObjectiveNeeds()
    made = components.make_module(parse(compose([])), ready, student, teacher, Apart(), [])
    assert type(made) is DistillationModule and made.outputs_in_batch and asked == [teacher]

    needs = needs_of(Watchful())
    assert needs == ObjectiveNeeds("sum", True, "test_protocols.Watching", 2.0)
    for objective, kind in ((Seeing(), DistillationModule), (Watchful(), Watching)):
        made = components.make_module(parse(compose([])), ready, student, teacher, objective, [])
        assert type(made) is kind and not made.outputs_in_batch and asked == [teacher]
    batch = {"n": torch.tensor([[1], [2]]), "x": torch.tensor([[1.0], [0.0]]), "sum": torch.zeros(2, 1)}
    assert made.loss(batch).item() == 16.0  # the outputs are 2 and 2, the teacher's three times as large


def test_an_objective_for_other_outputs_than_the_tasks_is_refused():
    spec = replace(parse(compose(["kd=logit"])), task={"_target_": "test_protocols.TwoInputs"})
    assert components.check_objective(spec, Watchful()) is None
    with pytest.raises(UserError, match=r"learns from logits of classes; task._target_=test_protocols.TwoInputs has"):
        components.check_objective(spec, components.make_techniques(spec)[0])


def test_a_tracker_that_listens_to_nothing_is_the_rule(tmp_path):
    tracker = make_tracker({"logger": {}}, tmp_path)
    assert type(tracker) is Tracker and list(tracker.loggers) == []
    assert tracker.follow(tmp_path, {}, Result(), "sweep") is None
    assert tracker.end(tmp_path, {}, Result(), "sweep", is_whole=True) is None
    own = make_tracker({"logger": {"_target_": "pytorch_lightning.loggers.CSVLogger"}}, tmp_path)
    assert isinstance(own, LightningTracker) and [one.save_dir for one in own.loggers] == [str(tmp_path)]
    with pytest.raises(UserError, match=r"logger._target_=builtins.dict: not a logger of pytorch_lightning.loggers"):
        make_tracker({"logger": {"_target_": "builtins.dict"}}, tmp_path)


def test_a_task_is_given_what_it_asks_of_the_data_and_nothing_else():
    class Said:
        num_classes, input_shape = 3, [1, 4, 4]

    task = components.make_task(parse(compose([])).task, Said(), "data._target_=mine.Said")
    assert isinstance(task, ImageClassification) and task.arguments == {"num_classes": 3, "input_shape": [1, 4, 4]}
    with pytest.raises(UserError, match=r"task._target_=builtins.dict: not a Task of lcomp.tasks"):
        components.make_task({"_target_": "builtins.dict"}, Said(), "x")
