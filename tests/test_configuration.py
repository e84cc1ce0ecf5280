"""Every configuration composes and builds; sweeps drop what makes no difference; identities agree where they must."""

import inspect
import typing
from functools import cache

import hydra
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from hydra_plugins.lcomp_grid.grid import GridSweeper
from lcomp.cli import shorthand
from lcomp.config import identity, run_config
from lcomp.config.instantiation import build, find
from lcomp.config.run_spec import parse
from lcomp.errors import UserError
from lcomp.training import components

FILES = sorted(
    path.relative_to(run_config.folder()).with_suffix("") for path in run_config.folder().glob("*/**/*.yaml")
)
CHOICES = [path for path in FILES if path.parts[0] not in ("hydra",)]
BUILT = (*run_config.FAMILIES, "robustness")  # groups whose choices are a class's arguments


@cache
def compose(*overrides):
    """The configuration, which is not to be changed."""
    with hydra.initialize_config_dir(str(run_config.folder().resolve()), version_base="1.3"):
        return hydra.compose("config", list(overrides))


def points(*overrides):
    """The sweep's points as the grid sweeper makes them."""
    [chunk] = GridSweeper.split_arguments(OverridesParser.create().parse_overrides(list(overrides)), None)
    return [tuple(point) for point in chunk]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_every_choice_composes_and_builds(choice):
    *group, name = choice.parts
    overrides = [f"{'/'.join(group)}={name}"]
    if len(group) > 1:
        overrides.insert(0, f"{group[0]}={run_config.FAMILIES[group[0]]}")
    objective, techniques = components.make_techniques(parse(compose(*overrides)))
    if group[0] in run_config.FAMILIES:
        assert (objective is not None) + len(techniques) == (name != "none")


@pytest.mark.parametrize("choice", [c for c in CHOICES if c.parts[0] in BUILT and len(c.parts) == 2], ids=str)
def test_yaml_and_constructor_have_the_same_defaults(choice):
    written = yaml.safe_load((run_config.folder() / f"{choice}.yaml").read_text()) or {}
    assert_defaults([part for part in written.values() if isinstance(part, dict) and "_target_" in part])
    if "_target_" not in written:
        assert choice.name == "none" or "defaults" in written
        return
    if choice.name in ("constant", "gated", "adaptive"):  # a preset of Pruning, and two that hand their arguments on
        return
    assert_defaults([{key: v for key, v in written.items() if key not in ("defaults", *run_config.KD_RUN_KEYS)}])


@pytest.mark.parametrize("choice", [c for c in CHOICES if c.parts[:2] == ("kd", "objectives")], ids=str)
def test_objective_and_constructor_have_the_same_defaults(choice):
    written = yaml.safe_load((run_config.folder() / f"{choice}.yaml").read_text())
    assert list(written) == [choice.name] and "weight" in written[choice.name]
    assert_defaults(written.values())


def assert_defaults(parts):
    """What each says beside its `_target_` is the default of that class's constructor."""
    for part in parts:
        parameters = inspect.signature(hydra.utils.get_object(part["_target_"])).parameters
        for key, value in part.items():
            if key != "_target_" and "${" not in str(value):  # the run gives its seed
                assert value == as_written(parameters[key].default), key


def as_written(default):
    """A constructor's default as a YAML has it: lists for tuples."""
    return [as_written(one) for one in default] if isinstance(default, tuple) else default


def targets(value):
    """Whatever a YAML names to be made, at any depth."""
    if isinstance(value, dict):
        yield from [value["_target_"]] if "_target_" in value else []
        for inside in value.values():
            yield from targets(inside)


def test_the_annotations_that_refuse_values_can_be_read_at_run_time():
    texts = [(run_config.folder() / f"{path}.yaml").read_text() for path in FILES]
    named = {target for text in texts for target in targets(yaml.safe_load(text))}
    own = sorted(target for target in named if target.startswith("lcomp."))
    assert len(own) > 50
    for target in own:
        made = find(target, "_target_")
        assert typing.get_type_hints(made.__init__ if inspect.isclass(made) else made) is not None


def test_default_run_is_the_baseline():
    cfg = compose()
    assert all(not cfg[family] for family in run_config.FAMILIES) and cfg.baseline.trainer.max_epochs == 10
    assert not cfg.robustness


def test_inactive_keys_are_dropped_and_equal_points_run_once():
    assert points("kd=none,logit", "kd.temperature=1,3") == [
        ("kd=none",),
        ("kd=logit", "kd.temperature=1"),
        ("kd=logit", "kd.temperature=3"),
    ]
    assert points("kd=logit", "kd.temperature=3,3.0,4") == [
        ("kd=logit", "kd.temperature=3"),
        ("kd=logit", "kd.temperature=4"),
    ]
    assert len(points("quant=none,qat", "quant.bits=4,8", "prune=none,scheduled", "prune.sparsity=0.5,0.9")) == 3 * 3


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("seed", -1, "0 to"),
        ("seed", "abc", "a whole number"),
        ("seed", 2**32, "0 to 4294967295"),
        ("baseline.trainer.schedule", "step", "constant or cosine"),
        ("threads", 0, "1 or more"),
        ("trainer.max_epochs", 0, "1 or more"),
        ("trainer.learning_rate", 0, "above 0"),
        ("trainer.schedule", "step", "constant or cosine"),
        ("trainer.warmup", 1, "a share of training"),
        ("baseline.trainer.max_epochs", 1.5, "a whole number"),
        ("measure.latency_runs", 0, "1 or more"),
        ("progress", "yes", "true, false or auto"),
        ("threads", True, "1 or more"),
        ("trainer.learning_rate", True, "above 0"),
        ("reuse", "maybe", "true or false"),
        ("pack", 3, "settings under it"),
        ("baseline.trainer", 3, "settings under it"),
        ("baseline.cache", 3, "the path of a folder"),
        ("pack.bias_bits", 1, "2 to 12, or null"),
    ],
)
def test_a_setting_of_the_run_that_cannot_be_is_refused_by_name(key, value, words):
    with pytest.raises(UserError, match=f"{key}={value}: must be .*{words}"):
        parse(compose(f"{key}={value}"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["kd.ensemble=0"], "kd.ensemble=0: must be a whole number, 1 or more"),
        (["kd.ensemble=1.5"], "kd.ensemble=1.5: must be a whole number"),
        (["kd.ensemble=2", "kd.teacher=a.ckpt"], r"kd.ensemble=2: .*kd.teacher names the teachers"),
    ],
)
def test_an_impossible_ensemble_is_refused(overrides, words):
    with pytest.raises(UserError, match=words):
        parse(compose("kd=logit", *overrides))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["prune=scheduled", "prune.sparsity=abc"], "prune.sparsity=abc: must be a number"),
        (["prune=scheduled", "prune.sparsity=null"], "prune.sparsity=None: must be a number"),
        (["quant=qat", "quant.bits=4.5"], "quant.bits=4.5: must be a whole number"),
        (["kd=logit", "kd.alpha=true"], "kd.alpha=True: must be a number"),
        (["prune=scheduled", "prune.exclude=conv1"], "prune.exclude=conv1: must be a list"),
        (["prune=scheduled", "prune.schedule=linear"], "prune.schedule=linear: must be a choice of a file"),
        (["experiment=paper_kd_t1", "kd=none"], "kd.temperature.*: set, but nothing takes them, as with kd=none"),
        (["prune=scheduled", "prune.sparsity=80"], r"prune.sparsity=80: .*0\.8\?"),
    ],
)
def test_a_value_that_a_technique_cannot_take_is_refused_by_name(overrides, message):
    with pytest.raises(UserError, match=message):
        components.make_techniques(parse(compose(*overrides)))


def test_unknown_student_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"kd.student=smallcnn: .*package.Class; did you mean small_cnn"):
        parse(compose("kd=logit", "kd.student=smallcnn"))


def test_a_constructor_that_raises_is_answered_with_its_cause():
    with pytest.raises(UserError, match=r"model: lcomp.models.LeNet5 cannot be made \(IndexError"):
        build({"_target_": "lcomp.models.LeNet5", "channels": [6]}, "model", num_classes=10)


def test_a_class_that_cannot_be_imported_is_refused():
    with pytest.raises(UserError, match=r"model._target_=no.such.Net: cannot be imported"):
        build({"_target_": "no.such.Net"}, "model")


def hashed(*overrides):
    return identity.config_hash(run_config.resolved_dict(compose(*overrides)), "data")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["kd=logit", "kd.temperature=3"], ["kd=logit", "kd.temperature=3.0"]),
        ([], ["name=x"]),
        ([], ["progress=false"]),
        ([], ["data.root=/elsewhere"]),
        ([], ["data.mnist_c_root=/elsewhere"]),
        ([], ["robustness=none"]),
        ([], ["baseline.cache=/elsewhere"]),
        ([], ["trainer.max_epochs=10"]),
    ],
)
def test_what_does_not_define_the_experiment_does_not_change_its_hash(one, other):
    assert hashed(*one) == hashed(*other)


@pytest.mark.parametrize(
    "change",
    ["seed=1", "kd=logit", "trainer.max_epochs=9", "model=small_cnn", "perturb=rotation", "robustness=mnist_c"],
)
def test_what_defines_the_experiment_changes_its_hash(change):
    assert hashed() != hashed(change)


def test_numbers_that_agree_agree():
    assert hashed("kd=logit", "kd.alpha=0.7000000000000001") == hashed("kd=logit", "kd.alpha=0.7")


EXPERIMENTS = sorted(path.stem for path in (run_config.folder() / "experiment").glob("*.yaml"))
EPOCHS = {"prune": 4, "quant_qat": 2, "kd": 10, "student_alone": 10, "baseline_4_more": 4, "baseline_2_more": 2}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_names_itself_and_shows_its_command(name):
    assert compose(f"experiment={name}").name == name
    head = (run_config.folder() / "experiment" / f"{name}.yaml").read_text().partition("defaults:")[0]
    assert f"python -m lcomp experiment={name} seed=0" in head


@pytest.mark.parametrize("name", [n for n in EXPERIMENTS if n.startswith(("paper_", "control_", "why_"))])
def test_experiment_has_the_papers_setting(name):
    cfg = compose(f"experiment={name}")
    assert (cfg.trainer.learning_rate, cfg.trainer.schedule, cfg.data.batch_size) == (0.001, "constant", 256)
    assert (cfg.baseline.trainer.max_epochs, cfg.baseline.trainer.learning_rate) == (10, 0.001)
    for part, epochs in EPOCHS.items():
        if name.partition("_")[2].startswith(part):
            assert cfg.trainer.max_epochs == epochs
    if cfg.prune:
        assert cfg.prune.scope == "layer"


def test_an_experiment_chooses_its_techniques_itself():
    named = ["experiment=paper_prune_constant_80", "prune.sparsity=0.7"]
    assert shorthand.expand(named) == (named, [])
    assert compose(*named).prune.sparsity == 0.7


def test_a_sweep_over_experiments_takes_keys_of_their_families():
    for experiments in ("paper_kd_t1,paper_kd_t3", "glob(paper_kd_*)"):
        said = shorthand.expand(["-m", f"experiment={experiments}", "kd.student=lenet5", "kd.alpha=0.1,0.5"])
        assert said == (["-m", f"experiment={experiments}", "kd.student=choice(lenet5)", "kd.alpha=0.1,0.5"], [])
