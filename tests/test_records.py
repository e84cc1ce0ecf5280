"""The committed records: what each file weighs, decodes to, and answers."""

import csv
import hashlib
from pathlib import Path

import pytest
import torch

import lcomp

FOLDER = Path(__file__).parents[1] / "records"
ROWS = list(csv.DictReader((FOLDER / "records.csv").read_text().splitlines()))
every = pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])


def accuracy(row, split):
    """Share of right answers of a file on a split, in percent."""
    with torch.no_grad():
        answers = lcomp.load(FOLDER / row["file"]).eval()(split.images.float() / 255).argmax(1)
    return 100 * (answers == split.labels).double().mean().item()


def test_the_table_names_every_file_and_no_other():
    assert {row["file"] for row in ROWS} == {path.name for path in FOLDER.glob("*.lcomp")}


@every
def test_a_record_is_the_file_that_was_measured(row):
    content = (FOLDER / row["file"]).read_bytes()
    assert len(content) == int(row["bytes"])
    assert hashlib.sha256(content).hexdigest() == row["sha256"]


@every
def test_a_record_reads_digits(row, digits):
    assert accuracy(row, digits.test) > 98


@pytest.mark.slow
@every
def test_a_record_reaches_its_accuracy(row, mnist):
    rounding = 0.03  # percent: another machine sums in another order
    assert accuracy(row, mnist.test) == pytest.approx(float(row["test_accuracy"]), abs=rounding)
