"""Classes of a user's own: what they are given, what is refused by name, and what the run says of it."""

import json
import sys

import hydra
import pytest
import torch
from hydra.core.config_search_path import SearchPathElement
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from torch import nn

from lcomp.config import identity, run_config
from lcomp.config.composition import compose, without_leftovers
from lcomp.config.instantiation import build
from lcomp.config.run_spec import parse
from lcomp.errors import UserError
from lcomp.training import components

MODULE = """
from functools import partial
from torch import nn

class Net(nn.Module):
    def __init__(self, hidden=64, kernel=5, num_classes=10, input_shape=(1, 28, 28)):
        super().__init__()
        self.hidden, self.kernel, self.classes = hidden, kernel, num_classes
        self.linear = nn.Linear(784, num_classes)

    def forward(self, x):
        return self.linear(x.flatten(1))

class Wider(Net):
    def __init__(self, extra=1, **kwargs):
        super().__init__(**kwargs)

class Bare(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.width = width

class Handing(Bare):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)

def factory(weights=None, **kwargs):
    return kwargs

class Data:
    def __init__(self, batch_size=255, seed=7, root="here"):
        self.batch_size, self.seed, self.root = batch_size, seed, root

class Perturbed(Data):
    def __init__(self, perturb=None, **kwargs):
        super().__init__(**kwargs)
        self.perturb = perturb

def power(share, begin=0, exponent=2):
    return share

class Prune:
    def __init__(self, sparsity=0.1, schedule=None):
        self.sparsity, self.schedule = sparsity, schedule

class Invert:
    def __init__(self, top=1.0):
        self.top = top

    def __call__(self, images, generator):
        return self.top - images
"""


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    """A folder with a module of the user's own, and the folder of his choices."""
    (tmp_path / "own_things.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("own_things", None)


def write(folder, path, text):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text)


def given(group, *overrides, config_dir=None):
    """What a group's class gets, less its `_target_`."""
    node = run_config.resolved_dict(compose(overrides, config_dir)[group])
    node.pop("_target_")
    return node


NET, DATA = "model._target_=own_things.Net", "data._target_=own_things.Data"


@pytest.mark.parametrize(
    ("group", "overrides", "expected"),
    [
        ("model", [NET], {}),
        ("model", [NET, "model.hidden=[120,84]"], {"hidden": [120, 84]}),  # as in lenet5.yaml
        ("model", [NET, "+model.kernel=3", "++model.hidden=16"], {"kernel": 3, "hidden": 16}),  # as in two others
        ("model", ["model=small_cnn", NET], {}),
        ("model", ["model=lenet5", "model._target_=lcomp.models.SmallCNN"], {}),
        ("data", [DATA, "data.batch_size=256"], {"batch_size": 256, "seed": 0, "root": "data"}),
        ("data", ["data=mnist5k", DATA, "seed=3"], {"seed": 3, "root": "data"}),
        ("prune", ["prune=constant", "prune._target_=own_things.Prune"], {}),
        ("prune", ["prune=scheduled", "prune._target_=own_things.Prune", "prune.sparsity=0.8"], {"sparsity": 0.8}),
        ("kd", ["kd=logit", "kd._target_=own_things.Bare"], {"student": "small_cnn", "teacher": None, "ensemble": 1}),
        ("logger", ["logger=csv", "logger._target_=own_things.Bare"], {}),
    ],
)
def test_what_was_asked_for_arrives_and_nothing_that_is_left_over(group, overrides, expected, monkeypatch):
    monkeypatch.delenv("LCOMP_DATA", raising=False)
    assert given(group, *overrides) == expected


def test_a_part_that_was_chosen_arrives_and_its_own_replaced_class_leaves_nothing():
    own = ["prune=scheduled", "prune._target_=own_things.Prune", "prune/schedule=linear"]
    assert given("prune", *own)["schedule"]["_target_"].endswith("linear")
    replaced = given("kd", "kd=noisy_teacher", "kd.noise._target_=own_things.Bare", "+kd.noise.width=2")
    assert replaced["noise"] == {"_target_": "own_things.Bare", "width": 2}
    with pytest.raises(UserError, match=r"prune.schedule.powr=3: own_things.power takes share, .*"):
        asked = [*own[:1], "prune.schedule._target_=own_things.power", "+prune.schedule.powr=3"]
        components.make_techniques(parse(compose(asked)))


def test_what_an_experiment_or_a_file_of_the_users_states_arrives(mine):
    write(mine, "conf/experiment/own.yaml", "# @package _global_\nmodel:\n  hidden: [120, 84]\n")
    write(mine, "conf/model/tiny.yaml", "defaults: [lenet5, _self_]\n_target_: own_things.Net\nkernel: 3\n")
    assert given("model", NET, "experiment=own", config_dir=mine / "conf") == {"hidden": [120, 84]}
    assert given("model", "model=tiny", config_dir=mine / "conf") == {"kernel": 3}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([DATA, "data.epoch_examples=54000"], "data.epoch_examples=54000: own_things.Data takes batch_size, seed"),
        ([DATA, "data.eval_perturbations=[rotation]"], "data.eval_perturbations=.*rotation.*: own_things.Data takes"),
        ([DATA, "data.mnist_c_root=/x"], "data.mnist_c_root=/x: own_things.Data takes"),
        ([DATA, "perturb=rotation"], "perturb=rotation: own_things.Data takes no `perturb`"),
        (["data=sst2", "perturb=rotation"], "perturb=rotation: lcomp.data.SST2DataModule takes no `perturb`"),
        ([DATA, "baseline.perturb={affine:{severity:1}}"], "baseline.perturb=affine: own_things.Data takes no"),
        ([NET, "+model.kernal=3"], "model.kernal=3: own_things.Net takes .*did you mean kernel"),
        (["model._target_=own_things.Wider", "+model.kernal=3"], "unexpected keyword argument 'kernal'"),
    ],
)
def test_what_the_class_does_not_take_is_refused_by_name(overrides, words):
    with pytest.raises(UserError, match=words):
        cfg = compose(overrides)
        build(cfg.data, "data")
        build(cfg.model, "model", num_classes=10, input_shape=[1, 28, 28])


def test_perturbations_reach_a_class_that_takes_them():
    cfg = compose(["data._target_=own_things.Perturbed", "perturb=rotation", "data.batch_size=256"])
    made = build(cfg.data, "data")
    assert made.perturb == {"rotation": {"severity": 3}} and made.batch_size == 256


def test_the_record_and_the_identity_say_what_arrives():
    overrides = [NET, "+model.kernel=3"]
    cfg = compose(overrides)
    assert without_leftovers(cfg, overrides) == cfg
    left = OmegaConf.create(OmegaConf.to_container(cfg))
    left.model.channels = [6, 16]
    assert without_leftovers(left, overrides) == cfg  # composed elsewhere, as a caller of `run` may have
    hashes = {identity.config_hash(run_config.resolved_dict(compose(o)), "data") for o in ([NET], overrides)}
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("+trainer.weight_decay=0.01", "trainer.weight_decay: nothing reads this key; allowed are trainer.max_epochs"),
        ("+baseline.trainer.max_epoch=3", "did you mean baseline.trainer.max_epochs"),
        ("+measure.runs=3", "measure.runs: nothing reads"),
        ("+foo=1", "foo: nothing reads"),
    ],
)
def test_an_added_key_that_nothing_reads_is_refused(key, words):
    with pytest.raises(UserError, match=words):
        parse(compose([key]))


def test_an_added_key_that_another_one_names_is_a_value_of_the_users():
    cfg = compose([NET, "+foo=3", "+model.kernel=${foo}"])
    assert build(parse(cfg).model, "model").kernel == 3


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("factory", {"num_classes": 7}),  # as squeezenet1_1 and timm's create_model
        ("Net", {"classes": 7}),
        ("Wider", {"classes": 7}),  # hands on to one that names it
    ],
)
def test_a_factory_gets_classes_and_only_who_names_it_the_shape(target, expected):
    made = build({"_target_": f"own_things.{target}"}, "model", num_classes=7, input_shape=[1, 28, 28])
    assert (made if isinstance(made, dict) else {"classes": made.classes}) == expected


def test_a_class_that_hands_on_to_one_without_classes_is_made():
    assert build({"_target_": "own_things.Handing", "width": 5}, "model", num_classes=7, input_shape=[1]).width == 5


def test_a_factory_of_torchvision_is_made():
    network = build({"_target_": "torchvision.models.squeezenet1_1"}, "model", num_classes=7, input_shape=[3, 32, 32])
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 7)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("own_thing.Net", "no file own_thing.py .*a file here works: own_thing.py; did you mean own_things"),
        ("own_things.Nett", r"own_things, .*own_things.py, has no Nett; it has Net, Wider.*did you mean Net\?"),
        ("own_things.Transformer", r"has no Transformer; it has Net, Wider, [^;]*\)$"),
        ("Net", "name a module too: Net of file.py here is file.Net"),
        ("broken.Net", "broken raises SyntaxError"),
        ("needing.Net", "needing needs no_such_package, which is missing"),
        ("own_things.__name__", "not a class or function but a str"),
    ],
)
def test_a_target_that_is_not_there_is_answered_with_what_is(mine, target, words):
    write(mine, "broken.py", "class Net(:\n")
    write(mine, "needing.py", "import no_such_package\n")
    with pytest.raises(UserError, match=rf"model._target_={target}: .*{words}"):
        build({"_target_": target}, "model")


def test_students_and_assistants_come_from_the_users_folder_and_from_his_package(mine):
    write(mine, "conf/model/tiny.yaml", "_target_: own_things.Net\nkernel: ${seed}\n")
    write(mine, "conf/model/narrow.yaml", "defaults: [lenet5]\nhidden: [8, 8]\n")
    chosen = ["kd=teacher_assistant", "seed=4", "kd.student=own_things.Net", "kd.assistants=[narrow,tiny]"]
    with hydra.initialize_config_dir(str(run_config.folder().resolve()), version_base="1.3"):
        places = GlobalHydra.instance().config_loader().get_search_path().get_path()
        places.insert(-1, SearchPathElement("command-line", f"file://{mine}/conf"))  # as --config-dir does
        cfg = hydra.compose("config", chosen)
        distillation = parse(cfg).distillation
    narrow, tiny = distillation.chain
    assert narrow == {"_target_": "lcomp.models.LeNet5", "channels": [6, 16], "hidden": [8, 8]}
    assert tiny == {"_target_": "own_things.Net", "kernel": 4}
    assert isinstance(build(distillation.student, "model"), nn.Module)
    with pytest.raises(UserError, match=r"kd.student=own_things.Tiny: .*has no Tiny; it has Net"):
        parse(compose(["kd=logit", "kd.student=own_things.Tiny"]))


@pytest.mark.parametrize(
    "text", ["invert:\n  _target_: own_things.Invert\n  top: 2.0\n", "_target_: own_things.Invert\ntop: 2.0\n"]
)
def test_a_perturbation_of_the_users_own_changes_the_training_images(mine, text):
    write(mine, "conf/perturb/mine.yaml", text)
    cfg = compose(["data=mnist5k", "perturb=mine"], mine / "conf")
    data, plain = build(cfg.data, "data"), build(compose(["data=mnist5k"]).data, "data")
    batch = torch.arange(4)
    assert torch.equal(data.train[batch][0], 2 - plain.train[batch][0])
    params = run_config.technique_params(run_config.resolved_dict(cfg))
    assert [value for key, value in params.items() if key.endswith("top")] == [2.0] and json.dumps(params)
