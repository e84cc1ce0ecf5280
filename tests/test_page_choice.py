"""The page helps to choose a run: it recommends, filters, compares, keeps all of it in its address, and saves."""

import base64
import csv
import io
import json
from urllib.parse import unquote

import numpy as np
import pytest
from records import record
from test_page import OVERLAPS, SMALLEST

from lcomp.report import page
from lcomp.report.runs import load_runs

pytestmark = pytest.mark.slow  # in a browser
KD, PRUNE, QAT = {"kd": "logit"}, {"prune": "scheduled"}, {"quant": "qat"}
BOTH = PRUNE | QAT
EVIL = 'model.name=<b>a","b</b>'
PLACE = "document.getElementById"


def made(folder, number, accuracy, size, choices, *asked, ratio=0.6, epochs=(0.5, 0.8), **settings):
    """A run whose validation accuracy is a point below `accuracy`; its baseline has 94 % there."""
    params = settings.pop("params", {})
    extra = {"latency_ratio": ratio, "packed_bytes": size - number * 500} | settings.pop("extra", {})
    return record(
        folder / str(number), *asked, accuracy=accuracy, size=size, choices=choices, params=params, extra=extra,
        of_baseline={"latency_ratio": 1.0, "packed_bytes": 150_000}, epochs={"val_accuracy": list(epochs)}, **settings,
    )  # fmt: skip


def fill(folder):
    """A front from 50 to 94.5 %, a fast run that is not small, one that only test examples would choose, one failed."""
    sparse = {"prune.sparsity": 0.5, "prune.schedule": "cubic"}
    made(folder, 0, 0.955, 100_000, PRUNE, "prune=scheduled", "seed=1", params=sparse, seed=1)
    made(folder, 1, 0.948, 30_000, PRUNE, "prune=scheduled", params=sparse | {"prune.sparsity": 0.8}, epochs=(0.2, 0.9))
    made(folder, 2, 0.946, 60_000, QAT, "quant=qat", "quant.bits=8", params={"quant.bits": 8}, ratio=0.3)
    made(
        folder, 3, 0.935, 10_000, BOTH, "prune=scheduled", "quant=qat", "quant.bits=4", EVIL,
        params={"prune.sparsity": 0.9, "prune.schedule": "linear", "quant.bits": 4}, extra={"flash_bytes": 12_000},
    )  # fmt: skip
    made(folder, 4, 0.86, 5_000, BOTH, "prune=scheduled", "quant=qat", params={"prune.sparsity": 0.98, "quant.bits": 2})
    made(folder, 5, 0.99, 4_000, KD, "kd=logit", params={"kd.temperature": 1 / 3}, extra={"val_accuracy": 0.5})
    record(folder / "6", "kd=logit", "x=1", status="failed", error="why", choices=KD, params={"kd.temperature": 9})


def written(place, folders=None):
    runs = load_runs(folders or [place])
    (place / "report.html").write_text(page.render_page(runs, [], [place], place))
    return place / "report.html"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("choice") / "sweep"
    fill(place)
    written(place)
    return place


def cards(seen):
    """Of each answer's letters, what its card says."""
    return {card.split(" ")[0]: card for card in seen.locator("#cards article").all_inner_texts()}


def labels(seen):
    """The folders of the table's runs, in its order."""
    return seen.evaluate("matching().map(nameOf)")


def chips(seen):
    return [text.removesuffix("×").strip() for text in seen.locator("#active .chip").all_inner_texts()]


def marks(seen, chart):
    return seen.evaluate(
        f"{PLACE}('{chart}').data.filter(t => t.name === 'recommended').flatMap(t => t.text.map((s, i) => [s, t.x[i]]))"
    )


def test_it_recommends_on_validation_within_the_reader_s_tolerance(opened):
    seen = opened()
    found = cards(seen)
    assert "prune.sparsity" not in found["S"] and "93.80 % (−0.20)" in found["S"] and "94.80 %" in found["S"]
    assert "93.60 %" in found["F"] and "quant.bits=8" in found["F"] and "0.30x" in found["F"]
    assert "85.00 %" in found["K"]  # of the front 50, 85, 92.5, 93.8, 94.5 against the logarithm of the size
    assert not any("99.00" in text for text in found.values())  # right on test examples alone
    assert "python -m lcomp prune=scheduled" in found["S"]
    assert seen.locator("#cards article").first.get_by_role("link", name="artifact").get_attribute("href") == (
        "1/artifact.onnx"
    )
    assert sorted(marks(seen, "size")) == [["F", 60], ["K", 5], ["S", 30]]
    assert ["F", 0.3] in marks(seen, "latency")
    seen.locator("#tolerance").fill("2")
    assert "92.50 %" in cards(seen)["S"] and ["S", 10] in marks(seen, "size")
    seen.locator("#tolerance").fill("9")
    assert ["SK", 5] in marks(seen, "size") and len(cards(seen)) == 2  # one run, one card
    seen.locator("#tolerance").fill("0.1")
    seen.locator("#active").wait_for(state="hidden")
    seen.get_by_role("button", name="prune: scheduled", exact=True).click()
    assert "Nothing is within the tolerance" in seen.locator("#nothing-within").inner_text()
    assert "None of the runs shown" in cards(seen)["S"]


def test_parameters_are_columns_to_sort_and_to_filter_by(opened):
    seen = opened()
    seen.evaluate("drawEverything()")
    heads = seen.locator("#table thead th").all_inner_texts()
    assert {"prune.sparsity", "prune.schedule", "quant.bits", "kd.temperature", "prune", "model.name"} <= set(heads)
    assert "packed KB" not in heads and "seed" in heads and "trial" not in heads
    assert "test accuracy" not in seen.evaluate("[...FIELDS.values()].map((field) => field.title)")
    seen.locator("#table thead button", has_text="prune.sparsity").click()
    assert labels(seen)[:4] == ["4", "3", "1", "0"]
    seen.locator("#columns summary").click()
    seen.get_by_role("checkbox", name="packed KB").check()
    seen.get_by_role("checkbox", name="prune.schedule").uncheck()
    heads = seen.locator("#table thead th").all_inner_texts()
    assert "packed KB" in heads and "prune.schedule" not in heads
    seen.get_by_label("Filter by").select_option("prune.sparsity")
    seen.get_by_label("prune.sparsity from").fill("0.8")
    seen.get_by_label("prune.sparsity to").fill("0.9")
    assert labels(seen) == ["3", "1"]
    seen.evaluate("drawEverything()")
    assert seen.evaluate(f"{PLACE}('size').data.filter(t => t.name.startsWith('prune')).flatMap(t => t.x)") == [30, 10]
    seen.get_by_label("Filter by").select_option("prune.schedule")
    seen.locator("#editor").get_by_label("linear (1)").uncheck()
    assert labels(seen) == ["1"]
    assert chips(seen) == ["prune.sparsity: 0.8 to 0.9", "prune.schedule: cubic, none"]
    seen.locator("#active .chip").first.click()
    assert sorted(labels(seen)) == ["0", "1", "2", "4", "5", "6"]
    seen.get_by_role("button", name="Clear all").click()
    assert len(labels(seen)) == 7 and not seen.locator("#active").is_visible()


def test_colours_follow_any_parameter(opened):
    seen = opened()
    seen.get_by_label("Colour by").select_option("prune.sparsity")
    runs = f"{PLACE}('size').data.filter(t => Array.isArray(t.marker?.color))"
    found = dict(seen.evaluate(f"{runs}.flatMap(t => t.customdata.map((id, i) => [String(id), t.marker.color[i]]))"))
    assert found["0"] == "rgb(68, 1, 84)" and found["4"] == "rgb(42, 157, 128)" and found["2"] == "#7f8997"
    assert seen.locator("#legend").inner_text().split() == ["0.5", "0.98"]
    seen.get_by_label("Colour by").select_option("prune.schedule")
    assert seen.locator("#legend").inner_text().split() == ["none", "cubic", "linear"]


def test_a_box_in_a_chart_keeps_its_runs_everywhere(opened):
    seen = opened(whole=True)
    seen.locator("#size").evaluate("(one) => one.scrollIntoView({block: 'center'})")
    chart = seen.locator("#size .nsewdrag").bounding_box()
    axes = f"const {{xaxis: x, yaxis: y}} = {PLACE}('size')._fullLayout"
    spot = seen.evaluate(f"(() => {{ {axes}; return [x.d2p(20), x.d2p(80), y.d2p(93), y.d2p(94)] }})()")
    seen.mouse.move(chart["x"] + spot[0], chart["y"] + spot[2])
    seen.mouse.down()
    seen.mouse.move(chart["x"] + spot[1], chart["y"] + spot[3], steps=4)
    seen.mouse.up()
    seen.locator("#active .chip").first.wait_for(timeout=5000)
    assert sorted(labels(seen)) == ["1", "2"]
    kept = chips(seen)
    assert len(kept) == 2 and kept[0].startswith("gzip KB: ") and kept[1].startswith("val %: 9")
    assert "2 of 2 compressed runs" in seen.locator("#answer-note").inner_text()
    seen.get_by_role("button", name="Clear all").click()
    brush = "Plotly.restyle('coordinates', {'dimensions[0].constraintrange': [[0.75, 0.92]]}, [0])"
    seen.evaluate("drawEverything()")
    seen.evaluate(brush)
    assert sorted(labels(seen)) == ["1", "3"]
    seen.evaluate("drawEverything()")
    lines = seen.evaluate(f"{PLACE}('coordinates').data[0].dimensions[0]")
    assert len(lines["values"]) == 6 and lines["constraintrange"] == pytest.approx([0.75, 0.92], abs=0.01)
    seen.get_by_role("button", name="Clear all").click()
    box = "{range: {x: [0.9, 1.1], y: [0.1, 0.3]}}"
    seen.evaluate(f"{PLACE}('curves').emit('plotly_selected', {box})")
    assert labels(seen) == ["1"]


def test_runs_stand_side_by_side_with_what_differs_first(opened, folder):
    seen = opened(whole=True)
    for number in ("1", "2"):
        seen.evaluate(
            f"[...document.querySelectorAll('input.tick')][matching().map(nameOf).indexOf('{number}')].click()"
        )
    assert seen.locator("#compare-count").inner_text() == "2 runs ticked"
    tables = seen.locator("#sides table")
    differ, figures = tables.nth(0).inner_text(), tables.nth(1).inner_text()
    assert "parameters\t" not in figures and "parameters11042" in tables.nth(2).text_content()
    assert "prune.sparsity\t0.8\t" in differ and "quant.bits\t\t8" in differ and "seed" not in differ
    assert (
        "93.60 (−0.20)" in figures and "test_accuracy\t94.80\t94.60 (−0.20)" in figures and "60000 (+30000)" in figures
    )
    [line] = [line for line in figures.splitlines() if line.startswith("right on test")]
    assert "−0.50 (" in line or "0.00 (" in line
    assert seen.evaluate("pairedDifference(DATA.runs[4], DATA.runs[0]).high") < 0
    assert not tables.nth(2).is_visible() and "seed" in tables.nth(2).text_content()
    seen.locator("#compare-clear").click()
    assert not seen.locator("#comparison").is_visible() and seen.locator("input.tick:checked").count() == 0


def test_intervals_are_those_of_agresti_and_min(opened):
    gained, lost, n = 12, 5, 200
    more, less, total = gained + 0.5, lost + 0.5, n + 2
    centre, half = (more - less) / total, 1.959964 * (more + less - (more - less) ** 2 / total) ** 0.5 / total
    at = np.arange(n)
    first, second = (
        {"right": {"of": "a", "n": n, "bits": base64.b64encode(np.packbits(right).tobytes()).decode()}}
        for right in (at < gained, (at >= 100) & (at < 100 + lost))
    )
    found = opened().evaluate("([first, second]) => pairedDifference(first, second)", [first, second])
    assert found == pytest.approx({"mean": 7 / 200, "low": centre - half, "high": centre + half})


def test_the_address_holds_the_view_and_nonsense_is_left_out(opened, folder):
    seen = opened(whole=True)
    seen.get_by_label("Filter by").select_option("prune.sparsity")
    seen.get_by_label("prune.sparsity from").fill("0.8")
    seen.get_by_label("Accuracy of").select_option("test accuracy")
    seen.get_by_label("Colour by").select_option("quant.bits")
    seen.locator("#cost").select_option("packed_bytes")
    seen.locator("#tolerance").fill("3")
    seen.evaluate("drawEverything()")
    seen.locator("#columns summary").click()
    seen.get_by_role("checkbox", name="packed KB").check()
    seen.locator("#table thead button", has_text="gzip KB").click()
    seen.locator("input.tick").first.check()
    seen.get_by_role("searchbox").fill("qat")
    kept = "JSON.stringify([state, [...state.ranges], [...state.off], [...state.words]])"
    before, address = seen.evaluate(kept), seen.url.partition("#")[2]
    assert "range=key.prune.sparsity" in unquote(address)
    seen.reload()
    seen.evaluate("drawEverything()")
    assert seen.evaluate(kept) == before and seen.locator("#tolerance").input_value() == "3"
    assert len(seen.locator("#table tbody tr").all()) == 2
    for nonsense in (
        "#%%%&range=a|b|c&only=[1,2&curve={}&compare=../..&sort=__proto__&columns=|",
        "#range=val&tolerance=-1&cost=a",
    ):
        seen.evaluate(f"location.hash = {json.dumps(nonsense)}")
        seen.wait_for_function("state.tolerance === 0.5 && !state.ranges.size && state.cost === 'gzip'")
    assert len(labels(seen)) == 7


def test_charts_and_the_table_can_be_saved(opened, folder):
    seen = opened(whole=True)
    seen.get_by_label("Filter by").select_option("prune.schedule")
    seen.locator("#editor").get_by_label("cubic (2)").uncheck()
    with seen.expect_download() as waiting:
        seen.get_by_role("button", name="Save as CSV").click()
    text = waiting.value.path().read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert sorted(row["folder"] for row in rows) == ["2", "3", "4", "5", "6"]
    by_folder = {row["folder"]: row for row in rows}
    assert by_folder["5"]["kd.temperature"] == repr(1 / 3) and by_folder["3"]["model.name"] == EVIL.partition("=")[2]
    assert by_folder["3"]["flash_bytes"] == "12000" and by_folder["6"]["error"] == "why"
    for form, start in (("PNG", b"\x89PNG"), ("SVG", b"<svg")):
        with seen.expect_download() as waiting:
            seen.locator(".plot", has=seen.locator("#size")).get_by_role("button", name=form).click()
        assert waiting.value.path().read_bytes().startswith(start), form


def test_new_data_keep_what_the_reader_chose(opened, folder, tmp_path):
    more = tmp_path / "sweep"
    fill(more)
    made(more, 7, 0.948, 20_000, QAT, "quant=qat", "quant.bits=6", params={"quant.bits": 6})
    seen = opened(whole=True)
    seen.get_by_role("button", name="kd: logit").click()
    seen.locator("#table thead button", has_text="gzip KB").click()
    seen.locator("input.tick").nth(1).check()
    seen.get_by_role("searchbox").fill("seed")
    seen.get_by_role("searchbox").fill("")
    seen.evaluate("find('runs').scrollIntoView()")
    seen.wait_for_function("near.has('runs') && !stale.has('runs')")
    seen.locator("#table thead button", has_text="gzip KB").evaluate("(one) => one.focus({preventScroll: true})")
    before = seen.evaluate("[window.scrollY, state.sort, [...state.off], state.compared]")
    data = page.rounded(page.report_data(load_runs([more]), [more], more))
    seen.evaluate("(data) => window.lcomp.update(data)", data)
    assert seen.evaluate("[window.scrollY, state.sort, [...state.off], state.compared]") == before
    assert seen.evaluate("document.activeElement.textContent") == "gzip KB"
    assert "7" in labels(seen) and "5" not in labels(seen) and seen.locator("input.tick:checked").count() == 1
    seen.evaluate("drawEverything()")
    assert ["S", 20] in marks(seen, "size") and "8 runs" in seen.locator("#summary").inner_text()


def test_costs_that_were_measured_are_axes(opened):
    seen = opened()
    options = seen.locator("#cost option").all_inner_texts()
    assert options[:2] == ["size gzip'd, KB", "size packed, KB"] and "flash on the chip, KB" in options
    assert not any("RAM" in option for option in options)
    seen.locator("#cost").select_option("flash_bytes")
    assert seen.evaluate(f"{PLACE}('size').data.filter(t => t.name.startsWith('prune')).flatMap(t => t.x)") == [12]
    seen.locator("#cost").select_option("ratio")
    assert seen.locator("#latency").is_hidden()


def test_a_user_s_own_metric_of_which_less_is_better(opened, tmp_path):
    place = tmp_path / "sweep"
    for number, (error, size) in enumerate([(4.0, 90_000), (5.2, 40_000), (5.3, 9_000), (30.0, 8_000)]):
        one = record(place / str(number), "quant=qat", f"quant.bits={number}", choices=QAT, size=size)
        one.metric = {"name": "angle_error", "higher_is_better": False, "percent": False}
        for metrics, value in ((one.metrics, error), (one.baseline, 5.0)):
            del metrics["val_accuracy"], metrics["test_accuracy"]
            metrics |= {"val_angle_error": value, "test_angle_error": 2 * value}
        one.write(place / str(number))
    seen = opened(path=written(place))
    found = cards(seen)
    assert "quant.bits=1" in found["S"] and "5.2 (+0.2)" in found["S"] and "10.4" in found["S"]
    assert (
        seen.locator("#tolerance").input_value() == "5"
        and "angle error" in seen.locator("#tolerance-unit").inner_text()
    )
    assert "Angle error against size" in seen.locator("#trade-off h2").inner_text()
    seen.locator("#tolerance").fill("6")
    assert "quant.bits=2" in cards(seen)["S"]
    seen.get_by_role("button", name="quant: qat", exact=True).click()
    seen.evaluate("Object.assign(state, {tolerance: 5}); state.off.clear(); filterBy('val', [5.26, 40]); changed()")
    assert "Nothing is within the tolerance" in seen.locator("#nothing-within").inner_text()
    assert "5.25" in seen.locator("#nothing-within").inner_text()


@pytest.mark.parametrize("width", [390, 1024, 1440])
def test_filters_columns_and_a_comparison_can_be_read(opened, width):
    seen = opened(width)
    seen.get_by_label("Filter by").select_option("prune.schedule")
    seen.locator("#editor").get_by_label("linear (1)").uncheck()
    seen.get_by_label("Colour by").select_option("prune.sparsity")
    seen.evaluate("drawEverything()")
    seen.locator("#columns summary").click()
    for number in (0, 1):
        seen.locator("input.tick").nth(number).check()
    seen.evaluate("document.querySelectorAll('details').forEach(one => one.open = true); drawEverything()")
    seen.wait_for_timeout(800)  # the drawing of parallel coordinates
    seen.evaluate("find('compare-bar').style.position = 'static'; find('filters').style.position = 'static'")
    assert seen.evaluate("document.documentElement.scrollWidth") <= width
    found = seen.evaluate(OVERLAPS, SMALLEST)
    assert found["overlaps"] == [] and found["small"] == []
