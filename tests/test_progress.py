"""The view of a sweep, from the records in its folder alone."""

import pytest

from lcomp.record.result import FILE_NAME, Result, read_result
from lcomp.sweeps.progress import ProgressView, format_duration


def ended(folder, number, status="ok", accuracy=0.9, size=100):
    metrics = {"val_accuracy": accuracy, "test_accuracy": accuracy, "file_bytes": size, "gzip_bytes": size}
    made = Result(status, overrides=[f"x={number}"], error=None if status == "ok" else "why", metrics=metrics)
    made.baseline = dict(metrics)
    made.write(folder / str(number))


def test_runs_are_told_once_and_counted(tmp_path, capsys):
    view = ProgressView(tmp_path, 5, 0, False, ("val_accuracy", True))
    ended(tmp_path, 0)
    (tmp_path / "1").mkdir()
    view.poll()
    view.poll()
    out = capsys.readouterr().out
    assert out.count("1/5 x=0") == 1 and "x=0: validation accuracy 90.00%" in out
    assert view.text().startswith("1 of 5 finished, 1 running, best val_accuracy 0.9 (run 0)")
    ended(tmp_path, 1, "failed")
    ended(tmp_path, 2, "pruned")
    ended(tmp_path, 3, "nan")
    view.poll()
    assert "2 failed, 1 pruned" in view.text() and "4/5" in capsys.readouterr().out


@pytest.mark.parametrize(("more", "best"), [(True, "0.95 (run 1)"), (False, "0.8 (run 2)")])
def test_the_best_so_far(tmp_path, more, best):
    for number, accuracy in enumerate((0.9, 0.95, 0.8, 0.95, 0.8)):
        ended(tmp_path, number, accuracy=accuracy)
    assert f"best val_accuracy {best}" in ProgressView(tmp_path, 5, 5, False, ("val_accuracy", more)).text()


def test_data_sets_have_no_best_in_common(tmp_path):
    for number, sha256 in enumerate("ab"):
        ended(tmp_path, number)
        made = read_result(tmp_path / str(number) / FILE_NAME)
        made.dataset = {"name": "digits", "sha256": sha256}
        made.write(tmp_path / str(number))
    assert "best" not in ProgressView(tmp_path, 5, 5, False, ("val_accuracy", True)).text()


def test_what_was_there_before_is_counted_and_not_told(tmp_path, capsys):
    ended(tmp_path, 0)
    (tmp_path / "1").mkdir()  # abandoned by a process that was killed
    with ProgressView(tmp_path, 3, 1, False, None) as view:
        ended(tmp_path, 2)
    assert capsys.readouterr().out.count("x=") == 1
    assert view.text().startswith("2 of 3 finished, 0 running") and " left" in view.text()


@pytest.mark.parametrize(("seconds", "said"), [(42, "42 s"), (600, "10 min"), (9000, "2.5 h")])
def test_times_as_people_say_them(seconds, said):
    assert format_duration(seconds) == said
