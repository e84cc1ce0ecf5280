"""The house: rooms in layers, imports that go down, few doors, short modules. What holds it is pyproject.toml's
`[tool.importlinter]`."""

import ast
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
LAYERS = [layer.split(" | ") for layer in SETTINGS["contracts"][0]["layers"]]
LINT = (
    "import sys; from importlinter.cli import lint_imports as lint; sys.exit(lint({!r}, no_cache=True, no_logo=True))"
)

MOST = 155  # imports of one room by another

# Imports of lcomp's own inside functions: importer and imported. All of them are there for start-up time alone: what is
# imported brings torch, Optuna, plotly, matplotlib, NumPy or Hydra along, which take time and are not always needed.
LATE = {
    ("hydra_plugins.lcomp_optuna.sweeper", "lcomp.search.search"),
    ("hydra_plugins.lcomp_stacked.stacked", "lcomp.stacking.training"),
    ("hydra_plugins.lcomp_stacked.stacked", "lcomp.training.devices"),
    ("lcomp.__main__", "lcomp.cli.command"),
    ("lcomp.api", "lcomp.packed"),
    ("lcomp.api", "lcomp.report.writing"),
    ("lcomp.api.runs", "lcomp.report.runs"),
    ("lcomp.api.runs", "lcomp.report.text"),
    ("lcomp.c.__main__", "lcomp.c.command"),
    ("lcomp.cli.sensitivity", "lcomp.evaluation.sensitivity"),
    ("lcomp.cli.sensitivity", "lcomp.report.sensitivity"),
    ("lcomp.cli.task", "lcomp.run"),
    ("lcomp.pack", "lcomp.packed.commands"),
    ("lcomp.report.robustness", "lcomp.evaluation.robustness"),
    ("lcomp.report.sweep_end", "lcomp.report.table"),
    ("lcomp.report.sweep_end", "lcomp.report.writing"),
    ("lcomp.sweeps.deferred_latency", "lcomp.evaluation.comparison"),
    ("lcomp.tracking.wandb_contents", "lcomp.record.predictions"),
    ("lcomp.unpack", "lcomp.packed.commands"),
    ("lcomp.watch.__main__", "lcomp.watch.live_page"),
    ("lcomp.watch.__main__", "lcomp.watch.server"),
}


# Who says pixel, image or cross-entropy outside tasks/ and data/, and why: elsewhere a task says what its examples are.
ABOUT_IMAGES = {
    "lcomp/evaluation/cifar10_c.py": "CIFAR-10-C corrupts images",
    "lcomp/evaluation/image_corruptions.py": "they corrupt images; a task of others is refused",
    "lcomp/evaluation/mnist_c.py": "MNIST-C corrupts images",
    "lcomp/techniques/distillation/data_free.py": "its generator draws images of classes; a task of others is refused",
    "lcomp/modules/data_free.py": "a key of its checkpoints",
    "lcomp/record/predictions.py": "the file holds pixels of mistakes, of a task that gives some",
    "lcomp/record/secret_names.py": "words of names that are no secret's, such as image_token_id",
}
IMAGE_WORDS = re.compile(r"(?<![a-z])(?:pixel|image)s?(?![a-z])|cross.?entropy", re.IGNORECASE)
NAMES = (
    re.compile(  # of Pillow, W&B, MIME and CSS; a key of conf/quant/static.yaml and an experiment, as users type them
        r"import Image\b|\bImage\.\w+|\bwandb\.Image\b|image/(?:png|svg)|image-rendering|calibration_images"
        r"|why_kd_t8_pixels"
    )
)


def speaks_of_images(text):
    return IMAGE_WORDS.search(NAMES.sub("", text)) is not None


def lint(source):
    """(exit code, what it prints) of import-linter on the packages in a folder."""
    command = [sys.executable, "-c", LINT.format(str(ROOT / "pyproject.toml"))]
    done = subprocess.run(command, cwd=source, env={"PYTHONPATH": str(source)}, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def module_of(path):
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def late_imports(text, importer):
    """(importer, imported) of each import of lcomp's own inside a function."""
    for function in ast.walk(ast.parse(text)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        for node in ast.walk(function):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                inner = [f"{node.module}.{name}" for name in names]
                names = [name if is_module(name) else node.module for name in inner]
            yield from ((importer, name) for name in names if name.startswith(("lcomp.", "hydra_plugins.lcomp_")))


def is_module(name):
    path = SOURCE.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


# Packages that take a second or more to import, and who does without waiting for the first use.
HEAVY = {"matplotlib", "optuna", "pandas", "plotly", "sklearn", "timm", "torch_pruning", "torchvision", "wandb"}
AT_ONCE = {"lcomp.models.torchvision_networks": {"torchvision"}}  # a run imports it for such a network alone


def test_a_run_imports_what_takes_long_and_few_need_at_its_first_use():
    for path in SOURCE.rglob("*.py"):
        module = module_of(path)
        if module.startswith(("lcomp.search", "lcomp.report")):  # of their own first use: `LATE`
            continue
        tops = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {alias.name for node in tops if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in tops if isinstance(node, ast.ImportFrom)}
        assert HEAVY & {name.partition(".")[0] for name in names} <= AT_ONCE.get(module, set()), module


def test_the_contracts_are_kept():
    code, said = lint(SOURCE)
    assert code == 0 and "Contracts: 2 kept, 0 broken." in said, said


BREAKS = {  # a file, what it would import, the contract against that, the import as it is named
    "an import that goes up": (
        "lcomp/record/files.py",
        "import lcomp.report.text\n",
        "Rooms stand in layers",
        "lcomp.record.files -> lcomp.report.text",
    ),
    "one inside a function": (
        "lcomp/data/sources.py",
        "def late():\n    from lcomp.training import fit\n    return fit\n",
        "Rooms stand in layers",
        "lcomp.data.sources -> lcomp.training.fit",
    ),
    "one between neighbours": (
        "lcomp/models/lenet5.py",
        "from lcomp.data import loaders\n",
        "Rooms stand in layers",
        "lcomp.models.lenet5 -> lcomp.data.loaders",
    ),
    "one of a plugin": (
        "lcomp/search/study.py",
        "import hydra_plugins.lcomp_optuna.sweeper\n",
        "Rooms stand in layers",
        "lcomp.search.study -> hydra_plugins.lcomp_optuna.sweeper",
    ),
    "a circle in a room": (
        "lcomp/techniques/technique.py",
        "from lcomp.techniques import pruning\n",
        "No circles",
        "lcomp.techniques.\nIt could be made acyclic by removing 1 dependency:\n\n- .technique -> .pruning",
    ),
}


@pytest.fixture(scope="module")
def complaints_of_breaks(tmp_path_factory):
    """What import-linter says of lcomp with every break of `BREAKS`, by contract."""
    source = shutil.copytree(
        SOURCE, tmp_path_factory.mktemp("broken") / "src", ignore=shutil.ignore_patterns("__pycache__")
    )
    for file, added, _, _ in BREAKS.values():
        (source / file).write_text(f"{(source / file).read_text()}\n{added}")
    code, said = lint(source)
    assert code == 1, said
    broken = said.partition("Broken contracts")[2]
    first, second = (broken.index(contract["name"]) for contract in SETTINGS["contracts"])
    return {"Rooms stand in layers": broken[first:second], "No circles": broken[second:]}


@pytest.mark.parametrize("what", BREAKS)
def test_a_contract_fails_for(what, complaints_of_breaks):
    *_, contract, named = BREAKS[what]
    assert named in complaints_of_breaks[contract]


def test_every_module_at_the_top_has_its_layer_and_they_are_a_dozen_at_most():
    top = {
        path.stem for path in (SOURCE / "lcomp").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    placed = [name.removeprefix("lcomp.") for layer in LAYERS for name in layer if name.startswith("lcomp.")]
    assert sorted(placed) == sorted(top - {"__init__"})
    assert len(list((SOURCE / "lcomp").glob("*.py"))) <= 12


def test_no_module_is_longer_than_300_lines():
    long = {path: n for path in SOURCE.rglob("*.py") if (n := len(path.read_text().splitlines())) > 300}
    assert not long


def test_an_import_inside_a_function_is_there_for_start_up_time_alone():
    found = {pair for path in SOURCE.rglob("*.py") for pair in late_imports(path.read_text(), module_of(path))}
    assert found == LATE
    graph = grimp.build_graph(*SETTINGS["root_packages"], cache_dir=None)
    assert not [(a, b) for a, b in LATE if graph.chain_exists(importer=b, imported=a)]  # as at the module's top
    text = "def f():\n    import lcomp.run\n    from lcomp.data import sources, load\n    import torch\n"
    assert list(late_imports(text, "x")) == [("x", "lcomp.run"), ("x", "lcomp.data.sources"), ("x", "lcomp.data")]


def test_images_are_spoken_of_by_tasks_data_and_what_acts_on_images_alone():
    files = (path for path in SOURCE.rglob("*") if path.suffix in (".py", ".js", ".html", ".css"))
    found = {path.relative_to(SOURCE).as_posix() for path in files if speaks_of_images(path.read_text())}
    assert {path for path in found if not path.startswith(("lcomp/tasks/", "lcomp/data/"))} == ABOUT_IMAGES.keys()
    for text in (
        "# test images",
        "us/image",
        "PIXELS = 1",
        "of_pixels",
        "image_batch",
        "F.cross_entropy",
        "Cross-entropy",
    ):
        assert speaks_of_images(text)
    for text in (
        "from PIL import Image",
        "Image.open(path)",
        "ImageClassification",
        "image-rendering: pixelated",
        "imagery",
    ):
        assert not speaks_of_images(text)


def test_the_picture_shows_the_rooms_as_they_stand():
    """Of their lines and imports it may be behind; `python docs/house.py` draws it anew."""
    house = runpy.run_path(str(ROOT / "docs" / "house.py"))
    rooms = [room for layer in LAYERS for room in layer]
    for drawn in (house["PICTURE"].read_text(), house["picture"]()):
        tree = ElementTree.fromstring(drawn)
        assert [text.get("id") for text in tree.findall(".//{*}text") if text.get("class") == "room"] == rooms
        arcs = [
            path.findtext("{*}title").partition(":")[0].split(" imports ")
            for path in tree.findall(".//{*}path")
            if len(path)
        ]
        assert 100 < len(arcs) <= MOST and all(rooms.index(a) < rooms.index(b) for a, b in arcs)
    shown = dict(
        zip(rooms, (text.text for text in tree.findall(".//{*}text") if text.get("class") == "lines"), strict=True)
    )
    assert int(shown["lcomp.techniques"].replace(",", "")) > 4000
    assert ["lcomp.cli", "lcomp.report"] in arcs
