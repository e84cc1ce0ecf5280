"""What the report shows of robustness, in a real browser and in Markdown, of figures that can be checked by hand."""

import pytest
from records import record

from lcomp.report.ranking import pareto_front
from lcomp.report.runs import baseline_kinds, load_runs, selection_metric
from lcomp.report.writing import read_records, write_report_files

CLEAN, HARD = "accuracy/mnist_c/shear", "accuracy/mnist_c/fog"
QAT = {"quant": "qat"}


def figures(shear, fog, **more):
    """Accuracies of two corruptions; fog at severities 1 to 5 as well."""
    return {
        CLEAN: shear,
        HARD: fog,
        "accuracy/rotation": 0.7,
        **{f"{HARD}:{s}": 1 - s / 10 for s in range(1, 6)},
    } | more


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two kinds of baseline, one of them run by itself; networks that keep or lose robustness, over two seeds."""
    place = tmp_path_factory.mktemp("robust") / "sweep"
    plain, robust = figures(0.9, 0.6, mce=1.0, val_mce=1.0), figures(0.95, 0.8, mce=1.0, val_mce=1.0)
    made = [  # name, choices, kind of baseline, bytes, accuracy, shear, fog, mce, val_mce
        ("plain", {}, 0.95, 165_000, 0.95, 0.9, 0.6, 1.0, 1.0),
        ("bits_4", QAT, 0.95, 20_000, 0.94, 0.8, 0.4, 1.75, 1.7),
        ("bits_2", QAT, 0.95, 10_000, 0.9, 0.7, 0.2, 2.5, 2.4),
        ("lucky", QAT, 0.95, 15_000, 0.9, 0.95, 0.9, 0.375, 3.0),  # a front chosen on test images would have it
        ("augmented_4", QAT, 0.96, 20_000, 0.93, 0.9, 0.7, 1.75, 1.6),
    ]
    number = 0
    for name, choices, base, size, accuracy, shear, fog, mce, val_mce in made:
        for seed in (0, 1):
            own = figures(shear, fog + seed / 100, mce=mce, val_mce=val_mce)
            record(
                place / str(number), f"model={name}", f"seed={seed}", choices=choices, seed=seed, accuracy=accuracy,
                size=size + seed, baseline=base + seed / 1000, extra=own, of_baseline=plain if base < 0.96 else robust,
            )  # fmt: skip
            number += 1
    write_report_files(read_records([place]), place)
    return place


def heat(seen):
    seen.evaluate("drawEverything()")  # what is far from the window waits
    [map_] = seen.evaluate("document.getElementById('perturbations').data")
    rows = seen.evaluate("document.getElementById('perturbations').layout.yaxis.ticktext")
    return {name: dict(zip(map_["x"], row, strict=True)) for name, row in zip(rows, map_["z"], strict=True)}, map_


@pytest.mark.slow
def test_the_map_holds_means_over_seeds_with_baselines_first_and_the_hardest_last(opened):
    rows, drawn = heat(opened(whole=True))
    assert drawn["x"] == ["clean", "shear", "fog", "mean"]
    assert list(rows)[:2] == ["model=plain", "baseline of lenet5 mnist5k"]
    assert list(rows)[2:] == [f"model={name}" for name in ("augmented_4", "bits_4", "bits_2", "lucky")]  # by `val_mce`
    assert rows["model=bits_4"] == pytest.approx({"clean": 94, "shear": 80, "fog": 40.5, "mean": 60.25})
    assert rows["baseline of lenet5 mnist5k"] == pytest.approx({"clean": 96.05, "shear": 95, "fog": 80, "mean": 87.5})
    said = drawn["hovertext"][3][2]
    assert "model=bits_4" in said and "40.50 ± 0.71 %, n = 2" in said and drawn["texttemplate"] == "%{text}"
    assert drawn["text"][3][2] == "40.5"
    (low, pale), (high, deep) = drawn["colorscale"]
    assert (low, high) == (0, 1) and pale != deep


@pytest.mark.slow
def test_the_map_shows_errors_over_the_own_baseline_s_or_over_another_s(opened):
    seen = opened(whole=True)
    seen.get_by_label("Show").select_option("errors over those of the own baseline")
    rows, drawn = heat(seen)
    assert list(rows)[2] == "model=augmented_4" and list(rows)[-1] == "model=lucky"
    assert drawn["zmin"] == -drawn["zmax"]  # of a logarithm, 0 where errors are equal
    cells = dict(zip(rows, drawn["text"], strict=True))
    assert cells["model=bits_4"] == ["1.21", "2.00", "1.49", "1.74"]
    assert cells["model=augmented_4"] == ["1.77", "2.00", "1.48", "1.74"]
    assert rows["model=bits_4"]["shear"] == pytest.approx(1) and cells["model=plain"][2] == "0.99"
    seen.get_by_label("Show").select_option("errors over those of model=plain")
    rows, _ = heat(seen)
    assert rows["model=augmented_4"]["shear"] == pytest.approx(0)
    assert rows["baseline of lenet5 mnist5k"]["fog"] == pytest.approx(-1)


@pytest.mark.slow
def test_the_map_takes_a_severity_their_mean_or_what_was_perturbed_by_name(opened):
    seen = opened(whole=True)
    seen.get_by_label("Severity").select_option("4")
    rows, drawn = heat(seen)
    assert drawn["x"] == ["clean", "fog", "mean"] and rows["model=bits_4"]["fog"] == pytest.approx(60)
    seen.get_by_label("Severity").select_option("mean of 1 to 5")
    assert heat(seen)[0]["model=bits_4"]["fog"] == pytest.approx(70)
    seen.get_by_label("Examples").select_option("perturbed as asked for")
    assert heat(seen)[1]["x"] == ["clean", "rotation", "mean"] and not seen.get_by_label("Severity").is_visible()
    seen.get_by_role("button", name="quant: qat", exact=True).click()
    assert set(heat(seen)[0]) == {"baseline of lenet5 mnist5k", "model=plain"}


@pytest.mark.slow
def test_errors_against_size_are_a_front_that_falls_and_is_chosen_on_validation(opened, folder):
    seen = opened(whole=True)
    traces = {trace["name"]: trace for trace in seen.evaluate("document.getElementById('errors').data")}
    runs = [run for run in load_runs([folder]) if run.is_ok]
    assert selection_metric(runs) == "val_mce"
    expected = pareto_front(runs, "gzip_bytes", "val_mce", lower=True)
    assert [run.result.metrics["mce"] for run in expected] == [2.5, 1.75, 1.0]
    assert traces["front"]["x"] == [run.result.metrics["gzip_bytes"] / 1000 for run in expected]
    assert traces["front"]["y"] == [2.4, 1.6, 1.0] and "chosen on validation" in seen.locator("#judged").inner_text()
    assert traces["baseline"]["y"] == [1, 1, 1, 1] and traces["baseline"]["marker"]["symbol"] == "diamond"
    axes = seen.evaluate("['xaxis', 'yaxis'].map(name => document.getElementById('errors').layout[name].type)")
    assert axes == ["log", "log"]
    seen.get_by_label("Accuracy of").select_option("test accuracy")
    seen.evaluate("drawEverything()")
    traces = {trace["name"]: trace for trace in seen.evaluate("document.getElementById('errors').data")}
    assert traces["front"]["y"] == [2.5, 1.75, 1.0]


@pytest.mark.slow
def test_errors_against_another_kind_of_baseline(opened):
    seen = opened(whole=True)
    seen.locator("#against").select_option("model=plain")
    traces = {trace["name"]: trace for trace in seen.evaluate("document.getElementById('errors').data")}
    assert sorted(traces["baseline"]["y"]) == pytest.approx([0.5, 0.5, 1, 1])
    assert min(traces["quant: qat"]["y"]) == pytest.approx((0.5 + 0.09 / 0.4) / 2) and max(
        traces["quant: qat"]["y"]
    ) == pytest.approx(2.5)
    assert "so there is no front" in seen.locator("#judged").inner_text() and "front" not in traces


@pytest.mark.slow
def test_lost_images_have_pictures_answers_and_counts(opened):
    seen = opened(whole=True)
    shown = seen.locator("#gallery figure")
    assert shown.count() == 12  # of 200: those from 90 to 96 % right; what the networks of 90 % lose
    first = shown.first
    assert "lost by 4 of 4" in first.inner_text() and first.locator("img").get_attribute("src").startswith(
        "data:image/png"
    )
    label = int(first.locator("img").get_attribute("alt")[-1])
    assert (
        f"label {label}, baseline {label}" in first.inner_text()
        and f"compressed {(label + 1) % 10}" in first.inner_text()
    )
    assert "model=bits_4" in shown.nth(8).get_attribute("title") or "model=bits_2" in shown.nth(8).get_attribute(
        "title"
    )
    seen.get_by_label("Lost by").select_option("model=bits_4 (2)")
    assert shown.count() == 2 and "2 of 2 seeds" in shown.first.inner_text()
    assert seen.locator("#pies-note").inner_text() == "2 of 2 examples"


def test_baselines_that_differ_in_their_seed_alone_are_of_one_kind(folder):
    found = baseline_kinds(load_runs([folder]))
    assert [[group.label for group in kind] for kind in found] == [
        ["model=plain", "model=bits_4", "model=bits_2", "model=lucky"],
        ["model=augmented_4"],
    ]


def test_markdown_has_the_pictures_and_the_columns(folder):
    text = (folder / "report.md").read_text()
    for picture in ("front-mce.png", "corruptions.png", "lost.png"):
        assert f"(report/{picture})" in text and (folder / "report" / picture).read_bytes()[1:4] == b"PNG"
    [row] = [line for line in text.splitlines() if line.startswith("| model=bits\\_2 |")]
    assert row.endswith("| 2.50 ± 0.00 | 10 |")


@pytest.mark.slow
def test_a_report_without_robustness_says_nothing_of_it(opened, tmp_path):
    record(tmp_path / "s" / "0", "quant=qat", choices=QAT, accuracy=0.95)
    seen = opened(path=write_report_files(read_records([tmp_path / "s"]), tmp_path / "s"), whole=True)
    assert [seen.locator(f"#{name}").is_visible() for name in ("mce", "perturbed", "pies", "runs")] == [False] * 3 + [
        True
    ]
    assert "mCE" not in (tmp_path / "s" / "report.md").read_text()
