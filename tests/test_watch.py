"""`lcomp watch`: what it reads of a sweep that runs, what it answers to whom, and how a run is asked to end."""

import http.client
import json
import os
import socket
import threading
from contextlib import closing

import filelock
import pytest
import uvicorn
from records import record

from lcomp.data import MNISTDataModule
from lcomp.errors import TrialPruned
from lcomp.models import LeNet5
from lcomp.modules import BaselineModule
from lcomp.record import live_run
from lcomp.record.interruption import BY_USER
from lcomp.record.live_run import Progress
from lcomp.training import watched
from lcomp.training.fit import fit
from lcomp.training.watched import Watched
from lcomp.watch import live_page, log_tail, server
from lcomp.watch.__main__ import main
from lcomp.watch.live_page import LivePage
from lcomp.watch.log_tail import read_piece
from lcomp.watch.sweep_reader import SweepReader
from lcomp.watch.sweep_state import sweep_state

TOKEN = "secret"
HALF = Progress(3, 10, 25, 100, "val_accuracy", 0.9123)
EVIL = "<script>window.hacked=1</script>"


@pytest.fixture
def sweep(tmp_path):
    """A sweep of eight runs: two have ended well, one was stopped, one interrupted, one failed, one runs."""
    folder = tmp_path / "sweep"
    for number in range(2):
        record(folder / str(number), "kd=logit", f"kd.temperature={number + 1}", choices={"kd": "logit"})
    record(folder / "2", "kd.temperature=3", status="pruned", error=f"{live_run.STOPPED} in epoch 2 of 9")
    record(folder / "3", "kd.temperature=4", status="failed", error=BY_USER)
    record(folder / "4", "kd.temperature=5", status="failed", error="ValueError: no")
    begin(folder / "5", "kd.temperature=6")
    live_run.tell_progress(folder / "5", HALF)
    (folder / "5" / "lcomp.log").write_text(f"begins\n{EVIL}\x1b[31m\nhalf a li")
    (folder / "sweep.json").write_text(json.dumps({"plan": {}, "total": 8}))
    return folder


def begin(folder, *overrides):
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text("".join(f"- {one}\n" for one in overrides))


@pytest.fixture
def looks_at_once(monkeypatch):
    """Each question is answered by what lies there now."""
    monkeypatch.setattr(live_page, "INTERVAL", 0.0)
    monkeypatch.setattr(live_page, "SHARE", 0.0)


@pytest.fixture
def ask(sweep, looks_at_once):
    """Asks a server of the sweep: (status, headers, body)."""
    started = []

    def call(path, method="GET", host=None, may_stop=True, **headers):
        if not started:
            started.append(begin_server(server.application(LivePage([sweep]), TOKEN, may_stop)))
        _, port, *_ = started[0]
        asked = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        asked.request(method, path, headers={"Host": host or f"127.0.0.1:{port}", **given})
        with closing(asked), asked.getresponse() as answer:
            return answer.status, answer.headers, answer.read().decode()

    yield call
    for one, _, thread, listening in started:
        one.should_exit = True
        thread.join()
        listening.close()


def begin_server(app):
    listening = server.listen(None)
    one = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=one.run, kwargs={"sockets": [listening]})
    thread.start()
    return one, listening.getsockname()[1], thread, listening


def test_a_record_is_read_again_only_where_it_was_written_again(sweep):
    reader = SweepReader(sweep, sweep, "0")
    reader.look()
    assert (reader.reads, reader.changes, len(reader.recorded), len(reader.unrecorded)) == (5, 1, 5, 1)
    reader.look()
    assert (reader.reads, reader.changes) == (5, 1)
    record(sweep / "5", "kd.temperature=6", accuracy=0.8)
    (sweep / "10").mkdir()
    reader.look()
    assert (reader.reads, reader.changes) == (6, 2) and reader.runs["5"].result.metrics["test_accuracy"] == 0.8
    assert [*reader.runs] == ["0", "1", "2", "3", "4", "5", "10"]
    (sweep / "10").rmdir()
    record(sweep / "0", "kd=logit", "kd.temperature=1", accuracy=0.7)
    reader.look()
    assert (reader.reads, reader.changes) == (7, 3) and reader.runs["0"].result.metrics["test_accuracy"] == 0.7
    (sweep / "1" / "result.json").write_text("no record")
    (sweep / "4" / "result.json").unlink()
    (sweep / "4" / "result.json").symlink_to(sweep / "0" / "result.json")
    reader.look()
    assert [run.path.name for run in reader.recorded] == ["0", "2", "3", "5"]


def test_a_sweep_says_what_ended_what_runs_and_what_is_left(sweep):
    reader = SweepReader(sweep, sweep, "0")
    reader.look()
    with filelock.FileLock(sweep / ".lock"):
        state = sweep_state(reader)
    assert state["alive"] is True and state["counts"] == {"ok": 2, "stopped": 1, "interrupted": 1, "failed": 1}
    assert (state["total"], state["queued"], state["unrecorded"]) == (8, 3, 1)  # an interrupted run is run again
    [running] = state["running"]
    assert running["label"] == "kd.temperature=6" and running["progress"] == HALF._asdict() and not running["stopping"]
    assert 3 * 9.5 <= state["left"] <= 4 * 9.5  # seconds: three runs like those that ended well, and one that runs
    assert {(one["number"], one["status"]) for one in state["ended"]} >= {("2", "stopped"), ("0", "ok")}
    begin(sweep / "6", "kd.temperature=5")  # the failed one once more
    reader.look()
    with filelock.FileLock(sweep / ".lock"):
        assert sweep_state(reader)["counts"] == {"ok": 2, "stopped": 1, "interrupted": 1}


def test_a_sweep_that_no_process_carries_out_says_so_and_one_of_another_machine_shows_by_its_signs(sweep):
    reader = SweepReader(sweep, sweep, "0")
    reader.look()
    (sweep / ".lock").touch()
    assert sweep_state(reader)["alive"] is True  # its run says how far it is
    os.utime(sweep / "5" / live_run.PROGRESS, (1, 1))
    state = sweep_state(reader)
    assert state["alive"] is False and state["running"] == [] and state["unrecorded"] == 1 and state["left"] is None


def test_new_records_are_new_data_once(sweep, looks_at_once):
    live = LivePage([sweep])
    first = live.state(0)
    assert [run["record"] for run in first["data"]["runs"]][:2] == ["0/result.json", "1/result.json"]
    assert "data" not in live.state(first["version"])
    record(sweep / "5", "kd=logit", "kd.temperature=6", choices={"kd": "logit"})
    second = live.state(first["version"])
    assert second["version"] == first["version"] + 1 and len(second["data"]["runs"]) == 6


def test_data_of_a_large_sweep_are_made_anew_only_now_and_then(sweep, monkeypatch):
    monkeypatch.setattr(live_page, "INTERVAL", 0.0)
    monkeypatch.setattr(live_page, "SHARE", 1e9)
    live = LivePage([sweep])
    version = live.state(0)["version"]
    record(sweep / "5", "kd=logit", "kd.temperature=6", choices={"kd": "logit"})
    assert live.state(0)["version"] == version and live.state(0)["sweeps"][0]["unrecorded"] == 0


def test_a_folder_of_sweeps_shows_those_that_begin_later(sweep, looks_at_once):
    live = LivePage([sweep.parent])
    assert [one["name"] for one in live.state(0)["sweeps"]] == ["sweep"]
    other = sweep.parent / "another"
    record(other / "0", "seed=1")
    (other / "sweep.json").write_text("{}")
    (sweep.parent / "linked").symlink_to(sweep)
    assert [(one["name"], one["total"]) for one in live.state(0)["sweeps"]] == [("sweep", 8), ("another", None)]
    assert live.record_file("another/0/result.json") == other / "0" / "result.json"


def test_the_page_has_the_data_and_what_asks_for_more(ask):
    status, headers, page = ask(f"/{TOKEN}/")
    assert status == 200 and "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert 'const WATCHED = {"token":"secret","may_stop":true,"version":1};' in page and 'id="trade-off"' in page
    _, _, state = ask(f"/{TOKEN}/state?version=1")
    assert json.loads(state)["version"] == 1 and "data" not in json.loads(state)
    _, _, log = ask(f"/{TOKEN}/log?run=0/5")
    shown = f"begins\n{EVIL}\\x1b[31m\n"
    assert json.loads(log) == {"text": shown, "next": len(shown) - 3, "skipped": 0}
    status, headers, found = ask(f"/{TOKEN}/1/result.json")
    assert status == 200 and json.loads(found)["overrides"] == ["kd=logit", "kd.temperature=2"]
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"


def test_other_hosts_paths_without_the_secret_and_files_beside_the_records_are_refused(ask, sweep):
    assert ask(f"/{TOKEN}/state", host="evil.example")[0] == 400
    assert ask(f"/{TOKEN}/state", host="localhost:1")[0] == 200
    for path in ("/", "/state", "/another/state", f"/{TOKEN}x/"):
        assert ask(path)[0] == 404, path
    (sweep / "1" / "key").write_text("hidden")
    (sweep / "1" / log_tail.FILE).symlink_to(sweep / "1" / "key")
    for path in ("1/key", "../sweep.json", "%2e%2e/sweep.json", "sweep.json", "log?run=0/1", "log?run=0/../0/5"):
        status, _, said = ask(f"/{TOKEN}/{path}")
        assert status == 404 and "hidden" not in said, path


def test_a_run_is_asked_to_end_by_this_page_alone(ask, sweep):
    stop, host = f"/{TOKEN}/stop?run=0/5", "127.0.0.1:1"
    own = {"origin": f"http://{host}", "x_lcomp_token": TOKEN, "host": host}
    for refused in (
        {"host": host},
        own | {"x_lcomp_token": "guess"},
        own | {"origin": "http://evil.example"},
        {"host": host, "x_lcomp_token": TOKEN},
    ):
        assert ask(stop, "POST", **refused)[0] == 403 and not (sweep / "5" / live_run.STOP).exists()
    assert ask(stop, **own)[0] == 404 and not (sweep / "5" / live_run.STOP).exists()  # a link that is opened
    assert ask(f"/{TOKEN}/stop?run=0/77", "POST", **own)[0] == 404
    assert ask(f"/{TOKEN}/stop?run=0/1", "POST", **own)[0] == 409 and not (sweep / "1" / live_run.STOP).exists()
    assert ask(stop, "POST", **own)[0] == 202 and live_run.is_stop_requested(sweep / "5")


def test_nothing_is_stopped_unless_it_was_allowed(ask, sweep):
    own = {"origin": "http://127.0.0.1:1", "x_lcomp_token": TOKEN, "host": "127.0.0.1:1"}
    status, _, said = ask(f"/{TOKEN}/stop?run=0/5", "POST", may_stop=False, **own)
    assert status == 403 and "--allow-stop" in said and not live_run.is_stop_requested(sweep / "5")


def test_a_log_is_followed_in_whole_lines_and_bounded(tmp_path, monkeypatch):
    log = tmp_path / "lcomp.log"
    log.write_bytes(b"one\ntw")
    first = read_piece(log, None)
    assert first == ("one\n", 4, 0)
    with log.open("ab") as more:
        more.write("ö\nthree\n".encode())
    assert read_piece(log, first.next) == ("twö\nthree\n", 15, 0)
    assert read_piece(log, 15) == ("", 15, 0)
    monkeypatch.setattr(log_tail, "MOST", 9)
    assert read_piece(log, None) == ("three\n", 15, 9)
    log.write_bytes(b"new\n")
    assert read_piece(log, 15) == ("new\n", 4, 0)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="no regular file"):
        read_piece(tmp_path / "pipe", None)


@pytest.mark.parametrize(
    "written", ["", "[1]", "{}", '{"epoch": 1}', "[" * 5000, json.dumps({**HALF._asdict(), "value": "x"})]
)
def test_what_is_no_account_of_progress_is_none(tmp_path, written):
    (tmp_path / live_run.PROGRESS).write_text(written)
    assert live_run.read_progress(tmp_path) is None
    live_run.tell_progress(tmp_path, HALF)
    assert live_run.read_progress(tmp_path) == HALF


@pytest.fixture(scope="module")
def digits():
    """Epochs of 22 steps."""
    return MNISTDataModule(dataset="mnist5k", epoch_examples=5_400)


def test_training_says_how_far_it_is(digits, tmp_path):
    fit(BaselineModule(LeNet5()), digits, 2, seed=0, progress=False, watched=Watched(tmp_path))
    told = live_run.read_progress(tmp_path)
    assert told[:5] == (2, 2, 44, 44, "val_accuracy") and 0.2 < told.value <= 1


def test_training_ends_where_somebody_asks_for_it(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(watched, "INTERVAL", 0.0)
    seen = Watched(tmp_path)

    def look(trainer, module, look=seen.look):
        if trainer.global_step == 30:
            live_run.request_stop(tmp_path)
            live_run.request_stop(tmp_path)
        look(trainer, module)

    seen.look = look
    with pytest.raises(TrialPruned, match="stopped by the user in epoch 2 of 4"):
        fit(BaselineModule(LeNet5()), digits, 4, seed=0, progress=False, watched=seen)
    assert live_run.read_progress(tmp_path).step == 30


def said(capsys, *arguments):
    assert main([str(one) for one in arguments]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def test_what_cannot_be_watched_is_said_in_a_line(tmp_path, sweep, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert "nowhere: no folder; name a sweep's" in said(capsys, tmp_path / "nowhere")
    assert "empty: no sweep in it (sweep.json is missing)" in said(capsys, sweep, tmp_path / "empty")
    assert said(capsys) == "lcomp: lcomp watch: no sweep under multirun; name its folder\n"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"--port {port}: cannot be listened at (Address already in use)" in said(capsys, sweep, "--port", port)
    monkeypatch.setattr("lcomp.errors.find_spec", lambda name: None if name == "starlette" else object())
    assert said(capsys, sweep) == "lcomp: lcomp watch: needs a package: pip install 'lcomp[watch]'\n"
    with pytest.raises(SystemExit, match="2"):
        main([str(sweep), "--port", "0"])


def test_the_usual_port_moves_on_where_it_is_taken(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(server, "PORT", taken.getsockname()[1])
        with server.listen(None) as found:
            assert found.getsockname()[0] == "127.0.0.1" and found.getsockname()[1] != server.PORT
