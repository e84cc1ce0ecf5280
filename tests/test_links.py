"""Chains of teachers: who learns from whom, what is cached under which identity, what cannot be."""

import hydra
import pytest
import torch
from quickly import first_quickly
from torch import nn

from lcomp.config import run_config
from lcomp.config.run_spec import parse
from lcomp.errors import UserError
from lcomp.models import LeNet5, SmallCNN
from lcomp.modules import BaselineModule
from lcomp.record.files import sha256
from lcomp.techniques.distillation import Ensemble, LogitDistillation
from lcomp.training import components, teacher_chain
from lcomp.training.fit import save
from lcomp.training.weights_file import load_weights


def compose(*overrides):
    with hydra.initialize_config_dir(str(run_config.folder().resolve()), version_base="1.3"):
        return hydra.compose("config", ["data=mnist5k", *overrides])


@pytest.fixture
def chain(monkeypatch, digits, tmp_path):
    """Makes the links that overrides ask for, with trainings that only note (learner, teacher), and no export."""
    trainings = []

    def fit(module, data, max_epochs, seed, *_, **settings):
        trainings.append((module.network, module.teacher, max_epochs, seed))
        with torch.no_grad():
            next(module.network.parameters()).add_(1)

    monkeypatch.setattr(teacher_chain, "fit", fit)
    monkeypatch.setattr(teacher_chain, "export", lambda network, path, *_: path.write_bytes(b"artifact"))
    monkeypatch.setattr(digits, "carry_outputs", lambda teacher: False)

    def make(*overrides, known="baseline", teacher=None):
        spec = parse(compose(f"baseline.cache={tmp_path}", *overrides))
        objective, _ = components.make_techniques(spec)
        return teacher_chain.make_chain(spec, digits, teacher or nn.Identity(), known, objective)

    make.trainings = trainings
    return make


def test_each_link_learns_from_the_one_before(chain):
    teacher = nn.Identity()
    made = chain(
        "kd=teacher_assistant",
        "kd.assistants=[lenet5_30kb,lenet5_10kb]",
        "trainer.max_epochs=7",
        "seed=5",
        teacher=teacher,
    )
    (first, of_first, *settings), (second, of_second, *_) = chain.trainings
    assert of_first is teacher and of_second is first and settings == [7, 5]
    assert [link.network for link in made] == [first, second]
    assert [link.network.conv2.out_channels for link in made] == [10, 7]


def test_the_default_assistant_lies_between_baseline_and_student(chain):
    [link] = chain("kd=teacher_assistant")
    parameters = [sum(p.numel() for p in n.parameters()) for n in (SmallCNN(), link.network, LeNet5())]
    assert parameters == sorted(parameters) and parameters[1] == 22_150


def test_a_link_is_trained_once_and_read_back(chain, caplog):
    caplog.set_level("INFO")
    first, again = chain("kd=teacher_assistant"), chain("kd=teacher_assistant")
    assert len(chain.trainings) == 1 and caplog.text.count("training a teacher of the student once") == 1
    assert again[0].folder == first[0].folder and again[0].seconds == first[0].seconds
    seen, expected = again[0].network.state_dict(), first[0].network.state_dict()
    assert all(torch.equal(seen[key], expected[key]) for key in expected)


@pytest.mark.parametrize(
    "change",
    first_quickly(
        [
            "kd.temperature=4",
            "kd.alpha=0.5",
            "kd.assistants=[lenet5_30kb]",
            "seed=1",
            "threads=2",
            "trainer.max_epochs=9",
            "trainer.learning_rate=0.002",
            "data.batch_size=128",
            "perturb=rotation",
        ],
        3,
    ),
)
def test_what_a_links_weights_depend_on_changes_its_identity(chain, change):
    assert chain("kd=teacher_assistant")[0].folder != chain("kd=teacher_assistant", change)[0].folder


@pytest.mark.parametrize(
    "change",
    first_quickly(
        [
            "kd.student=lenet5_10kb",
            "prune=scheduled",
            "quant=qat",
            "name=x",
            "progress=false",
            "kd.temperature=3.0",
            "measure.latency_runs=1",
            "data.root=/elsewhere",
            "data.eval_perturbations=[rotation]",
            "data.mnist_c_root=/elsewhere",
            "robustness=mnist_c",
            "logger=none",
        ],
        3,
    ),
)
def test_what_they_do_not_depend_on_does_not(chain, change):
    assert chain("kd=teacher_assistant")[0].folder == chain("kd=teacher_assistant", change)[0].folder


def test_a_link_is_its_teachers_too(chain):
    one, two = chain("kd=teacher_assistant"), chain("kd=teacher_assistant", known=["baseline", "another"])
    assert one[0].folder != two[0].folder
    longer = chain("kd=teacher_assistant", "kd.assistants=[lenet5_30kb,lenet5_20kb]")
    assert longer[1].folder != one[0].folder


def test_the_code_behind_a_link_is_part_of_its_identity(chain, monkeypatch):
    before = chain("kd=teacher_assistant")
    monkeypatch.setattr(teacher_chain.identity, "code_hash", lambda node: "another")
    assert chain("kd=teacher_assistant")[0].folder != before[0].folder


def test_generations_are_of_the_students_kind_and_begin_differently(chain):
    assert chain("kd=self_distillation") == []
    made = chain("kd=self_distillation", "kd.generations=3")
    assert [type(link.network) for link in made] == [LeNet5, LeNet5]
    assert not torch.equal(made[0].network.fc1.weight, made[1].network.fc1.weight)

    def seed_of(*overrides):
        return parse(compose(*overrides, "seed=4")).distillation.student_seed

    seeds = [seed_of("kd=self_distillation", f"kd.generations={n}") for n in (1, 2, 3)]
    assert seeds == [5, 6, 7]  # the baseline's is 4, a link's one of those before
    assert seed_of("kd=self_distillation", "kd.ensemble=3") == 7
    assert seed_of("kd=teacher_assistant") == seed_of() == 4  # as under kd=logit: only the teacher differs


def test_a_fresh_student_is_no_copy_of_the_baseline():
    fresh = parse(compose("kd=self_distillation"))
    assert fresh.distillation.student == fresh.model and not fresh.distillation.starts_from_baseline
    assert parse(compose("kd=logit", "kd.student=same")).distillation.starts_from_baseline


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["kd=teacher_assistant", "kd.assistants=lenet5"], r"kd.assistants=lenet5: must be a list of models"),
        (["kd=teacher_assistant", "kd.student=same"], r"kd.assistants=.*: kd.student=same starts from the baseline"),
        (["kd=self_distillation", "kd.student=same", "kd.generations=2"], r"kd.generations=2: kd.student=same starts"),
        (["kd=self_distillation", "kd.generations=0"], r"kd.generations=0: must be a whole number, 1 or more"),
        (["kd=self_distillation", "kd.generations=true"], r"kd.generations=True: must be a whole number"),
        (["kd=logit", "kd.teacher=3"], r"kd.teacher=3: must be the path of a checkpoint, or a list"),
        (["kd=logit", "kd.teacher=[a,3]"], r"kd.teacher=\['a', 3\]: must be the path"),
        (["kd=logit", "kd.ensemble=2", "kd.teacher=[a,b]"], r"kd.ensemble=2: .*kd.teacher names the teachers"),
    ],
)
def test_a_chain_that_cannot_be_is_refused(overrides, words):
    with pytest.raises(UserError, match=words):
        parse(compose(*overrides))


def test_an_unknown_assistant_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"kd.assistants=lenet5_20k: .*did you mean lenet5_20kb"):
        parse(compose("kd=teacher_assistant", "kd.assistants=[lenet5_20k]"))


def test_several_checkpoints_teach_together(tmp_path, digits):
    paths = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        paths.append(save(BaselineModule(LeNet5()), tmp_path / str(number)))
    data = digits
    spec = parse(compose("kd=logit", f"kd.teacher=[{paths[0]},{paths[1]}]"))
    x = torch.rand(3, 1, 28, 28)
    members = [load_weights(path, LeNet5()) for path in paths]
    teacher = components.load_teacher(spec, data, LogitDistillation(temperature=4))
    assert torch.equal(teacher(x), Ensemble(members, 4)(x))
    assert components.teacher_identity(spec.distillation.checkpoints) == [sha256(path) for path in paths]
    one = [parse(compose("kd=logit", f"kd.teacher={named}")) for named in (paths[0], f"[{paths[0]}]")]
    assert [components.teacher_identity(spec.distillation.checkpoints) for spec in one] == [sha256(paths[0])] * 2
    assert torch.equal(components.load_teacher(one[1], data, LogitDistillation())(x), members[0](x))
    assert components.load_teacher(parse(compose("kd=logit", "kd.teacher=[]")), data, LogitDistillation()) is None
