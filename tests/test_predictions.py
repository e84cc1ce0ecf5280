"""What is kept of a network's answers, and what most seeds lose."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import record

from lcomp.record import predictions
from lcomp.report import exemplars
from lcomp.report.runs import SeedGroup, load_runs, seed_groups


def kept(right, base=None, images=300):
    """Predictions of a network that is right where `right` says so; an image's pixels are its index."""
    labels = np.arange(images) % 10
    logits = np.eye(10, dtype=np.float32)[(labels + ~np.asarray(right)) % 10]
    pixels = np.broadcast_to(np.arange(images).reshape(-1, 1, 1, 1) % 256 / 255, (images, 1, 2, 2))
    return predictions.predictions_of(logits, labels, pixels.astype(np.float32), base)


def test_pixels_are_kept_of_the_first_mistakes_and_of_the_first_that_the_baseline_gets_right():
    where = np.arange(300)
    base = kept(where >= 60)  # wrong on the first sixty
    assert base.mistakes.tolist() == list(range(predictions.MISTAKES))
    own = kept(np.zeros(300, bool), base)
    expected = [*range(predictions.MISTAKES), *range(60, 60 + predictions.LOST)]
    assert own.mistakes.tolist() == expected and own.pixels[:, 0, 1, 1].tolist() == expected
    assert not own.correct.any() and base.correct.sum() == 240


def test_pictures_are_grey_or_coloured_with_channels_last():
    for channels, shown in ((1, 1), (2, 1), (3, 3), (4, 1)):
        pixels = np.arange(2 * channels * 6, dtype=np.uint8).reshape(2, channels, 2, 3)
        pictures = predictions.Predictions(None, None, np.arange(2), pixels).pictures
        assert pictures.shape == (2, 2, 3, shown) and pictures[1, 0, 2].tolist() == pixels[1, :shown, 0, 2].tolist()


def test_a_file_is_read_as_it_was_written_and_an_older_one_without_pictures(tmp_path):
    own = kept(np.arange(300) % 7 > 0)
    (tmp_path / predictions.FILE).write_bytes(own.packed())
    found = predictions.read_predictions(tmp_path)
    assert all(np.array_equal(value, vars(own)[name]) for name, value in vars(found).items())
    np.savez(tmp_path / predictions.FILE, predictions=own.predictions, labels=own.labels)
    older = predictions.read_predictions(tmp_path)
    assert np.array_equal(older.correct, own.correct) and len(older.mistakes) == len(older.pixels) == 0


def test_a_damaged_file_is_as_none(tmp_path):
    assert predictions.read_predictions(tmp_path) is None
    content = kept(np.ones(300, bool)).packed()
    for damaged in (b"", b"[", content[: len(content) // 2]):
        (tmp_path / predictions.FILE).write_bytes(damaged)
        assert predictions.read_predictions(tmp_path) is None


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(0, 1000))
def test_exemplars_are_what_most_baselines_get_right_and_most_networks_wrong(seeds, number):
    own, base = np.random.default_rng(number).random((2, seeds, 40)) < 0.5
    expected = [i for i in range(40) if own[:, i].sum() * 2 < seeds and base[:, i].sum() * 2 > seeds]
    assert exemplars.exemplar_indices(list(own), list(base)).tolist() == expected


def test_what_most_groups_lose_comes_first_with_pixels_from_whichever_run_has_them(tmp_path):
    for number, (bits, accuracy) in enumerate([(2, 0.8), (2, 0.8), (2, 0.95), (4, 0.9)]):
        asked = ("quant=qat", f"quant.bits={bits}", f"seed={number % 3}")
        record(tmp_path / str(number), *asked, choices={"quant": "qat"}, seed=number % 3, accuracy=accuracy)
    (tmp_path / "0" / predictions.FILE).write_bytes(without_pictures(tmp_path / "0"))
    two, four = seed_groups(load_runs([tmp_path]))
    counts, images = exemplars.find_exemplars([two, four])
    assert counts == [30, 10]  # of 200 images: two of three seeds lose those between 80 and 95 %, the other 90 to 95 %
    assert [image.index for image in images] == [*range(180, 190), *range(160, 180)]
    assert [(a.group, a.wrong, a.seeds) for a in images[0].answers] == [(0, 2, 3), (1, 1, 1)]
    assert images[0].answers[0].says == (images[0].label + 1) % 10
    assert all(image.shown.shape == (28, 28, 1) for image in images)
    assert np.array_equal(images[0].shown[..., 0], predictions.read_predictions(tmp_path / "1").pixels[20, 0])
    alone = exemplars.find_exemplars([SeedGroup([two.runs[0]])])
    assert alone[0] == [30] and all(image.shown is None for image in alone[1])


def test_seeds_with_test_images_of_their_own_are_not_mixed(tmp_path):
    for seed in (0, 1):
        made = {"choices": {"quant": "qat"}, "accuracy": 0.9, "baseline": 0.95 + seed / 100}
        record(tmp_path / str(seed), "quant=qat", f"seed={seed}", seed=seed, **made)
    for place in (tmp_path / "1", tmp_path / "base-0.96"):
        found = predictions.read_predictions(place)
        turned = [array[::-1] for array in (found.predictions, found.labels)]  # as another draw of the test split
        kept = predictions.Predictions(*turned, (199 - found.mistakes)[::-1], found.pixels[::-1])
        (place / predictions.FILE).write_bytes(kept.packed())
    counts, images = exemplars.find_exemplars(seed_groups(load_runs([tmp_path])))
    assert counts == [22] and [image.index for image in images] == [*range(8, 20), *range(180, 190)]
    assert all(answer.seeds == 1 for image in images for answer in image.answers)


def without_pictures(folder):
    found = predictions.read_predictions(folder)
    return predictions.Predictions(found.predictions, found.labels, found.mistakes[:0], found.pixels[:0]).packed()


def test_the_page_gets_each_data_set_s_images_and_some_of_every_group(tmp_path):
    for number, data in enumerate("ab"):
        made = record(tmp_path / str(number), "quant=qat", f"data={data}", choices={"quant": "qat"}, accuracy=0.5)
        made.dataset = made.dataset | {"name": data, "sha256": data * 64}
        made.write(tmp_path / str(number))
    record(tmp_path / "2", "seed=0", accuracy=0.5)  # a baseline loses nothing
    runs = load_runs([tmp_path])
    numbers = {run: number for number, run in enumerate(runs)}
    found = exemplars.exemplar_data(seed_groups(runs), {"a" * 64: "a", "b" * 64: "b"}, numbers)
    assert [(group["data"], group["lost"], group["n"]) for group in found["groups"]] == [("a", 90, 1), ("b", 90, 1)]
    assert {(image["data"], group) for image in found["examples"] for group, *_ in image["answers"]} == {
        ("a", 0),
        ("b", 1),
    }
    assert len(found["examples"]) == 180 and found["examples"][0]["picture"].startswith("data:image/png;base64,")
    many = [
        exemplars.Exemplar(i, 0, np.zeros((2, 2, 1), np.uint8), [exemplars.WrongAnswer(int(i >= 200), 1, 1, 1)])
        for i in range(300)
    ]
    chosen = [image.index for image in exemplars.chosen(many, 2)]
    assert chosen == [*range(exemplars.MOST), *range(200, 200 + exemplars.PER_GROUP)]


def test_grey_and_coloured_images_are_pictures_of_a_bounded_size():
    assert exemplars.thumbnail(np.zeros((28, 28, 1), np.uint8)).size == (28, 28)
    coloured = exemplars.thumbnail(np.zeros((224, 224, 3), np.uint8))
    assert coloured.mode == "RGB" and coloured.size == (exemplars.SIDE, exemplars.SIDE)


@pytest.mark.parametrize("shape", [(3, 512, 300), (1, 129, 129), (3, 2000, 1), (3, 128, 40)])
def test_large_mistakes_are_kept_small_enough_for_the_report_to_read(shape, tmp_path):
    channels, height, width = shape
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None].repeat(width, 1)
    pixels = np.broadcast_to(ramp, (30, *shape))
    kept = predictions.predictions_of(np.eye(10, dtype=np.float32)[[1] * 30], np.zeros(30, np.int64), pixels)
    (tmp_path / predictions.FILE).write_bytes(kept.packed())
    read = predictions.read_predictions(tmp_path)
    assert read is not None and len(read.pixels) == 25 and max(read.pixels.shape[2:]) <= 128
    step = 1 if height == 128 else -(-height // 128)
    assert read.pixels.shape[1:] == (channels, height // step, max(1, width // step))
    assert read.pixels[0, 0, :, 0].tolist() == sorted(read.pixels[0, 0, :, 0]) and read.pixels.mean() == pytest.approx(
        127, abs=3
    )
