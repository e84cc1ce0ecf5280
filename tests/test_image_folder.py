"""A user's folders of images: which files are read, what becomes of them, and what of those that cannot be read."""

import io
import json
import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from lcomp.config.composition import compose
from lcomp.config.run_spec import parse
from lcomp.data import ImageFolderDataModule, image_cache, image_files
from lcomp.data.image_form import ImageForm, Undecodable
from lcomp.errors import UserError
from lcomp.training import components

CLASSES = {"ape": (200, 30, 30), "bee": (30, 200, 30), "cow": (30, 30, 200)}
FORM = ImageForm((8, 8))


def colour(label, shift=0, size=(12, 10), mode="RGB"):
    image = Image.new("RGB", size, tuple(min(255, value + shift) for value in CLASSES[label]))
    return image.convert(mode)


def fill(root, split, count, suffixes=(".png", ".jpg")):
    """So many images of each class, each of a slightly other colour."""
    for label in CLASSES:
        folder = root / split / label
        folder.mkdir(parents=True)
        for number in range(count):
            colour(label, number % 40).save(folder / f"{number:05}{suffixes[number % len(suffixes)]}")


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "animals"
    for split, count in (("train", 8), ("val", 3), ("test", 4)):
        fill(root, split, count)
    return root


@pytest.fixture
def load(root, tmp_path):
    return lambda **settings: ImageFolderDataModule(root, cache=tmp_path / "cache", **{"size": 8} | settings)


def colours_fit(part):
    """Whether each image is of the colour of its label."""
    return bool((part.images[torch.arange(len(part))].float().mean((2, 3)).argmax(1) == part.labels).all())


def test_folders_are_splits_and_classes(load):
    data = load(batch_size=5)
    assert data.classes == ["ape", "bee", "cow"] and data.num_classes == 3 and data.input_shape == (3, 8, 8)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [24, 9, 12]
    assert all(map(colours_fit, (data.train, data.validation, data.test)))
    images, _ = next(iter(data.train_dataloader()))
    assert images.shape == (5, 3, 8, 8) and images.dtype == torch.float32 and images.max() <= 1
    assert len(data.train_dataloader()) == 5
    everything = data.train.images[torch.arange(24)].transpose(0, 1).flatten(1).double() / 255
    assert data.mean == pytest.approx(everything.mean(1).tolist(), abs=1e-4)
    assert data.std == pytest.approx(everything.std(1, correction=0).tolist(), abs=1e-4)
    assert data.task.arguments["mean"] == list(data.mean)
    assert load(mean=[0.5] * 3, std=[0.2] * 3).std == [0.2] * 3


def test_files_are_decoded_once_and_again_where_they_change(load, root, monkeypatch):
    before = load()
    decoded = []
    read = ImageForm.read
    monkeypatch.setattr(ImageForm, "read", lambda form, path: decoded.append(path.name) or read(form, path))
    again = load()
    assert not decoded and again.sha256 == before.sha256
    changed = root / "train/ape/00003.jpg"
    stood = changed.stat()
    content = changed.read_bytes()
    changed.write_bytes(colour_bytes("ape", 77, len(content)))
    os.utime(changed, ns=(stood.st_atime_ns, stood.st_mtime_ns))  # of the same size and time: its content tells
    other = load()
    assert decoded == ["00003.jpg"] and other.sha256 != before.sha256
    assert not torch.equal(other.train.images[torch.arange(24)], before.train.images[torch.arange(24)])
    changed.write_bytes(content)
    assert load().sha256 == before.sha256 and len(decoded) == 1
    (root / "train/ape/00004.png").rename(root / "train/bee/other.png")
    moved = load()
    assert moved.sha256 != before.sha256 and len(decoded) == 1 and moved.train.labels.bincount().tolist() == [7, 9, 8]
    assert load(size=6).input_shape == (3, 6, 6) and len(decoded) == 46


def colour_bytes(label, shift, size):
    """A JPEG padded to that many bytes."""
    stream = io.BytesIO()
    colour(label, shift).save(stream, "JPEG", quality=30)
    assert len(stream.getvalue()) <= size
    return stream.getvalue().ljust(size, b"\0")


def test_several_at_once_decode_each_file_once(load, monkeypatch):
    decoded = []
    read = ImageForm.read
    monkeypatch.setattr(ImageForm, "read", lambda form, path: decoded.append(path) or read(form, path))
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda seed: load(seed=seed), range(3)))
    assert len(decoded) == len(set(decoded)) == 45 and len({data.sha256 for data in found}) == 1
    assert all(colours_fit(data.train) for data in found)


def test_a_link_that_leads_back_is_followed_no_further(load, root):
    (root / "train/ape/more").symlink_to(root / "train/ape")
    (root / "train/bee/all").symlink_to(root / "train", target_is_directory=True)
    assert load().train.labels.bincount().tolist() == [8, 8 + 16, 8]  # bees, and the apes and cows beside them


def test_a_decoding_that_is_killed_leaves_nothing_that_is_read(load, root, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(image_cache, "write_atomically", fail)
        with pytest.raises(KeyboardInterrupt):
            load()
    assert not list((tmp_path / "cache").glob("*/*"))
    kind = image_files.known_files(root, [], FORM, tmp_path / "cache").settings_hash[:16]
    load()
    [folder] = (tmp_path / "cache").glob(f"{kind}-*")
    left = tmp_path / "cache" / f".{folder.name}.part-killed"
    folder.rename(left)
    data = load()
    assert not left.exists() and colours_fit(data.train)


def test_what_is_larger_than_the_setting_is_streamed_alike(load, tmp_path):
    cached, streamed = load(), load(cache_gb=0)
    assert isinstance(streamed.train.images, image_cache.StreamedImages)
    assert isinstance(cached.train.images, image_cache.CachedImages)
    assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("*-streamed/*")) < 100
    rows = torch.tensor([5, 1, 23])
    assert torch.equal(cached.train.images[rows], streamed.train.images[rows])
    assert cached.sha256 == streamed.sha256 and cached.mean == streamed.mean
    for one, other in zip(cached.train_dataloader(), streamed.train_dataloader(), strict=True):
        assert all(map(torch.equal, one, other))
    teacher = torch.nn.Flatten()
    assert cached.carry_outputs(teacher) and streamed.carry_outputs(teacher)
    assert torch.equal(cached.train.extra[0], streamed.train.extra[0])


def test_without_val_or_test_examples_are_held_out_by_seed(tmp_path, caplog):
    caplog.set_level("INFO")
    root, cache = tmp_path / "animals", tmp_path / "cache"
    fill(root, "train", 20)
    one, same, other = (ImageFolderDataModule(root, size=8, cache=cache, seed=seed) for seed in (0, 0, 1))
    assert [len(part) for part in (one.train, one.validation, one.test)] == [48, 6, 6]
    assert "no val folder: 6 of the training images are held out" in caplog.text
    rows = [part.images.rows for part in (one.train, one.validation, one.test)]
    assert torch.cat(rows).sort().values.tolist() == list(range(60))
    assert torch.equal(rows[2], same.test.images.rows) and not torch.equal(rows[2], other.test.images.rows)
    assert all(map(colours_fit, (one.train, one.validation, one.test)))
    bare = ImageFolderDataModule(root / "train", size=8, cache=cache, held_out=0.2)
    assert [len(part) for part in (bare.train, bare.validation, bare.test)] == [36, 12, 12] and colours_fit(bare.test)


def test_broken_files_are_named_or_left_out(load, root, caplog):
    whole = (root / "train/bee/00002.png").read_bytes()
    (root / "train/bee/00002.png").write_bytes(whole[: whole.index(b"IDAT") + 8])
    (root / "test/cow/00001.jpg").write_bytes(b"")
    for _ in range(2):  # from the cache, too
        with pytest.raises(
            UserError, match=r"test/cow/00001.jpg \(.*\); .*train/bee/00002.png \(.*\): cannot be decoded"
        ):
            load()
    data = load(broken="skip")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [23, 9, 11]
    assert all(map(colours_fit, (data.train, data.validation, data.test))) and "left out" in caplog.text
    for number in range(7):
        (root / f"val/ape/b{number}.gif").write_bytes(b"GIF89a")
    with pytest.raises(UserError, match=r"and 4 more: cannot be decoded\. Mend .*data.broken=skip"):
        load()


def test_a_file_that_breaks_while_it_is_streamed_is_named(load, root):
    data = load(cache_gb=0)
    (root / "train/ape/00000.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"train/ape/00000.png: has changed meanwhile"):
        list(data.train_dataloader())


def save(tmp_path, image, suffix=".png", **settings):
    path = tmp_path / f"one{suffix}"
    image.save(path, **settings)
    return path


def test_files_of_many_kinds_become_the_same_bytes(tmp_path):
    grey = Image.fromarray(np.full((10, 12), 77, np.uint8))
    palette = Image.new("P", (12, 10), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    half = Image.new("RGBA", (12, 10), (10, 20, 30, 0))
    kinds = {
        "grey": (grey, ".png", (77, 77, 77)),
        "16 bits": (Image.fromarray(np.full((10, 12), 77 * 256 + 9, np.uint16)), ".png", (77, 77, 77)),
        "16 bits tiff": (Image.fromarray(np.full((10, 12), 77 * 256 + 9, np.uint16)), ".tif", (77, 77, 77)),
        "one bit": (grey.point(lambda value: 255).convert("1"), ".png", (255, 255, 255)),
        "palette": (palette, ".png", (10, 20, 30)),
        "gif": (palette, ".gif", (10, 20, 30)),
        "alpha 0": (half, ".png", (255, 255, 255)),
        "alpha 255": (Image.new("RGBA", (12, 10), (10, 20, 30, 255)), ".webp", (10, 20, 30)),
        "grey and alpha": (Image.new("LA", (12, 10), (9, 0)), ".png", (255, 255, 255)),
        "cmyk": (Image.new("CMYK", (12, 10), (255, 0, 0, 0)), ".jpg", (0, 255, 255)),
        "bmp": (Image.new("RGB", (12, 10), (10, 20, 30)), ".bmp", (10, 20, 30)),
    }
    for name, (image, suffix, expected) in kinds.items():
        extra = {"lossless": True} if suffix == ".webp" else {}
        found = FORM.read(save(tmp_path, image, suffix, **extra))
        assert found.shape == (3, 8, 8) and found.dtype == np.uint8, name
        assert np.abs(found.astype(int) - np.array(expected)[:, None, None]).max() <= 2, name
    found = FORM.read(save(tmp_path, palette, ".png", transparency=1))
    assert (found == 255).all()
    assert (ImageForm((8, 8), channels=1).read(save(tmp_path, palette)) == round(0.299 * 10 + 0.587 * 20 + 3.42)).all()
    with pytest.raises(Undecodable, match="floating-point"):
        FORM.read(save(tmp_path, Image.new("F", (4, 4)), ".tif"))


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1)), (8, (-1, 0))])
def test_an_image_is_turned_as_its_camera_was(tmp_path, orientation, corner):
    image = Image.new("RGB", (8, 8))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = FORM.read(save(tmp_path, image, ".png", exif=exif))
    assert found[0][corner] == 255 and found.sum() == 3 * 255


def test_what_is_not_square_is_cropped_padded_or_stretched(tmp_path):
    image = Image.new("RGB", (32, 16), (0, 0, 255))
    image.paste((255, 0, 0), (8, 0, 24, 16))  # the middle
    path = save(tmp_path, image)
    red, _, blue = ImageForm((8, 8)).read(path).astype(int)
    assert (red[:, 1:-1] == 255).all() and (blue[:, 1:-1] == 0).all()
    red, _, blue = ImageForm((8, 8), "pad").read(path).astype(int)
    assert not (red + blue)[[0, 1, 6, 7]].any() and ((red + blue)[2:6] >= 254).all()
    red, _, blue = ImageForm((8, 8), "stretch").read(path).astype(int)
    assert (red[:, 3:5] == 255).all() and (blue[:, [0, 7]] > 200).all()
    red, _, blue = ImageForm((8, 8), resize=16).read(path)  # the middle of it, as large as it is
    assert (red == 255).all() and not blue.any()
    assert ImageForm((4, 20)).read(path).shape == (3, 4, 20)
    path = save(tmp_path, Image.new("RGB", (3000, 1), (5, 6, 7)))
    assert ImageForm((8, 8), "pad").read(path).max() == 7 and ImageForm((8, 8)).read(path).min() == 5


def test_a_picture_that_would_fill_memory_is_broken(tmp_path):
    path = save(tmp_path, Image.new("L", (4, 4)))
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    path.write_bytes(content)
    with pytest.raises(Undecodable):
        FORM.read(path)
    path = save(tmp_path, Image.new("1", (10_000, 9_000)))
    with image_files.quiet(), pytest.raises(Undecodable, match="10000 x 9000 pixels"):
        FORM.read(path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": [8]}, r"data.size=\[8\]: must be pixels"),
        ({"size": 0}, r"data.size=\[0, 0\]"),
        ({"fit": "squeeze"}, "data.fit=squeeze: allowed are crop, pad, stretch"),
        ({"channels": 4}, "data.channels=4: must be 3"),
        ({"resize": 6}, "data.resize=6: the shorter side .* 8 or more"),
        ({"resize": 9, "fit": "pad"}, "data.resize=9"),
        ({"held_out": 0.5}, "data.held_out=0.5: a share"),
        ({"broken": "ignore"}, "data.broken=ignore: allowed are error, skip"),
        ({"root": None}, "data.root: name the folder"),
        ({"root": "/nowhere"}, "data.root=/nowhere: no such folder"),
        ({"batch_size": 0}, "data.batch_size=0"),
    ],
)
def test_settings_that_cannot_be_are_refused(root, tmp_path, settings, words):
    with pytest.raises(UserError, match=words):
        ImageFolderDataModule(**{"root": root, "cache": tmp_path / "cache", "size": 8} | settings)


def test_folders_that_cannot_be_meant_are_refused(load, root):
    (root / "train/dog").mkdir()
    with pytest.raises(UserError, match="train/dog: no image in it"):
        load()
    (root / "train/dog").rmdir()
    (root / "valid").mkdir()
    with pytest.raises(UserError, match="beside train are valid; allowed are val and test"):
        load()
    (root / "valid").rename(root / "test/dog")
    with pytest.raises(UserError, match=r"test/dog: no class of .*train, which has ape, bee, cow"):
        load()
    (root / "test/dog").rmdir()
    (root / "train/ape/.hidden.png").write_bytes(b"")
    (root / "train/ape/notes.txt").write_text("")
    assert len(load().train) == 24
    (root / "train").rename(root / ".train")
    with pytest.raises(UserError, match="has test, val but no train"):
        load()


def test_where_they_are_cached_defines_no_run(root, tmp_path):
    given = ["data=image_folder", f"data.root={root}", "data.size=8"]
    data = components.make_data(parse(compose([*given, f"data.cache={tmp_path}/a"])))
    specs = [
        parse(compose([*given, f"data.cache={tmp_path}/{name}", f"data.cache_gb={size}"]))
        for name, size in ("a1", "b2")
    ]
    for find in (
        lambda spec: components.identity.config_hash(spec.config, data.sha256),
        lambda spec: components.training_identity(spec, data, spec),
    ):
        assert find(specs[0]) == find(specs[1])


SEEN = """
import resource, sys, warnings
from lcomp.data import ImageFolderDataModule
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = ImageFolderDataModule(sys.argv[1], size=32, cache=sys.argv[2], broken="skip", cache_gb=float(sys.argv[3]))
print(*map(len, (data.train, data.validation, data.test)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_ten_thousand_mixed_files_one_of_them_broken_in_bounded_memory(tmp_path):
    root, random = tmp_path / "many", np.random.default_rng(0)
    modes = ("RGB", "L", "RGBA", "P", "1", "LA")
    for number in range(10_000):
        label, split = (
            list(CLASSES)[number % 3],
            ("train", "val", "test")[(number // 3) % 10 // 8 + (number // 3) % 10 // 9],
        )
        folder = root / split / label
        folder.mkdir(parents=True, exist_ok=True)
        image = colour(label, number % 40, tuple(random.integers(8, 60, 2).tolist()))
        if number % 2:
            exif = Image.Exif()
            exif[0x0112] = 1 + number % 8
            image.convert("L" if number % 5 == 0 else "RGB").save(folder / f"{number}.jpg", exif=exif)
        else:
            image.convert(modes[number // 2 % 6]).save(folder / f"{number}.png", compress_level=1)
    broken = root / "train/bee/x.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match=r"many/train/bee/x.png \(.*\): cannot be decoded"):
        ImageFolderDataModule(root, size=32, cache=tmp_path / "cache")
    for cache, size in (("another", "20"), ("third", "0")):
        command = [sys.executable, "-c", SEEN, str(root), str(tmp_path / cache), size]
        *counts, kilobytes = map(
            int, subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
        )
        assert counts == [8_002, 999, 999]
        assert kilobytes < 150_000  # what is cached has 31 MB, and its pages count too
    content = json.loads(next((tmp_path / "another").glob("*/files.json")).read_text())
    assert len(content["hashes"]) == 10_001 and len(content["broken"]) == 1
