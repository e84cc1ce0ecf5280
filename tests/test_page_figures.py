"""The page's figures are those of the records, whatever few runs there are, in a real browser."""

import pytest
from records import record

from lcomp.report.ranking import pareto_front
from lcomp.report.runs import load_runs
from lcomp.report.writing import read_records, write_report_files

pytestmark = pytest.mark.slow  # a browser for each
QAT, PRUNE = {"quant": "qat"}, {"prune": "scheduled"}
VISIBLE = "[...document.querySelectorAll('.js-plotly-plot')].filter(one => one.checkVisibility()).map(one => one.id)"


def timed(folder, own, base, *overrides, **more):
    """A run whose artifact took `own` microseconds beside its baseline's `base`."""
    made = record(folder, *overrides, **more)
    made.metrics |= {"latency_us_p50": own, "latency_ratio": own / base}
    made.baseline |= {"latency_us_p50": base, "latency_ratio": 1.0}
    made.write(folder)
    return made


def drawn(seen, chart, name):
    """Of all traces of that name, the points."""
    return seen.evaluate(
        f"find('{chart}').data.filter(t => t.name === '{name}').map(t => t.x.map((x, i) => [x, t.y[i]]))"
    )


@pytest.fixture
def opens(opened, tmp_path):
    def call(width=1280):
        place = tmp_path / "sweep"
        return opened(width, path=write_report_files(read_records([place]), place), whole=True)

    return call


def test_latencies_are_drawn_over_the_own_baseline_s_of_the_same_moment(opens, tmp_path):
    timed(tmp_path / "sweep" / "0", 28.1, 14.26, "quant.bits=4", choices=QAT, accuracy=0.9)
    timed(tmp_path / "sweep" / "1", 45.9, 27.0, "quant.bits=8", choices=QAT, accuracy=0.91)
    seen = opens()
    [points] = drawn(seen, "latency", "quant: qat")
    assert [x for x, _ in points] == pytest.approx([28.1 / 14.26, 1.7])
    assert drawn(seen, "latency", "baseline") == [[[1, pytest.approx(94)]]]
    said = seen.evaluate("find('latency').data.find(t => t.name === 'quant: qat').text")
    assert "1.97x its baseline's latency: 28.1 beside 14.3 µs" in said[0]
    assert "1.70x its baseline's latency: 45.9 beside 27.0 µs" in said[1]
    table = seen.locator("#table").inner_text()
    assert "28.1 (14.3)" in table and "45.9 (27.0)" in table
    for bits, own in (("4", "14.26"), ("8", "27")):
        seen.locator("#table tbody tr", has_text=f"quant.bits={bits}").click()
        row = seen.locator("dialog[open] tr", has_text="latency_us_p50").inner_text().split()
        assert row[2] == own
        seen.get_by_role("button", name="Close").click()


def test_the_baseline_belongs_to_the_front_and_takes_from_it_what_it_beats(opens, tmp_path):
    timed(tmp_path / "sweep" / "0", 20.0, 10.0, "x=1", choices=QAT, accuracy=0.9, size=20_000)
    timed(tmp_path / "sweep" / "1", 20.0, 20.0, "x=2", choices=PRUNE, accuracy=0.92, size=170_000)
    seen = opens()
    assert drawn(seen, "size", "front") == [[[20, pytest.approx(89)], [165, pytest.approx(94)]]]
    assert drawn(seen, "latency", "front") == [[[1, pytest.approx(94)]]]
    rows = seen.locator("#front tbody tr").all_inner_texts()
    assert len(rows) == 2 and "baseline of lenet5 mnist5k seed=0" in rows[1]
    seen.locator("#front tbody tr").nth(1).click()
    assert "The baseline of" in seen.locator("dialog[open] h3").inner_text()
    runs = load_runs([tmp_path / "sweep"])
    assert [run.label for run in pareto_front(runs, "gzip_bytes")] == ["x=1", "baseline of lenet5 mnist5k"]


def test_latencies_over_different_kinds_of_baseline_share_no_front(opens, tmp_path):
    timed(tmp_path / "sweep" / "0", 50.0, 100.0, "model=resnet18", choices=QAT, accuracy=0.96, baseline=0.98)
    timed(tmp_path / "sweep" / "1", 18.0, 20.0, "model=lenet5", choices=QAT, accuracy=0.9, baseline=0.92)
    fronts = drawn(opens(), "latency", "front")
    assert sorted(fronts) == [[[0.5, pytest.approx(95)], [1, pytest.approx(97)]], [[0.9, 89], [1, pytest.approx(91)]]]


@pytest.mark.parametrize("accuracy", [0.95, 0.9, 0.3, 0.01, 1.0])
def test_one_run_is_shown_beside_its_baseline_on_axes_that_hold_both(opens, tmp_path, accuracy):
    timed(tmp_path / "sweep" / "0", 12.0, 20.0, "quant=qat", choices=QAT, accuracy=accuracy)
    seen = opens()
    assert "1 run (1 ok)" in seen.locator("header").inner_text()
    for chart in ("size", "latency"):
        layout = seen.evaluate(f"find('{chart}').layout")
        low, high = layout["yaxis"]["range"]
        values = [y for name in ("quant: qat", "baseline") for _, y in drawn(seen, chart, name)[0]]
        assert (
            0 <= low <= min(values) and max(values) <= high <= 100 and high - low < 3 * (max(values) - min(values) + 2)
        )
        costs = [x for name in ("quant: qat", "baseline") for x, _ in drawn(seen, chart, name)[0]]
        if layout["xaxis"].get("type") != "log":
            assert layout["xaxis"]["range"][0] < min(costs) and max(costs) < layout["xaxis"]["range"][1]
    assert sorted(seen.evaluate(VISIBLE)) == ["latency", "size"]
    assert not seen.locator("#effects").is_visible() and not seen.locator("#parallel").is_visible()


def test_equal_figures_stand_in_the_middle_of_their_axes(opens, tmp_path):
    for number in range(3):
        place = tmp_path / "sweep" / str(number)
        params = {"quant.bits": 2 + number}
        timed(
            place, 20.0, 20.0, f"quant.bits={2 + number}", choices=QAT, accuracy=0.95, size=165_000, params=params,
            epochs={"val_accuracy": [0.5]},
        )  # fmt: skip
    seen = opens()
    for chart, value in (("size", 94), ("latency", 94), ("effect-0", 94), ("curves", 0.5)):
        low, high = seen.evaluate(f"find('{chart}').layout.yaxis.range")
        assert low < value < high and high - low < 0.1 * value, chart


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("status", ["failed", "pruned", "nan"])
def test_without_a_finished_run_a_sentence_takes_the_place_of_axes(opens, tmp_path, status, width):
    for bits in (2, 4):  # a parameter that differs among runs that have no figures
        params, place = {"quant.bits": bits}, tmp_path / "sweep" / str(bits)
        record(place, f"quant.bits={bits}", status=status, error="why", choices=QAT, params=params)
    seen = opens(width)
    assert seen.evaluate(VISIBLE) == []
    assert "No run was finished" in seen.locator("#trade-off").inner_text()
    assert not seen.locator("#effects").is_visible()
    assert seen.locator("#table tbody tr").count() == 2
    written = (tmp_path / "sweep" / "report.md").read_text()
    assert "![" not in written and "NaN" not in written and written.count("why") == 2
    assert seen.evaluate("document.documentElement.scrollWidth") <= width


def test_a_filter_that_leaves_nothing_says_so(opens, tmp_path):
    record(tmp_path / "sweep" / "0", "quant=qat", choices=QAT)
    seen = opens()
    seen.get_by_role("button", name="quant: qat", exact=True).click()
    seen.evaluate("drawEverything()")
    assert seen.evaluate(VISIBLE) == [] and "No run" in seen.locator("#trade-off").inner_text()
    seen.get_by_role("button", name="quant: qat", exact=True).click()
    assert seen.evaluate(VISIBLE) == ["size", "latency"] and "No run" not in seen.locator("#trade-off").inner_text()


def test_whole_numbers_keep_all_their_digits(opens, tmp_path):
    record(tmp_path / "sweep" / "0", "quant=qat", choices=QAT, size=44_812_347)
    seen = opens()
    seen.locator("#table tbody tr").click()
    assert "44812347" in seen.locator("dialog[open]").inner_text()
