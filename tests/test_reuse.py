"""What counts as an equal result."""

import hashlib
import json

import pytest

from lcomp.record import result_cache
from lcomp.record.environment import cpu
from lcomp.record.files import Damaged, sha256, with_checksum
from lcomp.record.result import Result, file_hashes, read_result, read_verified
from lcomp.record.result_cache import adopt_equal_run

METRICS = {"val_accuracy": 0.9, "accuracy/rotation": 0.5, "latency_us_p50": 3.0, "latency_ratio": 1.5}


@pytest.fixture
def kept(tmp_path):
    """A finished run in a sweep, with its files."""
    folder = tmp_path / "sweep-a" / "0"
    folder.mkdir(parents=True)
    (folder / "artifact.onnx").write_text("artifact")
    (folder / "predictions.npz").write_text("predictions")
    (folder / "artifact.lcomp").write_text("packed")
    result = Result("ok", config_hash="c", code_hash="k", metrics=dict(METRICS), baseline=dict(METRICS))
    result.environment = {"cpu": cpu()}
    result.files = file_hashes(folder)
    result.artifact = {"path": "artifact.onnx", "sha256": result.files["artifact.onnx"]}
    result.baseline_artifact = {"path": "../../.cache/artifact.onnx", "sha256": sha256(folder / "artifact.onnx")}
    result.write(folder)
    return folder


@pytest.fixture
def mine(tmp_path):
    folder = tmp_path / "sweep-b" / "7"
    folder.mkdir(parents=True)
    return folder


def test_an_equal_result_brings_its_files(kept, mine, tmp_path):
    result = Result(config_hash="c", code_hash="k", name="mine", overrides=["x=1"])
    assert adopt_equal_run(tmp_path, mine, result, ["rotation"])
    assert result.metrics == METRICS and result.reused == "../../sweep-a/0"
    assert result.name == "mine" and result.overrides == ["x=1"]  # what was asked for is its own
    assert (mine / "artifact.onnx").read_text() == "artifact" and (mine / "predictions.npz").exists()
    assert (mine / "artifact.lcomp").read_text() == "packed"
    assert (mine / result.baseline_artifact["path"]).resolve() == (tmp_path / ".cache/artifact.onnx").resolve()


@pytest.mark.parametrize("hashes", [("c", "other"), ("other", "k"), ("k", "c")])
def test_another_experiment_or_other_code_is_not_taken(kept, mine, tmp_path, hashes):
    assert not adopt_equal_run(tmp_path, mine, Result(config_hash=hashes[0], code_hash=hashes[1]))


def test_a_process_reads_each_record_once_and_those_that_have_come_since(kept, mine, tmp_path, monkeypatch):
    other = [tmp_path / "sweep-a" / str(number) for number in range(1, 5)]
    for folder in other:
        folder.mkdir()
        Result(config_hash="d", code_hash="k").write(folder)
    read = []
    hashes_of = result_cache.KnownRecords.hashes_of
    monkeypatch.setattr(
        result_cache.KnownRecords, "hashes_of", lambda self, path: read.append(path.parent) or hashes_of(self, path)
    )
    miss = Result(config_hash="none", code_hash="k")
    assert not adopt_equal_run(tmp_path, mine, miss)
    assert sorted(one for one in read if one.parent == kept.parent) == [kept, *other]
    read.clear()
    assert not adopt_equal_run(tmp_path, mine, miss) and not set(read) & {kept, *other}
    late = tmp_path / "sweep-a" / "5"
    kept.rename(late)  # a record that has come since, of a run that was known to be elsewhere
    assert adopt_equal_run(tmp_path, mine, result := Result(config_hash="c", code_hash="k"))
    assert result.reused == "../../sweep-a/5"


def change(folder, **changed):
    """The record in `folder` with other values, under the checksum that belongs to them."""
    path = folder / "result.json"
    path.write_bytes(with_checksum(json.loads(path.read_text()) | changed))


def test_a_record_that_names_other_code_since_it_was_read_is_not_taken(kept, mine, tmp_path):
    assert not adopt_equal_run(tmp_path, mine, Result(config_hash="none", code_hash="k"))
    change(kept, code_hash="other")
    assert not adopt_equal_run(tmp_path, mine, Result(config_hash="c", code_hash="k"))


def taken(mine, tmp_path):
    """Whether an equal run takes the record; if not, nothing was brought."""
    result = Result(config_hash="c", code_hash="k")
    found = adopt_equal_run(tmp_path, mine, result)
    assert found or (result.metrics == {} and not list(mine.iterdir()))
    return found


@pytest.mark.parametrize("changed", [{"status": "failed"}, {"artifact": {"path": "gone.onnx"}}, {"files": {}}])
def test_a_result_without_an_artifact_is_not_taken(kept, mine, tmp_path, changed):
    change(kept, **changed)
    assert not taken(mine, tmp_path)


@pytest.mark.slow
def test_every_flipped_bit_of_a_record_is_noticed(kept):
    """Also one that leaves the same content: a letter of a number, a digit beyond a float's precision."""
    change(kept, seconds={"total": 1e-07, "train": 0.30000000000000004}, error="Größe")
    path = kept / "result.json"
    before = path.read_bytes()
    assert read_verified(path).seconds == {"total": 1e-07, "train": 0.30000000000000004}
    for bit in range(8 * len(before)):
        content = bytearray(before)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(Damaged):
            read_verified(path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"[" * 100_000, b"\xff\xfe", b'{"status": NaN}', "half"]
)
def test_a_broken_record_is_passed_over(kept, mine, tmp_path, content, caplog):
    """One that names both hashes as it breaks off, too."""
    path = kept / "result.json"
    before = path.read_bytes()
    path.write_bytes(before[:-9] if content == "half" else content)
    assert not taken(mine, tmp_path)
    assert ("a damaged record; its run is not taken" in caplog.text) == (content == "half")
    other = tmp_path / "sweep-a" / "1"
    kept.rename(other)
    path = other / "result.json"
    path.write_bytes(before)
    (tmp_path / "sweep-a" / "0").mkdir()
    (tmp_path / "sweep-a" / "0" / "result.json").write_bytes(before[:-9])
    assert taken(mine, tmp_path)


@pytest.mark.parametrize("name", ["artifact.onnx", "artifact.lcomp", "predictions.npz"])
@pytest.mark.parametrize("content", [b"broken", b"", None])
def test_a_run_whose_files_are_not_what_was_written_is_not_taken(kept, mine, tmp_path, name, content, caplog):
    if content is None:
        (kept / name).unlink()
    else:
        (kept / name).write_bytes(content)
    assert not taken(mine, tmp_path)
    assert f"its {name} is not what was written" in caplog.text


@pytest.mark.parametrize("name", ["../../secret.txt", "/etc/passwd", "linked.onnx", "..", "sub/artifact.onnx"])
def test_nothing_outside_the_runs_folder_is_taken(kept, mine, tmp_path, name):
    """Whatever hash of it the record gives."""
    for secret in (tmp_path / "secret.txt", kept / "sub" / "artifact.onnx"):
        secret.parent.mkdir(exist_ok=True)
        secret.write_text("secret")
    (kept / "linked.onnx").symlink_to(tmp_path / "secret.txt")
    named = {name: hashlib.sha256((kept / name).read_bytes() if name != ".." else b"").hexdigest()}
    change(kept, files=json.loads((kept / "result.json").read_text())["files"] | named)
    assert not taken(mine, tmp_path)
    change(kept, files=named, artifact={"path": name, "sha256": named[name]})
    assert not taken(mine, tmp_path)


def test_a_folder_that_leads_elsewhere_is_not_looked_into(kept, mine, tmp_path):
    (tmp_path / "root" / "sweep").mkdir(parents=True)
    (tmp_path / "root" / "sweep" / "0").symlink_to(kept)
    assert not adopt_equal_run(tmp_path / "root", mine, Result(config_hash="c", code_hash="k"))


def test_a_baseline_that_is_gone_does_no_harm_and_another_file_in_its_place_does(kept, mine, tmp_path):
    base = tmp_path / ".cache" / "artifact.onnx"
    base.parent.mkdir()
    base.write_text("artifact")
    assert taken(mine, tmp_path)
    [path.unlink() for path in mine.iterdir()]
    base.write_text("another")
    assert not taken(mine, tmp_path)


WRONG = {
    "metrics": [[], {"val_accuracy": "0.9"}, {"val_accuracy": [1]}, {"val_accuracy": True}, None],
    "environment": ["cpu", None],
    "files": [{"artifact.onnx": 3}, ["artifact.onnx"]],
    "steps": ["1", 1.5, True, None],
    "epochs": [[0.5], {"val_accuracy": 0.5}, {"val_accuracy": ["0.5"]}],
    "artifact": [{"path": None, "sha256": "s"}, "artifact.onnx"],
    "unheard_of": [1],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_values_that_are_not_of_the_schema_are_not_taken(kept, mine, tmp_path, name, value):
    change(kept, **{name: value})
    assert not taken(mine, tmp_path)


def test_a_record_without_a_checksum_is_read_and_not_taken(kept, mine, tmp_path, caplog):
    """Those of older versions."""
    path = kept / "result.json"
    old = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("checksum", "files")}
    path.write_text(json.dumps(old, indent=2, sort_keys=True) + "\n")
    assert read_result(path).metrics == METRICS and not taken(mine, tmp_path) and caplog.text == ""


def test_a_result_that_was_not_measured_under_the_perturbation_is_not_taken(kept, mine, tmp_path):
    assert not adopt_equal_run(tmp_path, mine, Result(config_hash="c", code_hash="k"), ["occlusion"])


def test_latencies_of_another_processor_are_not_taken(kept, mine, tmp_path):
    change(kept, environment={"cpu": "another"})
    result = Result(config_hash="c", code_hash="k")
    assert adopt_equal_run(tmp_path, mine, result)
    assert result.metrics == result.baseline == {"val_accuracy": 0.9, "accuracy/rotation": 0.5}


def test_a_run_does_not_take_itself(kept, tmp_path):
    assert not adopt_equal_run(tmp_path, kept, Result(config_hash="c", code_hash="k"))
