import os

import pytest

from lcomp.config.identity import canonical, config_hash
from lcomp.record.files import write_atomically
from lcomp.record.result import Result, read_result


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_result_is_read_back_as_it_was_and_nan_becomes_null(tmp_path):
    result = Result(status="nan", metrics={"test_loss": float("nan"), "test_accuracy": 0.1})
    back = read_result(result.write(tmp_path))
    assert back.metrics == {"test_loss": None, "test_accuracy": 0.1} and back.status == "nan"


def test_numbers_that_agree_hash_alike():
    assert canonical({"a": [3.0, 0.7000000000000001, True]}) == {"a": [3, 0.7, True]}
    assert config_hash({"seed": 3.0, "name": "x", "kd": {}}, "d") == config_hash({"seed": 3}, "d")
    assert config_hash({"seed": 3}, "d") != config_hash({"seed": 4}, "d")
