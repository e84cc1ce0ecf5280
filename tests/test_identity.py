"""What makes two runs the same: code that a target reaches, and the examples of every split."""

import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from lcomp.config import identity, run_config
from lcomp.config.composition import compose
from lcomp.data import MNISTDataModule, content_hash
from lcomp.data.content_hash import split_hash
from lcomp.errors import UserError

PACKAGE = {
    "own_package/__init__.py": "from .network import Net\n",
    "own_package/network.py": "from . import blocks\nimport beside\n\nclass Net:\n    pass\n",
    "own_package/blocks.py": "def build():\n    from own_package.deep.inner import width\n    return width\n",
    "own_package/deep/__init__.py": "",
    "own_package/deep/inner.py": "width = 3\n",
    "own_package/unrelated.py": "x = 1\n",
    "own_package/README.md": "read me\n",
    "beside.py": "import importlib\nimportlib.import_module('named')\n",
    "named.py": "import numpy\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    for path, text in PACKAGE.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] in ("own_package", "beside", "named")]:
        del sys.modules[name]


REACHED = ["__init__.py", "network.py", "blocks.py", "deep/__init__.py", "deep/inner.py"]


@pytest.mark.parametrize("path", [*(f"own_package/{name}" for name in REACHED), "beside.py", "named.py"])
@pytest.mark.parametrize("target", ["own_package.Net", "own_package.network.Net"])
def test_a_module_that_the_target_reaches_is_in_the_identity(package, path, target):
    before = identity.code_hash({"_target_": target})
    assert identity.code_hash({"_target_": target}) == before
    (package / path).write_text(PACKAGE[path] + "y = 2\n")
    assert identity.code_hash({"_target_": target}) != before


@pytest.mark.parametrize("path", ["own_package/unrelated.py", "own_package/README.md"])
def test_what_it_does_not_reach_is_not(package, path):
    before = identity.code_hash({"_target_": "own_package.Net"})
    (package / path).write_text(PACKAGE[path] + "y = 2\n")
    assert identity.code_hash({"_target_": "own_package.Net"}) == before


def test_installed_packages_count_by_their_version(package, monkeypatch):
    before = identity.code_hash({"_target_": "own_package.Net"})
    monkeypatch.setattr(
        "lcomp.config.user_code.installed_identity", lambda package, files: "another" if package == "numpy" else ""
    )
    assert identity.code_hash({"_target_": "own_package.Net"}) != before


def test_what_only_shows_results_is_not_in_the_identity(tmp_path, monkeypatch):
    """Whatever is edited in the report, W&B's mirror or the command line, baselines and results stay; what trains,
    exports or measures changes them. On a copy of lcomp's own source."""
    shutil.copytree(Path(identity.__file__).parents[1], tmp_path / "lcomp")
    monkeypatch.setattr(identity, "__file__", str(tmp_path / "lcomp/config/identity.py"))
    showing, others = list[Path](), list[Path]()
    for room in sorted(path.name for path in (tmp_path / "lcomp").iterdir() if path.name != "__pycache__"):
        place = tmp_path / "lcomp" / room
        shows = room in SHOWING or room in DOORS
        (showing if shows else others).extend([place] if place.is_file() else sorted(place.rglob("*.py")))
    before = identity.code_hash({})
    for path in showing:
        path.write_text(path.read_text() + "\nx = 2\n")
    assert identity.code_hash({}) == before
    for path in others:
        path.write_text(path.read_text() + "\nx = 2\n")
        before, last = identity.code_hash({}), before
        assert before != last, path


SHOWING = ("api", "cli", "report", "search", "sweeps", "tracking", "watch")
DOORS = ("__main__.py", "doctor.py", "pack.py", "py.typed", "sensitivity.py", "summary.py", "testing.py", "unpack.py")


class Own:
    """Somebody's DataModule: images, labels and a third tensor of each example."""

    num_classes, input_shape = 2, (1, 2, 2)

    def __init__(self, **changed):
        self.splits = {}
        for part in ("train", "val", "test"):
            tensors = [torch.arange(24.0).reshape(6, 1, 2, 2), torch.arange(6) % 2, torch.arange(6)]
            if part in changed:
                tensors[changed[part]][3] += 1
            self.splits[part] = TensorDataset(*tensors)

    def train_dataloader(self):
        return DataLoader(self.splits["train"], 2, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.splits["val"], 3)

    def test_dataloader(self):
        return DataLoader(self.splits["test"], 3)


@pytest.mark.parametrize("part", ["train", "val", "test"])
@pytest.mark.parametrize("tensor", [0, 1, 2])
def test_an_image_a_label_or_a_third_tensor_of_any_split_changes_the_identity(part, tensor):
    assert content_hash.dataset_record(Own()) == content_hash.dataset_record(Own())
    assert content_hash.dataset_record(Own(**{part: tensor}))["sha256"] != content_hash.dataset_record(Own())["sha256"]
    assert content_hash.dataset_record(Own())["train"] == 6


def test_what_the_user_states_is_taken_at_its_word():
    one, other = Own(), Own(train=0)
    one.sha256 = other.sha256 = "mine, version 3"
    assert content_hash.dataset_record(one) == content_hash.dataset_record(other)
    assert content_hash.dataset_record(one)["sha256"] == "mine, version 3"


class Changed(MNISTDataModule):
    """Inherits a `sha256` that says nothing of what it did."""

    def __init__(self, first):
        super().__init__(dataset="mnist5k")
        self.train.images[0] = first


def test_an_inherited_hash_does_not_hide_what_became_of_the_images(digits):
    assert content_hash.dataset_record(Changed(0))["sha256"] == content_hash.dataset_record(Changed(0))["sha256"]
    assert content_hash.dataset_record(Changed(0))["sha256"] != content_hash.dataset_record(Changed(1))["sha256"]
    assert content_hash.dataset_record(digits)["sha256"] == digits.sha256


class Augmented(Dataset):
    """Images that are drawn anew each time they are read, from any of the three random states."""

    def __init__(self, first=0.0, own=None):
        self.images, self.own = torch.zeros(40, 4), own
        self.images[0] = first

    def __len__(self):
        return 40

    def __getitem__(self, index):
        noise = torch.rand(4) + random.random() + np.random.rand()
        return {"image": self.images[index] + noise + (self.own.random() if self.own else 0), "label": index % 2}


def hashed(dataset, **loading):
    return split_hash(DataLoader(dataset, 8, **loading), "train")


def test_augmentation_and_shuffling_do_not_enter_and_the_random_state_is_left():
    torch.manual_seed(1)
    first = hashed(Augmented(), shuffle=True)
    drawn = torch.rand(1)
    torch.manual_seed(2)
    random.seed(5)
    assert hashed(Augmented(), shuffle=True) == hashed(Augmented()) == first and first[1] == 40
    assert hashed(Augmented(1.0)) != first
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)


def test_the_part_that_a_subset_takes_enters():
    whole = TensorDataset(torch.arange(6))
    assert hashed(Subset(whole, [0, 1])) == hashed(Subset(whole, [0, 1])) != hashed(Subset(whole, [0, 2]))


def test_examples_that_no_seed_holds_are_refused_with_what_to_do():
    with pytest.raises(UserError, match=r"the train examples differ from one reading to the next.*attribute sha256"):
        hashed(Augmented(own=np.random.default_rng()))


def test_examples_that_show_nothing_of_themselves_are_refused():
    with pytest.raises(UserError, match=r"holds a object.*attribute sha256"):
        hashed([object()])


class Stream(IterableDataset):
    """Comes in another order each time."""

    def __init__(self, last=9):
        self.last, self.order = last, np.random.default_rng()

    def __iter__(self):
        values = [*range(9), self.last]
        return iter([torch.tensor(values[place]) for place in self.order.permutation(10)])


def test_a_stream_is_known_by_its_examples_in_any_order():
    assert hashed(Stream()) == hashed(Stream()) != hashed(Stream(8)) and hashed(Stream())[1] == 10


def test_the_optimizer_that_all_had_before_there_was_a_choice_is_no_part_of_the_hash():
    cfg = run_config.resolved_dict(compose([]))
    before = {key: value for key, value in cfg.items() if key != "optimizer"}
    before["baseline"] = {key: value for key, value in cfg["baseline"].items() if key != "optimizer"}
    assert identity.config_hash(cfg, "data") == identity.config_hash(before, "data")
    others = ["optimizer=sgd", "optimizer@baseline.optimizer=sgd", "+optimizer.lr=0.1", "+optimizer.eps=1e-6"]
    hashes = {identity.config_hash(run_config.resolved_dict(compose([other])), "data") for other in others}
    assert len(hashes | {identity.config_hash(cfg, "data")}) == 5
