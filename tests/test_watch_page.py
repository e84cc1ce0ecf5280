"""`lcomp watch` beside a real sweep, in a real browser."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from lcomp.record import live_run
from lcomp.record.result import read_result

pytestmark = pytest.mark.slow
SECONDS = 300
LONG = 5000  # epochs: more than anybody waits for


@pytest.fixture
def watching(tmp_path):
    """Starts `lcomp watch` in the test's folder; returns its process and its address."""
    started = []

    def call(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "lcomp", "watch", *arguments],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell ignores it
        )
        started.append(process)
        return process, process.stdout.readline().split()[0]

    yield call
    for process in started:
        process.kill()
        process.communicate()


def wait_until(what, seconds=SECONDS):
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "nothing came of it"
        time.sleep(0.2)
    return found


def test_a_sweep_is_watched_a_run_stopped_and_the_rest_goes_on(lcomp_in, tmp_path, browser, watching):
    points = f"trainer.max_epochs=1,{LONG},2"
    sweep = lcomp_in(tmp_path, wait=False)("-m", "prune=scheduled", points, "launcher.workers=2")
    [folder] = wait_until(lambda: [path.parent for path in tmp_path.glob("multirun/*/sweep.json")])
    process, address = watching("--allow-stop")
    complaints = []
    seen = browser.new_page(viewport={"width": 1280, "height": 900})
    seen.set_default_timeout(1000 * SECONDS)
    seen.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else 0)
    seen.on("pageerror", lambda error: complaints.append(str(error)))
    seen.on("request", lambda one: one.url.startswith((address, "data:", "blob:")) or complaints.append(one.url))
    seen.goto(address)
    seen.wait_for_selector("body[data-drawn=true]")
    seen.evaluate("window.opened = 'once'")
    long = seen.locator("tr[data-run='0/1']")  # a run in training, its epoch and its figure
    long.filter(has_text=f"of {LONG}").filter(has_text="val_accuracy 0.").wait_for()
    seen.fill("#search", "max_epochs")
    seen.locator("#table tbody tr", has_text="max_epochs=1").wait_for()  # ended, and in the report
    long.get_by_role("button", name="Log").click()
    seen.locator("#watched-log h2", has_text="Log of run 1").wait_for()
    with (folder / "1" / "lcomp.log").open("a") as log:
        log.write("<b>a line</b> of the log\n")
    seen.locator("#watched-log pre", has_text="<b>a line</b> of the log").wait_for()
    assert seen.locator("#watched-log b").count() == 0

    asked = []
    seen.on(
        "dialog", lambda dialog: (asked.append(dialog.message), dialog.accept() if len(asked) > 1 else dialog.dismiss())
    )
    long.get_by_role("button", name="Stop").click()
    assert asked[0].startswith("End run 1 (") and not (folder / "1" / live_run.STOP).exists()
    long.get_by_role("button", name="Stop").click()
    seen.locator("#runs").scroll_into_view_if_needed()  # what nobody sees is not drawn
    seen.locator("#table tbody tr", has_text="pruned: stopped by the user in epoch").wait_for()
    seen.locator("#table tbody tr", has_text="max_epochs=2").wait_for()
    seen.locator("#watched .sweep", has_text="3 of 3 runs ended (2 ok, 1 stopped)").wait_for()
    assert seen.evaluate("window.opened") == "once" and seen.input_value("#search") == "max_epochs"
    out, err = sweep.communicate(timeout=SECONDS)
    assert sweep.returncode == 0, err
    result = read_result(folder / "1" / "result.json")
    assert result.status == "pruned" and result.error.startswith(live_run.STOPPED) and result.epochs["val_accuracy"]
    assert "stopped by the user in epoch" in out
    assert not [name for name in (live_run.STOP, live_run.PROGRESS) if [*folder.glob(f"*/{name}")]]

    process.send_signal(signal.SIGINT)
    assert process.wait(SECONDS) == 0 and process.stderr.read() == ""
    seen.locator("#watched-trouble", has_text="does not answer since").wait_for()
    seen.close()
    own = [said for said in complaints if "ERR_CONNECTION" not in said]  # of the server that has ended
    assert own == []
    again = lcomp_in(tmp_path)("-m", "prune=scheduled", points, "launcher.workers=2", "resume=last")
    assert again.returncode == 0 and "3 of 3 runs are finished" in again.stdout


def test_a_trial_of_a_search_that_is_stopped_is_given_up_and_counts(lcomp_in, tmp_path):
    command = ["-m", "sweeper=optuna", "prune.sparsity=interval(0.2,0.8)", f"trainer.max_epochs={LONG}", "n_trials=1"]
    search = lcomp_in(tmp_path, wait=False)(*command, "launcher.workers=1")
    [told] = wait_until(lambda: [*tmp_path.glob(f"multirun/*/0/{live_run.PROGRESS}")])
    assert json.loads((told.parents[1] / "sweep.json").read_text())["total"] == 1
    live_run.request_stop(told.parent)
    out, err = search.communicate(timeout=SECONDS)
    assert search.returncode == 0, err
    assert read_result(told.parent / "result.json").status == "pruned" and "stopped by the user" in out
    again = lcomp_in(tmp_path)(*command, "launcher.workers=1", "resume=last")
    assert again.returncode == 0 and "1 of 1 trials are finished" in again.stdout
    assert not os.path.exists(told.parents[1] / "1")
