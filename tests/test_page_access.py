"""The report for every reader: in the dark, on paper, from the keyboard, by ear, at each width."""

import re

import optuna
import pytest
from axe_playwright_python.sync_playwright import Axe
from records import record

from lcomp.export.onnx_export import export
from lcomp.report.writing import read_records, write_report_files
from lcomp.tasks import ImageClassification

pytestmark = pytest.mark.slow  # in a browser
KD, PRUNE = {"kd": "logit"}, {"prune": "scheduled"}
CURVES = {"val_accuracy": [0.6, 0.8], "train_loss": [0.9, 0.4], "seconds": [1.0, 2.0]}
ROBUST = {"mce": 1.3, "val_mce": 1.2, "accuracy/mnist_c/fog": 0.4, "accuracy/mnist_c/shear": 0.9}
WIDTHS, SCHEMES = (390, 1024, 1440), ("light", "dark")
PAPER = 680  # px of text on a sheet of A4


@pytest.fixture(scope="module")
def folder(tmp_path_factory, trained):
    """A sweep that fills every section: techniques, seeds, corruptions, lost examples, weights, a search, the paper's tables."""
    place = tmp_path_factory.mktemp("sweeps") / "sweep"
    number = 0
    for temperature in (1, 3, 6):
        for seed in (0, 1):
            asked = ("kd=logit", f"kd.temperature={temperature}", f"seed={seed}")
            accuracy = 0.9 - temperature / 100 + seed / 200
            params = {"kd.temperature": temperature, "kd.alpha": 0.1}
            record(
                place / str(number), *asked, choices=KD, params=params, seed=seed, accuracy=accuracy, epochs=CURVES,
                extra=ROBUST,
            )  # fmt: skip
            number += 1
    for sparsity in (0.5, 0.8, 0.95):
        record(
            place / str(number), "prune=scheduled", f"prune.sparsity={sparsity}", choices=PRUNE,
            params={"prune.sparsity": sparsity}, accuracy=0.95 - sparsity / 20, size=int(160_000 * (1.1 - sparsity)),
            extra=ROBUST,
        )  # fmt: skip
        export(trained, place / str(number) / "artifact.onnx", ImageClassification())
        number += 1
    record(place / "9", "quant=qat", status="failed", error="UserError: why", choices={"quant": "qat"})
    made = record(place / "10", "experiment=paper_kd_t1", choices=KD, name="paper_kd_t1")
    made.environment |= {"versions": dict.fromkeys(("python", "torch", "onnxruntime", "lcomp"), "1")}
    made.write(place / "10")
    other = record(place / "11", "data=mnist", choices=KD | {"data": "mnist"}, accuracy=0.97, baseline=0.98)
    other.dataset |= {"name": "mnist", "sha256": "d" * 64}
    other.write(place / "11")
    export(trained, place / "base-0.95" / "artifact.onnx", ImageClassification())
    (place / "sweep.json").write_text('{"plan": {"objective": ["val_accuracy", "gzip_bytes"]}}')
    study = optuna.create_study(
        storage=f"sqlite:///{place}/study.db", study_name="s", directions=["maximize", "minimize"]
    )
    for n in range(6):
        trial = study.ask()
        study.tell(trial, [trial.suggest_float("kd.temperature", 1, 10) + n, 10.0 * n])
    write_report_files(read_records([place]), place)
    return place


def test_make(folder):
    import shutil
    shutil.copy(folder / "report.html", "/tmp/look/report.html")
