"""Reports of many runs: packed without loss, small for each run, of those that matter where not all are drawn."""

import base64
import gzip
import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from records import record

from lcomp.report import packed_data, page
from lcomp.report.packed_data import columns, compressed
from lcomp.report.parquet import typed
from lcomp.report.ranking import pareto_front, validation_merit
from lcomp.report.runs import load_runs
from lcomp.report.selection import drawn_runs
from lcomp.report.writing import read_records, write_report_files

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


def rows_of(packed):
    """What scripts/unpack.js makes of columns."""
    values = {
        key: iter(column if isinstance(column, list) else rows_of(column)) for key, column in packed["columns"].items()
    }
    return [{key: next(values[key]) for key in packed["shapes"][number]} for number in packed["shape"]]


@settings(suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), max_size=5))
def test_columns_are_the_rows_with_their_keys_in_order(rows):
    found = rows_of(json.loads(json.dumps(columns(rows))))
    assert found == rows and [list(row) for row in found] == [list(row) for row in rows]


def test_what_is_compressed_can_stand_in_a_script():
    text = "</script><!-- ' \\ \u2028 é"
    assert re.fullmatch("[A-Za-z0-9+/=]+", compressed(text))
    assert gzip.decompress(base64.b64decode(compressed(text))).decode() == text and compressed(text) == compressed(text)


def fill(folder, count):
    for number in range(count):
        accuracy, size = 0.5 + (number * 37 % count) / (3 * count), 10_000 + number * 53 % 7919
        record(
            folder / str(number),
            f"prune.sparsity={number}",
            accuracy=accuracy,
            size=size,
            choices={"prune": "scheduled"},
        )


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    fill(folder, 60)
    return folder


def embedded_data(text, kind):
    return re.search(rf'<script id="data" type="application/{kind}">(.*?)</script>', text, re.DOTALL)[1]


def test_a_large_page_holds_what_a_small_one_does_in_fewer_bytes_for_each_run(sweep, monkeypatch):
    runs = load_runs([sweep])
    plain = embedded_data(page.render_page(runs, [], [sweep], sweep), "json")
    monkeypatch.setattr(packed_data, "PACKED_FROM", 1000)
    packed = embedded_data(page.render_page(runs, [], [sweep], sweep), "gzip")
    found = json.loads(gzip.decompress(base64.b64decode(packed)))
    assert found | {"runs": rows_of(found["runs"])} == json.loads(plain)
    of_runs = len(compressed(json.dumps(found["runs"])))
    assert (
        of_runs / len(runs) < 330
    )  # characters: 10,000 runs beside 2.1 MB of scripts and what is not theirs fit in 8 MB


def test_of_too_many_runs_the_fronts_the_best_and_some_of_all_others_are_drawn(sweep):
    runs = load_runs([sweep])
    drawn = drawn_runs(runs, 30)
    assert len(drawn) == 30 and drawn == [run for run in runs if run in set(drawn)]
    assert {run for run in pareto_front(runs, "gzip_bytes") if run in runs} <= set(drawn)
    ordered = sorted(runs, key=lambda run: -validation_merit(run.result.metrics.get, run))
    assert set(ordered[:10]) <= set(drawn)
    worse = [ordered.index(run) for run in drawn if ordered.index(run) >= 30]
    assert max(worse) >= 55 and max(b - a for a, b in zip(sorted(worse), sorted(worse)[1:], strict=False)) <= 5
    assert drawn_runs(runs, 60) == runs


def test_what_is_not_drawn_is_said_and_stands_in_the_tables(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr("lcomp.report.writing.drawn_runs", lambda runs: drawn_runs(runs, 20))
    path = write_report_files(read_records([sweep]), tmp_path)
    text = path.read_text()
    said = "20 of the 60 runs are drawn: the fronts, the best on validation, and others at even steps; results.csv and "
    assert said in text and said in (tmp_path / "report.md").read_text() and "60 runs (60 ok)" in text
    assert len(json.loads(embedded_data(text, "json"))["runs"]) == 20
    table = parquet.read_table(tmp_path / "results.parquet")
    assert table.num_rows == 60 and len((tmp_path / "results.csv").read_text().splitlines()) == 61
    assert set(map(str, table.schema.types)) <= {"int64", "double", "string", "null"}
    [first] = [row for row in table.to_pylist() if row["metrics.gzip_bytes"] == 10_000]
    assert first["choices.prune"] == "scheduled" and first["status"] == "ok" and isinstance(first["seed"], int)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, None, 2], [1, None, 2]),
        ([1, 2.5, None], [1.0, 2.5, None]),
        ([True, None], [True, None]),
        ([True, 1], ["true", "1"]),
        (["a", ["b", "c"], 3], ["a", '["b", "c"]', "3"]),
        ([None, None], [None, None]),
        ([1, 2**70], ["1", str(2**70)]),
        (["a\udcff"], ["a\\udcff"]),
    ],
)
def test_a_column_has_one_type(values, expected):
    found = typed(values)
    assert found == expected and list(map(type, found)) == list(map(type, expected))


@pytest.mark.slow  # in a browser
def test_a_packed_page_draws_what_a_plain_one_does(sweep, opened, tmp_path, monkeypatch):
    records = read_records([sweep])
    seen = {}
    for name, least in (("plain", 10**9), ("packed", 1000)):
        monkeypatch.setattr(packed_data, "PACKED_FROM", least)
        drawn = opened(path=write_report_files(records, tmp_path / name), whole=True)
        seen[name] = drawn.evaluate(
            "[DATA.runs.map((run) => ({ ...run, record: 0, artifact: 0 })), find('table').innerText]"
        )
    assert seen["packed"] == seen["plain"] and len(seen["plain"][0]) == 60
