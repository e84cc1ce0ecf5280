"""Every technique of the paper's survey beside the simplest of its family, at about equal bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lcomp.report.paper import PaperRun
from lcomp.report.rows import Row
from lcomp.report.statistics import difference, mean_and_std
from lcomp.report.text_table import TextTable

HEADINGS = (
    "row",
    "n",
    "test acc %",
    "gzip KB",
    "stream KB",
    "MACs",
    "x test set",
    "training s",
    "points",
    "95 % interval",
    "verdict",
)
NOTE = (
    "stream KB: entropy-coded weights. MACs and x test set (seconds for all test examples): over the baseline's. "
    "points: of test accuracy above the group's first row; a paired bootstrap over test examples of the mean "
    "over seeds."
)


class SurveyGroup(NamedTuple):
    """Rows at about equal bytes; the first, the simplest technique, is what the others are held against."""

    title: str
    rows: list[Row]


def group(title: str, **labels: str) -> SurveyGroup:
    """The group of the experiments `survey_<name>`."""
    return SurveyGroup(title, [Row(f"survey_{name}", label) for name, label in labels.items()])


GROUPS = [
    group("the baseline", baseline="LeNet-5", self_distillation="LeNet-5 that learned from it (born again)"),
    group(
        "95 % of the weights pruned",
        prune_constant="magnitude, constant",
        prune_linear="magnitude, linear",
        prune_cubic="magnitude, cubic",
        prune_exponential="magnitude, exponential",
        prune_one_shot="magnitude, one shot",
        prune_iterative="magnitude, iterative",
        prune_gated="magnitude, gated",
        prune_adaptive="magnitude, PQ Index",
        prune_layer="magnitude, cubic, every layer alike",
        prune_taylor="Taylor, cubic",
        prune_obd="Optimal Brain Damage, cubic",
        prune_obs="Optimal Brain Surgeon, cubic",
        prune_wanda="Wanda, cubic",
        prune_wanda_output="Wanda, cubic, every output alike",
        prune_movement="movement, cubic",
        prune_random="random, cubic",
        prune_lottery_ticket="lottery ticket",
    ),
    group(
        "98 % of the weights pruned",
        prune_98_constant="magnitude, constant",
        prune_98_cubic="magnitude, cubic",
        prune_98_taylor="Taylor, cubic",
        prune_98_obs="Optimal Brain Surgeon, cubic",
    ),
    group("half of the weights pruned", prune_50="magnitude, constant", prune_2_4="2 of 4", low_rank="low ranks"),
    group(
        "narrower by half",
        narrow="narrower LeNet-5 from the start",
        filter="filters and neurons, magnitude",
        filter_taylor="filters and neurons, Taylor",
    ),
    group(
        "weights of 4 bits",
        static_4="static, extremes",
        static_4_percentile="static, percentile",
        static_4_mse="static, least squares",
        hybrid_4="hybrid",
        qat_4="quantization-aware training",
        lsq_4="learned steps",
        noise_4="noise training",
        power_of_two_4="powers of two",
        additive_4="additive powers of two",
        shared_4="shared by k-means",
    ),
    group("weights of 3 bits", qat_3="quantization-aware training", mixed_3="mixed precision, 3 bits on average"),
    group(
        "weights of 2 bits",
        qat_2="quantization-aware training",
        lsq_2="learned steps",
        noise_2="noise training",
        ternary="ternary",
    ),
    group("weights of 1 bit", binary="binary weights", binary_both="binary weights and activations"),
    group(
        "the student of 11,042 parameters",
        student_alone="on the labels alone",
        student_logit="logits",
        student_fitnets="FitNets hints",
        student_attention="attention transfer",
        student_vid="variational information",
        student_crd="contrastive representations",
        student_dkd="decoupled logits",
        student_rkd="relations of examples",
        student_all="attention and variational information",
        student_noisy="noisy teacher",
        student_ensemble="two teachers",
        student_assistant="teacher assistant",
        student_data_free="no data",
    ),
    SurveyGroup(
        "all together",
        [
            Row("deep_compression", "Deep Compression: pruned, shared by k-means, entropy-coded"),
            Row("survey_combined", "pruned, quantization-aware training, distilled"),
        ],
    ),
]


def survey_tables(experiments: Mapping[str, Sequence[PaperRun]]) -> list[TextTable]:
    """One table, a line above each group of which anything was run; none, where nothing was."""
    body = []
    for title, rows in GROUPS:
        present = [row for row in rows if experiments.get(row.name)]
        if present:
            body.append([f"{title}:", *[""] * (len(HEADINGS) - 1)])
        for row in present:
            body.append(
                [
                    *figure_cells(row, experiments[row.name]),
                    *difference_cells(experiments.get(rows[0].name, []), experiments[row.name]),
                ]
            )
    return [TextTable("The survey: techniques at about equal bytes", HEADINGS, body, [NOTE])] if body else []


def figure_cells(row: Row, runs: Sequence[PaperRun]) -> list[str]:
    """A row's own cells: mean ± standard deviation over its seeds."""
    results = [run.result for run in runs]

    def ours(key: str, scale: float, digits: int) -> str:
        return mean_and_std([scale * result.metrics[key] for result in results if key in result.metrics], digits)

    def over_baseline(key: str) -> str:
        known = [result for result in results if key in result.metrics and key in result.baseline]
        return mean_and_std([result.metrics[key] / result.baseline[key] for result in known], 2)

    parts = ("baseline",) if row is GROUPS[0].rows[0] else ("assistants", "train")
    training = [sum(result.seconds.get(part, 0.0) for part in parts) for result in results]
    sizes = [ours("test_accuracy", 100, 2), ours("gzip_bytes", 1e-3, 2), ours("stream_bytes", 1e-3, 2)]
    return [
        row.label,
        str(len(runs)),
        *sizes,
        over_baseline("macs"),
        over_baseline("test_set_seconds"),
        mean_and_std(training, 0),
    ]


def difference_cells(reference: Sequence[PaperRun], runs: Sequence[PaperRun]) -> list[str]:
    """How much better than the reference: points, interval, verdict; nothing for the reference itself."""
    left, right = ({run.result.seed: run.correct for run in some} for some in (runs, reference))
    seeds = sorted(left.keys() & right.keys())
    if runs is reference or not seeds:
        return ["", "", ""]
    return difference([left[seed] for seed in seeds], [right[seed] for seed in seeds]).cells
