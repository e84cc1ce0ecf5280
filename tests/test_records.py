"""The committed records: what each file weighs, decodes to, and answers."""

import csv
import hashlib
import os
from pathlib import Path

import pytest
import torch

import lcomp
from lcomp.config.composition import compose
from lcomp.config.run_spec import parse
from lcomp.training import components

FOLDER = Path(__file__).parents[1] / "records"
CIFAR10 = FOLDER / "cifar10"


def rows(folder):
    return list(csv.DictReader((folder / "records.csv").read_text().splitlines()))


ROWS = rows(FOLDER)
ROWS_CIFAR10 = [row | {"file": f"cifar10/{row['file']}"} for row in rows(CIFAR10)]
digit_records, colour_records, every = (
    pytest.mark.parametrize("row", found, ids=lambda row: row["file"])
    for found in (ROWS, ROWS_CIFAR10, ROWS + ROWS_CIFAR10)
)


def accuracy(row, split):
    """Share of right answers of a file on a split, in percent."""
    with torch.no_grad():
        answers = lcomp.load(FOLDER / row["file"]).eval()(split.images.float() / 255).argmax(1)
    return 100 * (answers == split.labels).double().mean().item()


def test_the_table_names_every_file_and_no_other():
    files = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.lcomp")}
    assert {row["file"] for row in ROWS + ROWS_CIFAR10} == files


@every
def test_a_record_is_the_file_that_was_measured(row):
    content = (FOLDER / row["file"]).read_bytes()
    assert len(content) == int(row["bytes"])
    assert hashlib.sha256(content).hexdigest() == row["sha256"]


@digit_records
def test_a_record_reads_digits(row, digits):
    assert accuracy(row, digits.test) > 98


@pytest.mark.slow
@digit_records
def test_a_record_reaches_its_accuracy(row, mnist):
    rounding = 0.03  # percent: another machine sums in another order
    assert accuracy(row, mnist.test) == pytest.approx(float(row["test_accuracy"]), abs=rounding)


@pytest.mark.slow
@colour_records
def test_a_record_on_cifar10_reaches_its_accuracy(row):
    root = Path(os.environ.get("LCOMP_DATA", "data"))
    if not (root / "cifar-10-batches-py").is_dir():
        pytest.skip(f"CIFAR-10 is not under {root}; set LCOMP_DATA")
    data = components.make_data(parse(compose(["data=cifar10", f"data.root={root}"])))
    rounding = 0.2  # percent: the table's answers are ONNX Runtime's, which rounds biases too
    seen = accuracy(row, data.test)
    assert len(data.test.labels) == 10_000 and seen == pytest.approx(float(row["test_accuracy"]), abs=rounding)
