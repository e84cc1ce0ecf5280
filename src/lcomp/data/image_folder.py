"""A user's images in folders of their classes."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lcomp.data import image_cache
from lcomp.data.augmentation import Augmentation, Settings
from lcomp.data.datamodule import ImageDataModule, Images, check_counts
from lcomp.data.image_cache import CachedImages, StreamedImages
from lcomp.data.image_files import CHUNK, ImageFiles, known_files
from lcomp.data.image_form import ImageForm
from lcomp.errors import UserError, validate_choice

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")
SAMPLE = 2_000  # training images that mean and std are of, evenly spaced
NAMED = 5  # broken files that a message names


class ImageFolderDataModule(ImageDataModule):
    """The images under `root/train/<class>/`, `root/val/<class>/` and `root/test/<class>/`, at any depth.

    Where there is no `val` or no `test`, `held_out` of the training images is drawn for it by seed; where there is no
    `train` either, the classes' folders lie in `root` itself. Classes are numbered by their names' order. Files of any
    format that Pillow reads are decoded once, into a file under `cache` that later runs read, or, where that would be
    larger than `cache_gb`, each time they are asked for.

    Args:
        root: the folder.
        size: pixels of a side, or [height, width], as networks see them.
        fit: `crop` resizes the shorter side and keeps the middle, `pad` the longer and leaves black margins, `stretch`
            both sides.
        resize: pixels of the shorter side before the middle is cropped (256 for a size of 224); None: the size's own.
        channels: 3, or 1 for grey.
        mean, std: of each channel's training pixels; None: computed from 2,000 of them.
        held_out: share of the training images for a split that has no folder.
        broken: what a file that cannot be decoded does: `error`, or `skip`, which leaves it out and says so.
        cache: folder of decoded images; what is there may be deleted.
        cache_gb: the most that they may take there, in GiB.
        batch_size, epoch_examples, seed, perturb, eval_perturbations: as `ImageDataModule` has them.

    Raises:
        UserError: there are no such folders, or no images in one; a file is broken; a setting cannot be.
    """

    name = "image_folder"

    def __init__(
        self,
        root: str | Path | None = None,
        size: int | Sequence[int] = 64,
        fit: str = "crop",
        resize: int | None = None,
        channels: int = 3,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        held_out: float = 0.1,
        broken: str = "error",
        cache: str | Path = "multirun/.cache/images",
        cache_gb: float = 20,
        batch_size: int = 64,
        epoch_examples: int | None = None,
        seed: int = 0,
        perturb: Mapping[str, Settings | Augmentation] | None = None,
        eval_perturbations: Sequence[str] = (),
    ):
        check_counts(batch_size, epoch_examples)
        validate_choice("data.broken", broken, ("error", "skip"))
        if not 0 < held_out < 0.5:
            raise UserError(f"data.held_out={held_out}: a share of the training images, above 0 and below 0.5")
        if root is None:
            raise UserError("data.root: name the folder that holds train/, val/ and test/, each with a folder a class")
        form = ImageForm((size, size) if isinstance(size, int) else tuple(size), fit, resize, channels)
        found = find_files(Path(root))
        classes = sorted({label for _, _, label in found if label})
        self.classes, self.num_classes = classes, len(classes)
        files = known_files(Path(root), [path for path, _, _ in found], form, Path(cache))
        self.sha256 = files.sha256
        streamed = files.bytes > cache_gb * 2**30
        folder, unread = image_cache.decoded(files, Path(cache), streamed)
        report_broken(files, unread, broken)

        labels = torch.tensor([classes.index(label) for _, _, label in found])
        whole = [number for number in range(len(found)) if number not in unread]
        rows = {split: torch.tensor([n for n in whole if found[n][1] == split], dtype=torch.long) for split in SPLITS}
        rows = hold_out(rows, held_out, seed)

        def part(split: str) -> tuple[Images, Tensor]:
            some = rows[split]
            images = StreamedImages(files, some) if streamed else CachedImages(folder / image_cache.PIXELS, some)
            return images, labels[some]

        train = part("train")
        measured = statistics(train[0]) if mean is None or std is None else ((), ())
        self.mean, self.std = mean or measured[0], std or measured[1]
        super().__init__(
            train, part("val"), part("test"), batch_size, epoch_examples, seed, perturb, eval_perturbations
        )


def find_files(root: Path) -> list[tuple[str, str, str]]:
    """The images under `root`, in the order of their paths: each path, its split and its class.

    Raises:
        UserError: there are none, or folders that are not what is expected.
    """
    if not root.is_dir():
        raise UserError(
            f"data.root={root}: no such folder; name one with train/, val/ and test/, a folder a class each"
        )
    found, folders = [], subfolders(root)
    in_splits = "train" in folders
    if in_splits and (others := [name for name in folders if name not in SPLITS]):
        raise UserError(
            f"data.root={root}: beside train are {', '.join(others)}; allowed are val and test: rename them"
        )
    if not in_splits and (parts := [name for name in folders if name in SPLITS]):
        raise UserError(f"data.root={root}: has {', '.join(parts)} but no train; add it, a folder for each class")
    known = subfolders(root / "train") if in_splits else folders
    for split in folders if in_splits else ["train"]:
        base = root / split if in_splits else root
        if unknown := [name for name in subfolders(base) if name not in known]:
            raise UserError(f"{base / unknown[0]}: no class of {root / 'train'}, which has {', '.join(known[:10])}")
        for label in subfolders(base):
            paths = images_in(base / label)
            if not paths:
                raise UserError(f"{base / label}: no image in it; add some, or remove the folder")
            found += [(path.relative_to(root).as_posix(), split, label) for path in paths]
    if len(known) < 2:
        raise UserError(f"data.root={root}: {len(known)} classes; a folder for each class is needed, two or more")
    return found


def subfolders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def images_in(folder: Path) -> list[Path]:
    """The files of Pillow's formats in a folder and those within it, in order; hidden ones are none."""
    Image.init()
    known, found, seen = Image.registered_extensions(), [], set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if (place := os.path.realpath(parent)) in seen:  # a link leads back
            folders.clear()
            continue
        seen.add(place)
        kept = (name for name in sorted(names) if Path(name).suffix.lower() in known and not name.startswith("."))
        found += [Path(parent, name) for name in kept]
    return found


def report_broken(files: ImageFiles, unread: Mapping[int, str], broken: str) -> None:
    """Names files that cannot be decoded: raises UserError, or says that they are left out."""
    if not unread:
        return
    named = [f"{files.root / files.paths[number]} ({why})" for number, why in list(unread.items())[:NAMED]]
    more = f" and {len(unread) - NAMED:,} more" if len(unread) > NAMED else ""
    cannot = f"{'; '.join(named)}{more}: cannot be decoded"
    if broken == "error":
        raise UserError(f"{cannot}. Mend or remove them, or leave them out with data.broken=skip.")
    log.warning("%s, and left out", cannot)


def hold_out(rows: Mapping[str, Tensor], share: float, seed: int) -> dict[str, Tensor]:
    """`rows` of the three splits; those of one that has none are drawn from the training rows by seed."""
    train, found = rows["train"], dict(rows)
    train = train[torch.from_numpy(np.random.default_rng(seed).permutation(len(train)))]
    count = max(1, round(share * len(train)))
    for split in ("test", "val"):
        if not len(rows[split]):
            found[split], train = train[:count], train[count:]
            log.info("data: no %s folder: %s of the training images are held out for it, by seed", split, f"{count:,}")
    found["train"] = train
    if not len(train):
        raise UserError(f"data.root: {len(rows['train'])} training images are too few to hold any out; add some")
    return {split: found[split].sort().values for split in SPLITS}


def statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel's pixels, of `SAMPLE` images."""
    rows = torch.linspace(0, len(images) - 1, min(SAMPLE, len(images))).round().long()
    count, total, squares = 0, torch.zeros(()).double(), torch.zeros(()).double()
    for some in rows.split(CHUNK):
        pixels = images[some].transpose(0, 1).flatten(1).double() / 255
        count, total, squares = count + pixels.shape[1], total + pixels.sum(1), squares + pixels.square().sum(1)
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(1e-6).sqrt()
    return tuple(round(float(value), 4) for value in mean), tuple(round(float(value), 4) for value in std)
