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
    """A sweep that fills every section of the page."""
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


CONTRASTS = """() => {
  const parts = (text) => {
    const made = document.createElement('canvas').getContext('2d');
    made.fillStyle = text;
    made.fillRect(0, 0, 1, 1);
    return [...made.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const linear = (one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const contrast = (one, other) => {
    const [dark, bright] = [luminance(parts(one)), luminance(parts(other))].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  };
  const ground = getComputedStyle(document.body).backgroundColor;
  const seen = (selector) => [...document.querySelectorAll(selector)].filter((one) => one.checkVisibility());
  const texts = seen('.main-svg text').filter((one) => one.textContent.trim())
    .map((one) => [one.textContent, getComputedStyle(one).fill]).filter(([, fill]) => !/, 0\\)$/.test(fill));
  const over = (one) => parts(one).map((part, index) => 0.85 * part + 0.15 * parts(ground)[index]); // a mark's opacity
  const marks = [...Array(SERIES).keys()].map((index) => `rgb(${over(series(index))})`);
  const ramps = [0, 0.25, 0.5, 0.75, 1].map(ramp);
  return {
    texts: texts.length,
    grey: texts.filter(([, fill]) => contrast(fill, ground) < 4.5),
    cells: ['low', 'high', 'less', 'even', 'more'].filter((name) => contrast(colour('ink'), colour(name)) < 4.5),
    marks: [...marks, ...ramps].filter((one) => contrast(one, ground) < 3),
    papers: seen('.js-plotly-plot').map((one) => contrast(one._fullLayout.paper_bgcolor, ground)),
  };
}"""
FONTS = """() => [...document.querySelectorAll('body *')].filter((one) => one.checkVisibility()
    && [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())
    && !['SCRIPT', 'STYLE'].includes(one.tagName) && getComputedStyle(one).fill !== 'rgba(0, 0, 0, 0)')
  .map((one) => [parseFloat(getComputedStyle(one).fontSize), one.textContent.trim().slice(0, 40)])"""
COVERED = """() => [...document.querySelectorAll('button, select, input, a')].filter((one) => {
  if (!one.checkVisibility() || one.id === 'skip') return false;
  one.scrollIntoView({ block: 'center', inline: 'center' });
  const box = one.getBoundingClientRect();
  const top = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
  return !(top && (one.contains(top) || top.contains(one)));
}).map((one) => one.textContent || one.ariaLabel || one.id)"""


def dark(seen):
    seen.emulate_media(color_scheme="dark")
    seen.wait_for_selector(":root[data-scheme=dark]")
    seen.evaluate("drawEverything()")


def printed(seen):
    seen.emulate_media(media="print")
    seen.wait_for_selector(":root[data-printing]")


def focused(seen):
    return seen.evaluate("[document.activeElement.id, document.activeElement.textContent]")


def scheme(seen):
    return seen.evaluate("document.documentElement.dataset.scheme")


def test_it_is_dark_where_the_system_is_until_the_reader_says_otherwise(opened):
    seen = opened()
    assert scheme(seen) == "light"
    dark(seen)
    assert seen.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 28)"
    assert seen.evaluate("find('size').layout.paper_bgcolor") == "#12161c"
    seen.get_by_role("button", name="Light page").click()
    assert scheme(seen) == "light" and seen.evaluate("find('size').layout.paper_bgcolor") == "#fff"
    seen.reload()
    assert scheme(seen) == "light" and seen.get_by_role("button", name="Dark page").is_visible()
    seen.get_by_role("button", name="Dark page").click()


def test_it_can_be_dark_where_the_browser_keeps_nothing_of_a_file(opened):
    seen = opened()
    seen.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('refused'); } })"
    )
    seen.reload()
    seen.wait_for_selector("body[data-drawn=true]")
    seen.get_by_role("button", name="Dark page").click()
    assert scheme(seen) == "dark"


@pytest.mark.parametrize("wanted", SCHEMES)
def test_charts_are_read_on_their_ground(opened, wanted):
    seen = opened(1440, whole=True)
    if wanted == "dark":
        dark(seen)
    seen.wait_for_timeout(500)  # the drawing of parallel coordinates
    found = seen.evaluate(CONTRASTS)
    assert found["texts"] > 100 and found["grey"] == found["cells"] == found["marks"] == []
    assert len(found["papers"]) > 10 and set(found["papers"]) == {1}


def test_paper_is_light_and_holds_every_section_within_its_width(opened):
    seen = opened(PAPER)
    dark(seen)
    seen.evaluate("open(0)")
    printed(seen)
    assert scheme(seen) == "light" and seen.evaluate("find('size').layout.paper_bgcolor") == "#fff"
    assert seen.evaluate("document.documentElement.scrollWidth") <= PAPER
    wide = "[...document.querySelectorAll('table, .main-svg, p, h2, pre')].filter(one => one.checkVisibility() &&"
    assert seen.evaluate(f"{wide} one.getBoundingClientRect().right > {PAPER} + 1).map(one => one.textContent)") == []
    for control in ("#filters", "#scheme", "#zoom", "#search", "#cost", "#record", ".save", "#compare-bar"):
        assert not seen.locator(control).first.is_visible(), control
    drawn = seen.evaluate(
        "[...document.querySelectorAll('.chart')].filter(one => one.checkVisibility()).map(one => one.id)"
    )
    assert {"size", "latency", "effect-0", "coordinates", "errors", "perturbations", "curves", "histogram"} <= {*drawn}
    assert seen.locator("#table td.wide").first.is_visible()  # columns that a telephone leaves out
    seen.emulate_media(media="screen")
    seen.wait_for_selector(":root:not([data-printing])")
    assert scheme(seen) == "dark" and seen.locator("#record").is_visible()


def test_a_sheet_is_printed_from_a_wide_window(opened):
    seen = opened(1440)
    pdf = seen.pdf(format="A4")
    assert len(re.findall(rb"/Type /Page\b", pdf)) > 2
    assert seen.evaluate("find('size').clientWidth") > 500  # drawn at the window's width again


def test_points_of_a_chart_are_reached_said_and_opened_from_the_keyboard(opened):
    seen = opened(whole=True)
    seen.locator("#size").focus()
    ring = seen.locator("#size .ring")
    assert "Arrow keys go over its 11 points, Enter opens a record." in seen.locator("#size").get_attribute(
        "aria-label"
    )
    seen.keyboard.press("ArrowRight")
    assert seen.locator("#heard").inner_text().startswith("prune=scheduled prune.sparsity=0.95, validation 89.25 %")
    assert seen.locator("#heard").inner_text().endswith("24.0 KB, seed 0, 1 of 11")
    before = ring.bounding_box()
    seen.keyboard.press("End")
    assert seen.locator("#heard").inner_text().startswith("baseline") and ring.bounding_box()["x"] > before["x"]
    seen.keyboard.press("Home")
    seen.keyboard.press("Enter")
    assert seen.locator("#record h3").inner_text() == "prune=scheduled prune.sparsity=0.95"
    seen.keyboard.press("Escape")
    assert focused(seen)[0] == "size" and ring.bounding_box() == before
    mark = seen.locator("#size .points path").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect()).map(box => [box.x + box.width / 2, box.y + box.height / 2])"
    )
    centre = (before["x"] + before["width"] / 2, before["y"] + before["height"] / 2)
    assert min(abs(x - centre[0]) + abs(y - centre[1]) for x, y in mark) < 2  # the ring is around a point
    seen.evaluate("state.off.add('kd: logit'); changed()")  # the point stays where the chart is drawn anew
    assert ring.is_visible()
    seen.evaluate("state.off.add('prune: scheduled'); changed()")
    assert not ring.is_visible()


def test_every_chart_has_a_name_and_its_points_are_said_with_their_figures(opened):
    seen = opened(whole=True)
    said = {}
    for chart in seen.locator(".chart.js-plotly-plot").all():
        if not chart.is_visible():
            continue
        assert chart.get_attribute("aria-label")
        if chart.get_attribute("role") == "application":
            chart.focus()
            seen.keyboard.press("Home")
            said[chart.get_attribute("id")] = seen.locator("#heard").inner_text()
    assert said["perturbations"].startswith("baseline of lenet5 mnist5k, clean: 95.00 %")
    assert said["curves"].startswith("kd") and "epoch 1: 0.6, 1 of 12" in said["curves"]
    assert "weights at" in said["histogram"] and "errors over" not in said["size"]
    assert len(said) > 6 and "coordinates" not in said  # its ranges are the filters' too


def test_the_keyboard_does_what_a_mouse_does(opened):
    seen = opened(whole=True)
    seen.keyboard.press("Tab")
    assert focused(seen)[0] == "skip"
    seen.keyboard.press("Enter")
    assert focused(seen)[0] == "content" and seen.evaluate("location.hash") != "#content"
    chip = seen.get_by_role("button", name="kd: logit", exact=True)
    chip.press("Space")
    assert chip.get_attribute("aria-pressed") == "false" and "kd: logit" in focused(seen)[1]
    chip.press("Space")
    heading = seen.locator("#table thead button", has_text="gzip KB")
    for order in ("descending", "ascending"):
        heading.press("Enter")
        assert seen.locator("#table th[aria-sort]").get_attribute("aria-sort") == order
        assert focused(seen)[1] == "gzip KB"
    tick = seen.locator("#table .tick").first
    tick.press("Space")
    assert seen.locator("#table .tick").first.is_checked() and seen.locator("#compare-bar").is_visible()
    assert seen.evaluate("document.activeElement.className") == "tick"
    run = seen.locator("#table .open").first
    run.press("Enter")
    for _ in range(6):
        seen.keyboard.press("Tab")
        assert seen.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    seen.evaluate("drawTable()")  # as new runs do
    seen.keyboard.press("Escape")
    seen.wait_for_function("document.activeElement !== document.body")  # the dialog says a moment later that it closed
    assert focused(seen)[1] == run.inner_text()
    outline = seen.evaluate("getComputedStyle(document.activeElement).outline")
    assert "2px" in outline and "none" not in outline


@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing(opened, width):
    seen = opened(width, whole=True)
    for wanted in SCHEMES:
        if wanted == "dark":
            dark(seen)
        seen.evaluate(
            "state.compared = DATA.runs.slice(0, 2).map(nameOf); find('by').value = 'gzip'; drawEditor(); changed()"
        )
        seen.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; }); drawEverything()")
        assert axe(seen) == [], wanted
        seen.evaluate("open(0)")
        assert axe(seen) == [], wanted
        seen.keyboard.press("Escape")


def axe(seen):
    found = Axe().run(seen).response
    assert len(found["passes"]) > 10
    return [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found["violations"]]


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_small_covered_or_wider_than_the_window(opened, width):
    seen = opened(width, whole=True)
    seen.wait_for_timeout(500)  # the drawing of parallel coordinates
    fonts = seen.evaluate(FONTS)
    assert len(fonts) > 200 and [one for one in fonts if one[0] < 11] == []
    assert seen.evaluate("document.documentElement.scrollWidth") <= width
    assert seen.evaluate(COVERED) == []
    seen.evaluate("open(0)")
    [close, head] = [seen.locator(f"#record {one}").bounding_box() for one in (".close", "h3")]
    assert head["x"] + head["width"] <= close["x"] or head["y"] >= close["y"] + close["height"]
