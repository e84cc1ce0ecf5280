"""What it costs to watch a sweep of so many records that stay as they are: `python benchmarks/watching.py 10000`, in
processor seconds."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from records import record

from lcomp.watch import live_page
from lcomp.watch.live_page import LivePage


def fill(folder: Path, count: int) -> None:
    """Records of a grid of temperatures, with five seeds each."""
    made = record(folder / "0", choices={"kd": "logit"}, epochs={"val_accuracy": [0.5, 0.6, 0.7]})
    for number in range(count):
        made.overrides = ["kd=logit", f"kd.temperature={number // 5}", f"seed={number % 5}"]
        made.seed, made.params = number % 5, {"kd.temperature": number // 5}
        made.write(folder / str(number))
    (folder / "sweep.json").write_text(json.dumps({"plan": {}, "total": count}))


def seconds(what: Callable[[], object]) -> float:
    """Of a processor."""
    begin = time.process_time()
    what()
    return time.process_time() - begin


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "sweep"
        fill(folder, count)
        live_page.INTERVAL = 0.0
        live = LivePage([folder])
        print(f"reading {count} records: {seconds(live.look):.2f} s")
        print(f"the page's data of them: {seconds(lambda: live.state(0)):.2f} s")
        print(f"a question, nothing new: {seconds(lambda: live.state(1)):.3f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]))
