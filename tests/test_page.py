"""The report in a real browser: what it shows, that it asks nothing of any network, that it can be read."""

import json

import numpy as np
import optuna
import pytest
from records import DATA, record

from lcomp.export.onnx_export import export
from lcomp.report import charts
from lcomp.report.ranking import pareto_front
from lcomp.report.runs import load_runs
from lcomp.report.writing import read_records, write_report_files
from lcomp.tasks import ImageClassification

pytestmark = pytest.mark.slow  # in a browser
EVIL = "model.name=<script>window.hacked=1</script><img src=x onerror=window.hacked=1>"
CURVES = {"val_accuracy": [0.6, 0.8], "train_loss": [0.9, 0.4], "seconds": [1.0, 2.0]}
KD, PRUNE, QAT = {"kd": "logit"}, {"prune": "scheduled"}, {"prune": "scheduled", "quant": "qat"}
SMALLEST = 11  # px
SECTIONS = (
    "trade-off", "effects", "parallel", "seeds", "mce", "perturbed", "pies", "runs", "learning", "weights",
)  # fmt: skip
OVERLAPS = """(smallest) => {
  const boxes = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].filter((one) => one.nodeType === 3 && one.textContent.trim());
    const style = getComputedStyle(node);
    if (!own.length || ['SCRIPT', 'STYLE', 'OPTION', 'SELECT'].includes(node.tagName)) continue;
    if (style.visibility === 'hidden' || !node.checkVisibility({opacityProperty: true})) continue;
    if ((style.fill || '').includes('rgba(0, 0, 0, 0)')) continue;
    for (const text of own) {
      const range = document.createRange();
      range.selectNodeContents(text);
      for (const box of range.getClientRects()) {
        const size = parseFloat(style.fontSize);
        if (box.width > 1 && box.height > 1) boxes.push({node, box, text: text.textContent.trim(), size});
      }
    }
  }
  const clipped = (one) => { // what a scrolling table hides is not seen
    const frame = one.node.closest('.scroll');
    return frame && one.box.left >= frame.getBoundingClientRect().right;
  };
  const seen = boxes.filter((one) => !clipped(one));
  const overlaps = [];
  for (let a = 0; a < seen.length; a++) for (let b = a + 1; b < seen.length; b++) {
    if (seen[a].node === seen[b].node) continue;
    const [one, two] = [seen[a].box, seen[b].box];
    const across = Math.min(one.right, two.right) - Math.max(one.left, two.left);
    const down = Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top);
    if (across > 2 && down > 4) overlaps.push([seen[a].text, seen[b].text]);
  }
  return {overlaps, small: seen.filter((one) => one.size < smallest).map((one) => [one.text, one.size])};
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, trained):
    """A sweep with several techniques, seeds, data sets, a failed run, curves, weights and perturbed accuracies."""
    place = tmp_path_factory.mktemp("sweeps") / "sweep"
    extra = {"accuracy/rotation": 0.7, "accuracy/gaussian_noise:5": 0.4}
    robust = {"mce": 1.3, "accuracy/mnist_c/fog": 0.4, "accuracy/mnist_c/fog:1": 0.8, "accuracy/mnist_c/shear": 0.9}
    number = 0
    for temperature in (1, 3, 6):
        for seed in (0, 1):
            asked = ("kd=logit", f"kd.temperature={temperature}", f"seed={seed}")
            params = {"kd.temperature": temperature, "kd.alpha": 0.1}
            accuracy = 0.9 - temperature / 100 + seed / 200
            record(
                place / str(number),
                *asked,
                choices=KD,
                params=params,
                seed=seed,
                accuracy=accuracy,
                epochs=CURVES,
                extra=extra,
            )
            number += 1
    for sparsity in (0.5, 0.8, 0.95):
        asked, params = ("prune=scheduled", f"prune.sparsity={sparsity}"), {"prune.sparsity": sparsity}
        size = int(160_000 * (1.1 - sparsity))
        record(
            place / str(number),
            *asked,
            choices=PRUNE,
            params=params,
            accuracy=0.95 - sparsity / 20,
            size=size,
            extra=extra | robust,
        )
        export(trained, place / str(number) / "artifact.onnx", ImageClassification())
        number += 1
    record(
        place / str(number),
        "prune=scheduled",
        "quant=qat",
        EVIL,
        choices=QAT,
        params={"prune.sparsity": 0.9, "quant.bits": 4},
        accuracy=0.93,
        size=9_000,
    )
    record(
        place / str(number + 1),
        "quant=qat",
        "quant.bits=2",
        status="failed",
        error="UserError: <b>why</b> & so",
        choices={"quant": "qat"},
    )
    lucky = {"val_accuracy": 0.2}  # small and right on test images, which a front must not be chosen by
    record(
        place / str(number + 3), "quant=qat", "quant.bits=3", choices={"quant": "qat"}, accuracy=0.99, size=5_000,
        params={"quant.bits": 3}, extra=lucky,
    )  # fmt: skip
    other = record(
        place / str(number + 2), "kd=logit", "data=mnist", choices=KD | {"data": "mnist"}, accuracy=0.97, baseline=0.98
    )
    other.dataset = DATA | {"name": "mnist", "sha256": "d" * 64}
    other.write(place / str(number + 2))
    export(trained, place / "base-0.95" / "artifact.onnx", ImageClassification())
    write_report_files(read_records([place]), place)
    return place


def points(seen, chart="size"):
    return seen.evaluate(
        f"document.getElementById('{chart}').data.filter(t => t.mode === 'markers').flatMap(t => t.x).length"
    )


def rows(seen):
    seen.evaluate("refresh('runs')")  # what is far from the window waits
    return seen.locator("#table tbody tr").all_inner_texts()


def test_a_filter_changes_points_and_rows(opened):
    seen = opened(whole=True)
    before, table = points(seen), len(rows(seen))
    seen.get_by_role("button", name="kd: logit", exact=True).click()
    assert points(seen) == before - 6 and len(rows(seen)) == table - 6
    seen.get_by_role("button", name="kd: logit", exact=True).click()
    seen.get_by_label("Data set").select_option("mnist")
    assert points(seen) == 2 and len(rows(seen)) == 1  # its run and its baseline


def test_data_sets_are_shown_one_at_a_time(left_alone):
    seen = left_alone
    assert seen.get_by_label("Data set").input_value() == "mnist5k"  # the one with more runs
    assert not any("data=mnist" in row for row in rows(seen))


def test_a_sort_reorders_the_table_and_a_search_finds(opened):
    seen = opened(whole=True)
    column = seen.locator("#table thead button", has_text="gzip KB")
    column.click()
    first = rows(seen)[0]
    column.click()
    assert rows(seen)[0] != first and "9.0" in rows(seen)[0]
    assert seen.locator("#table th[aria-sort=ascending]").inner_text().startswith("gzip KB")
    seen.get_by_role("searchbox").fill("failed WHY")
    [found] = rows(seen)
    assert "UserError: <b>why</b> & so" in found


def test_the_front_is_chosen_on_validation(left_alone, folder):
    line = left_alone.evaluate("document.getElementById('size').data.find(t => t.name === 'front')")
    runs = [run for run in load_runs([folder]) if run.is_ok and run.result.dataset["name"] == "mnist5k"]
    expected = pareto_front(runs, "gzip_bytes")
    assert line["x"] == [run.result.metrics["gzip_bytes"] / 1000 for run in expected]
    assert np.allclose(line["y"], [100 * run.result.metrics["val_accuracy"] for run in expected])


def test_test_images_are_shown_when_asked_for_and_choose_nothing(opened, folder):
    seen = opened(whole=True)
    figure = "[find('size').data.find(t => t.name === 'front'), find('size').layout.yaxis.title.text]"
    chosen, title = seen.evaluate(figure)
    assert title == "validation accuracy, %"
    seen.get_by_label("Accuracy of").select_option("test accuracy")
    drawn, title = seen.evaluate(figure)
    assert title == "test accuracy, %" and drawn["x"] == chosen["x"]
    assert np.allclose(chosen["y"], [20, 92, 94]) and np.allclose(drawn["y"], [99, 93, 95])
    titles = "['effect-0', 'effect-1'].map(id => document.getElementById(id).layout.yaxis.title.text)"
    seen.evaluate("drawEverything()")
    assert seen.evaluate(titles) == ["test accuracy, %"] * 2


@pytest.mark.parametrize("width", [390, 1280])
def test_validation_stands_before_test_in_every_table(opened, width):
    seen = opened(width, whole=True)
    for table in ("#front", "#table", "#seeds table"):
        heads = [head for head in seen.locator(f"{table} thead th:visible").all_inner_texts()]
        names = [head.split(" %")[0] for head in heads if head.split(" %")[0] in ("val", "test")]
        assert names == ["val", "test"], table


def test_a_click_opens_the_record_with_the_command(opened):
    seen = opened(whole=True)
    seen.locator("#table tbody tr", has_text="prune.sparsity=0.95").click()
    dialog = seen.locator("dialog[open]")
    assert "python -m lcomp prune=scheduled prune.sparsity=0.95" in dialog.inner_text()
    assert dialog.get_by_role("link", name="result.json").get_attribute("href") == "8/result.json"
    assert "165000" in dialog.inner_text()  # the baseline's bytes
    dialog.get_by_role("button", name="Close").click()
    seen.evaluate("const c = document.getElementById('size'); c.emit('plotly_click', {points: [{customdata: 0}]})")
    assert "kd.temperature=1" in seen.locator("dialog[open] h3").inner_text()


def test_what_a_configuration_says_stays_text(opened):
    seen = opened(whole=True)
    assert seen.evaluate("window.hacked") is None
    seen.get_by_role("searchbox").fill("<script>")
    assert len(rows(seen)) == 1 and "<script>window.hacked=1</script>" in rows(seen)[0]
    seen.locator("#table tbody tr").click()
    assert "<script>" in seen.locator("dialog[open] h3").inner_text() and seen.evaluate("window.hacked") is None


@pytest.mark.parametrize("width", [1280, 390])
def test_it_can_be_read(opened, width):
    seen = opened(width, whole=True)
    seen.wait_for_timeout(800)  # the drawing of parallel coordinates
    assert seen.evaluate("document.documentElement.scrollWidth") <= width
    found = seen.evaluate(OVERLAPS, SMALLEST)
    assert found["overlaps"] == [] and found["small"] == []
    for section in SECTIONS:
        assert seen.locator(f"#{section}").is_visible(), section


def test_weights_and_curves(opened):
    seen = opened(whole=True)
    seen.get_by_label("Curve").select_option("train_loss")
    assert [0.9, 0.4] in seen.evaluate("document.getElementById('curves').data.map(t => t.y)")
    histogram = seen.evaluate("document.getElementById('histogram').data.map(t => t.y.reduce((a, b) => a + b))")
    assert histogram == [44_190, 44_190]  # LeNet-5's weights without biases


def test_parameters_have_a_line_over_the_means_of_seeds(folder):
    made = charts.page_data(load_runs([folder]), folder)
    [effect] = [one for one in made["effects"] if one["name"] == "kd.temperature"]
    [line] = [one for one in effect["lines"] if len(one["x"]) == 3 and one["joined"]]
    assert line["x"] == [1, 3, 6] and line["n"] == [2, 2, 2] and line["mean"]["test"][0] == pytest.approx(0.8925)
    assert line["mean"]["val"][0] == pytest.approx(0.8825)
    [group] = [one for one in made["groups"] if "temperature=1" in one["label"]]
    assert group["n"] == 2 and group["low"] < group["difference"] < group["high"] < 0


def test_a_thousand_runs_stay_small(tmp_path):
    made = record(tmp_path / "made" / "0", choices={"quant": "qat"}, epochs=CURVES)
    for number in range(1000):
        bits = 2 + number % 7
        made.overrides, made.seed = ["quant=qat", f"quant.bits={bits}", f"seed={number}"], number
        made.params = {"quant.bits": bits}
        made.write(tmp_path / "s" / str(number))
    path = write_report_files(read_records([tmp_path / "s"]), tmp_path / "s")
    assert path.stat().st_size < 8_000_000
    assert (
        len(json.loads((path.read_text().split('type="application/json">')[1]).split("</script>")[0])["runs"]) == 1000
    )


def test_an_empty_folder_of_failures_still_makes_a_page(opened, tmp_path):
    record(tmp_path / "s" / "0", "quant=qat", status="failed", error="why", choices={"quant": "qat"})
    path = write_report_files(read_records([tmp_path / "s"]), tmp_path / "s")
    assert "1 failed" in path.read_text() and len(rows(opened(path=path, whole=True))) == 1


def test_the_trade_off_says_what_each_point_is(left_alone):
    seen = left_alone
    traces = {trace["name"]: trace for trace in seen.evaluate("document.getElementById('size').data")}
    assert seen.evaluate("document.getElementById('size').layout.xaxis.type") == "log"
    assert traces["baseline"]["marker"]["symbol"] == "diamond" and traces["baseline"]["x"] == [165.0]
    assert any(
        "kd.temperature=3" in text and "validation 86.50 %, test 87.50 %" in text
        for text in traces["kd: logit"]["text"]
    )
    assert points(seen, "latency") == points(seen, "size")


def test_parallel_coordinates_and_perturbed_accuracies_hold_the_figures(left_alone):
    seen = left_alone
    [lines] = seen.evaluate("document.getElementById('coordinates').data")
    axes = {axis["label"]: axis["values"] for axis in lines["dimensions"]}
    assert {"sparsity", "bits", "temperature", "gzip'd KB", "val %"} <= set(axes)
    assert sorted(set(axes["temperature"]))[1:] == [1, 3, 6]  # the lowest stands for runs without one
    seen.get_by_label("Examples").select_option("perturbed as asked for")
    [heat] = seen.evaluate("document.getElementById('perturbations').data")
    assert heat["x"] == ["clean", "rotation", "gaussian noise:5", "mean"]
    assert [row[1:] for row in heat["z"]] == [[70, 40, 55]] * 7  # the baseline, three temperatures, three sparsities


def test_the_paper_s_tables_and_a_study_s_charts_are_in_the_page(opened, tmp_path):
    versions = dict.fromkeys(("python", "torch", "onnxruntime", "lcomp"), "1")
    made = record(tmp_path / "s" / "0", "experiment=paper_kd_t1", choices=KD, name="paper_kd_t1")
    made.environment |= {"versions": versions}
    made.write(tmp_path / "s" / "0")
    (tmp_path / "s" / "sweep.json").write_text('{"plan": {"objective": ["val_accuracy"]}}')
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/s/study.db", study_name="s", direction="maximize")
    for number in range(4):
        trial = study.ask()
        study.tell(trial, trial.suggest_float("kd.temperature", 1, 10) + number)
    seen = opened(path=write_report_files(read_records([tmp_path / "s"]), tmp_path / "s"), whole=True)
    assert seen.evaluate("[DATA.runs[0].trial, columns().some((column) => column.key === 'trial')]") == [0, True]
    assert (
        "distillation T = 1" in seen.locator("#paper").inner_text() and "97.69" in seen.locator("#paper").inner_text()
    )
    assert seen.evaluate("[...document.querySelectorAll('.study')].map(one => one.data.length > 0)") == [True, True]
