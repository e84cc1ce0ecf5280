"""What the paper's reproduction shows: the experiments behind each row, and which rows are held against which."""

from __future__ import annotations

from typing import NamedTuple


class Figures(NamedTuple):
    """What the paper prints: test accuracy in percent, kilobytes gzip'd (its "Mb"), seconds of inference."""

    accuracy: float
    kilobytes: float
    seconds: float


class Row(NamedTuple):
    """A row: the name of its experiment, its label, the paper's figures where it has any."""

    name: str
    label: str
    paper: Figures | None = None


BASELINE = Row("paper_baseline", "baseline", Figures(98.85, 164.11, 4.034))
SCHEDULED = Row("paper_prune_scheduled_80", "scheduled 50 to 80 %", Figures(98.60, 55.28, 2.643))
QAT = Row("paper_quant_qat", "quantization-aware training", Figures(98.32, 41.17, 1.61))
KD_1 = Row("paper_kd_t1", "distillation T = 1", Figures(97.69, 43.535, 1.328))
KD_8 = Row("paper_kd_t8", "distillation T = 8", Figures(95.83, 43.594, 1.346))
SIZES = (10, 20, 30)  # KB gzip'd
POST_TRAINING = Figures(97.25, 44.23, 2.03)
TABLES = {
    "Table II: pruning": [
        BASELINE,
        Row("paper_prune_constant_50", "constant 50 %", Figures(98.80, 101.97, 2.800)),
        Row("paper_prune_constant_80", "constant 80 %", Figures(98.10, 55.28, 2.045)),
        SCHEDULED,
        Row("control_prune_random_80", "control: 80 % at random"),
        Row("control_baseline_4_more", "control: baseline, 4 more epochs"),
    ],
    "Table III: quantization": [
        BASELINE,
        Row("paper_quant_dynamic", "post-training, dynamic", POST_TRAINING),
        Row("paper_quant_static", "post-training, static", POST_TRAINING),
        QAT,
        Row("control_baseline_2_more", "control: baseline, 2 more epochs"),
    ],
    "Table IV: distillation": [
        BASELINE,
        KD_1,
        Row("paper_kd_t3", "distillation T = 3", Figures(97.36, 43.521, 0.949)),
        KD_8,
        Row("control_kd_t6", "control: T = 6"),
        Row("control_kd_t7", "control: T = 7"),
        Row("control_student_alone", "control: student without a teacher"),
    ],
    "Table V: comparison": [BASELINE, SCHEDULED, QAT, KD_1],
    "Why rows differ": [
        Row("why_prune_75", "scheduled 50 to 75 %", SCHEDULED.paper),
        Row("why_quant_static_3", "post-training, static, 3 bits", POST_TRAINING),
        Row("why_quant_qat_tensor", "quantization-aware training, one scale per layer", QAT.paper),
        Row("why_kd_t8_pixels", "distillation T = 8, without normalization", KD_8.paper),
        Row("why_kd_t8_teacher_alone", "distillation T = 8, the teacher alone", KD_8.paper),
    ],
    **{
        f"At {size} KB": [
            Row(f"size_{size}_{part}", f"{size} KB: {label}")
            for part, label in (
                ("prune", "LeNet-5, pruned"),
                ("quant", "LeNet-5, quantized"),
                ("kd", "narrower LeNet-5, distilled"),
                ("dense", "narrower LeNet-5, on the labels alone"),
                ("combined", "LeNet-5, pruned, quantized and distilled"),
            )
        ]
        for size in SIZES
    },
    "Just above 10 KB": [Row("size_10_quant_channel", "10.5 KB: LeNet-5, quantized, a scale per channel")],
    "Tuned on validation": [
        Row("best_baseline", "tuned baseline"),
        Row("best_prune_80", "tuned, 80 % pruned"),
        Row("best_quant_qat", "tuned, quantization-aware training"),
        Row("best_student", "tuned student of 11,042 parameters"),
        Row("best_student_alone", "tuned student without a teacher"),
    ],
}
DIFFERENCES = [
    ("paper_prune_scheduled_80", "paper_prune_constant_80"),
    ("paper_prune_scheduled_80", "control_prune_random_80"),
    ("paper_prune_constant_50", "control_baseline_4_more"),
    ("paper_prune_scheduled_80", "control_baseline_4_more"),
    ("paper_quant_qat", "paper_quant_dynamic"),
    ("paper_quant_qat", "paper_quant_static"),
    ("paper_quant_qat", "control_baseline_2_more"),
    ("paper_kd_t1", "control_student_alone"),
    ("paper_kd_t3", "control_student_alone"),
    ("control_kd_t6", "paper_kd_t1"),
    ("control_kd_t7", "paper_kd_t1"),
    ("paper_kd_t8", "paper_kd_t1"),
    *((f"size_{size}_prune", f"size_{size}_dense") for size in SIZES),
    *((f"size_{size}_kd", f"size_{size}_dense") for size in SIZES),
    *((f"size_{size}_combined", f"size_{size}_{single}") for size in SIZES for single in ("quant", "prune", "kd")),
    ("best_student", "best_student_alone"),
]
