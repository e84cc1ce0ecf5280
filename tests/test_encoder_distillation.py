"""What a student learns from the layers of an encoder: each objective is its formula, on the tokens that are there."""

import math

import pytest
import sentences
import torch
from torch import nn

from lcomp.config.composition import compose
from lcomp.errors import UserError
from lcomp.models import Bert, SmallCNN
from lcomp.modules import DistillationModule
from lcomp.run import run
from lcomp.tasks import TextClassification
from lcomp.techniques.distillation import AttentionMaps, AttentionRelations, Distillation, HiddenStates
from lcomp.techniques.distillation.encoders import teaching_layer
from lcomp.techniques.distillation.features import capture_outputs
from lcomp.techniques.distillation.weighted import Setting

TASK = TextClassification(2, len(sentences.WORDS), max_length=12)
LENGTHS = [9, 4, 1, 7]
IDS = torch.randint(5, len(sentences.WORDS), (4, 9), generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(9) < torch.tensor(LENGTHS)[:, None]).long()
BATCH = (IDS * MASK, MASK, torch.tensor([0, 1, 1, 0]))


def encoder(seed=0, layers=2, width=16, heads=2):
    torch.manual_seed(seed)
    made = Bert(layers, width, heads, 2 * width, dropout=0.0, **TASK.arguments)
    for parameter in made.parameters():  # far from alike, as those of a trained one
        nn.init.normal_(parameter, std=0.4)
    return made


def given(network, name):
    """What a layer gives for the batch, in float64; `:input` behind the name, what it reads."""
    with capture_outputs(network, [name]) as outputs, torch.no_grad():
        network(*BATCH[:2])
    return outputs[name].double()


def value_of(objective, student, teacher):
    """What the module's loss has of it, beside labels alone."""
    module = DistillationModule(
        student, teacher, Distillation(1, 1.0, objectives={"x": objective}), (), task=TASK, input_shape=(9,)
    )
    with torch.no_grad():
        return float(module.loss(BATCH) - TASK.loss(student(*BATCH[:2]), BATCH[2]))


def apart(one, other):
    """Mean squared difference of tokens that are there, one number after another."""
    numbers = [
        (a - b) ** 2
        for row, length in enumerate(LENGTHS)
        for place in range(length)
        for a, b in zip(one[row, place].tolist(), other[row, place].tolist(), strict=True)
    ]
    return sum(numbers) / len(numbers)


def test_hidden_states_are_those_of_the_embeddings_and_of_every_layer():
    student, teacher = encoder(), encoder(1, layers=4)
    expected = apart(given(student, "layers.0:input"), given(teacher, "layers.0:input"))
    for own, taught in ((0, 1), (1, 3)):
        expected += apart(given(student, f"layers.{own}"), given(teacher, f"layers.{taught}"))
    assert value_of(HiddenStates(), student, teacher) == pytest.approx(expected, rel=1e-4)
    assert value_of(HiddenStates(0.5), student, student) == 0


def test_hidden_states_of_other_widths_go_through_one_learned_matrix():
    student, teacher, objective = encoder(), encoder(1, width=24, heads=3), HiddenStates()
    seen = value_of(objective, student, teacher)
    assert [tuple(one.shape) for one in objective.parameters()] == [(24, 16)]
    matrix = objective.projection.weight.double()
    names = ("layers.0:input", "layers.0", "layers.1")
    expected = sum(apart(given(student, name) @ matrix.T, given(teacher, name)) for name in names)
    assert seen == pytest.approx(float(expected), rel=1e-4)


def scores(network, layer, heads):
    """Q K^T / sqrt(d) of each head: (N, heads, L, L)."""
    query, key = (given(network, f"layers.{layer}.attention.{part}") for part in ("query", "key"))
    size = query.shape[2] // heads
    parts = [(query[..., h * size :][..., :size], key[..., h * size :][..., :size]) for h in range(heads)]
    return torch.stack([q @ k.mT / math.sqrt(size) for q, k in parts], 1)


def test_attention_maps_are_scores_of_tokens_that_are_there():
    student, teacher, expected = encoder(), encoder(1, layers=3), 0.0
    for own, taught in ((0, 1), (1, 2)):
        one, other = scores(student, own, 2), scores(teacher, taught, 2)
        squares = [
            float((one[row, h, i, j] - other[row, h, i, j]) ** 2)
            for row, length in enumerate(LENGTHS)
            for h in range(2)
            for i in range(length)
            for j in range(length)
        ]
        expected += sum(squares) / len(squares)
    assert value_of(AttentionMaps(), student, teacher) == pytest.approx(expected, rel=1e-4)


def relations(one, other, heads, length):
    """Of one sentence: softmax(Q K^T / sqrt(d)), by head."""
    size = one.shape[1] // heads
    found = []
    for h in range(heads):
        q, k = (values[:length, h * size : (h + 1) * size] for values in (one, other))
        found.append((q @ k.T / math.sqrt(size)).softmax(1))
    return torch.stack(found)


@pytest.mark.parametrize("pairs", [[["query", "key"], ["value", "value"]], [["key", "key"]]])
def test_relations_are_divergences_of_each_tokens_shares(pairs):
    student, teacher, expected = encoder(width=12), encoder(1, layers=3, width=16, heads=2), 0.0
    for one, other in pairs:
        own = [given(student, f"layers.1.attention.{part}") for part in (one, other)]
        taught = [given(teacher, f"layers.2.attention.{part}") for part in (one, other)]
        for row, length in enumerate(LENGTHS):
            p, q = (relations(a[row], b[row], 4, length) for a, b in (taught, own))
            expected += float((p * (p / q).log()).sum()) / 4 / length / len(LENGTHS)
    assert value_of(AttentionRelations(relations=pairs), student, teacher) == pytest.approx(expected, rel=1e-4)


def test_relations_of_as_many_parts_as_heads_are_the_students_own_attention():
    student, teacher = encoder(), encoder(1)
    attention = given(student, "layers.1.attention.softmax")
    taught = given(teacher, "layers.1.attention.softmax")
    terms = torch.where(MASK[:, None, None] != 0, taught * (taught.log() - attention.log()), 0).sum(-1).mean(1)
    expected = float(((terms * MASK).sum(1) / MASK.sum(1)).mean())
    objective = AttentionRelations(heads=2, relations=[["query", "key"]])
    assert value_of(objective, student, teacher) == pytest.approx(expected, rel=1e-4)


def test_padding_changes_nothing_and_leaves_finite_gradients():
    longer = tuple(torch.cat([part, torch.zeros(4, 3, dtype=torch.int64)], 1) for part in BATCH[:2])
    for objective in (HiddenStates(), AttentionMaps(), AttentionRelations()):
        student, distillation = encoder(), Distillation(1, 0.5, objectives={"x": objective})
        module = DistillationModule(student, encoder(1), distillation, (), task=TASK, input_shape=(9,))
        loss, padded = module.loss(BATCH), module.loss((*longer, BATCH[2]))
        assert torch.allclose(loss, padded, rtol=1e-5)
        padded.backward()
        assert all(one.grad is None or one.grad.isfinite().all() for one in student.parameters())
        assert student.layers[0].attention.query.weight.grad.abs().sum() > 0


def test_students_layers_learn_from_teachers_at_even_distances():
    assert [teaching_layer(number, 3, 6) for number in (1, 2, 3)] == [2, 4, 6]
    assert [teaching_layer(number, 4, 6) for number in (1, 2, 3, 4)] == [2, 3, 5, 6]
    assert [teaching_layer(number, 4, 2) for number in (1, 2, 3, 4)] == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("objective", "student", "words"),
    [
        (
            HiddenStates(),
            SmallCNN(),
            r"hidden_states: SmallCNN is no encoder, a list of layers with linear ones called",
        ),
        (AttentionMaps(), encoder(heads=4), r"the student has 4 in a layer, the teacher 2: give both as many"),
        (
            AttentionRelations(heads=3),
            encoder(),
            r"attention_relations.heads=3: not a divisor of the student's width, 16",
        ),
        (AttentionRelations(student_layer=2), encoder(), r"student_layer=2: the student has 2, counted from 0"),
    ],
)
def test_networks_that_do_not_fit_are_refused(objective, student, words):
    with pytest.raises(UserError, match=words):
        objective.prepare(student, encoder(1), Setting(example=BATCH[:2]))


@pytest.mark.parametrize("choice", ["minilm", pytest.param("tinybert", marks=pytest.mark.slow)])
def test_a_run_teaches_a_student_of_another_width_and_depth(choice, tmp_path):
    sizes = ["model=bert_mini", "model.width=32", "model.heads=2", "model.feed_forward=64"]
    baseline = [*sizes, f"baseline.cache={tmp_path / 'cache'}"]
    rates = ["baseline.trainer.max_epochs=2", "baseline.trainer.learning_rate=0.003", "trainer.learning_rate=0.002"]
    quiet = ["logger=none", "measure.latency_runs=2", "progress=false", "task.further_lengths=[]"]
    chosen = [f"kd={choice}", "kd.student=bert_tiny", "trainer.max_epochs=3", "data.batch_size=16"]
    overrides = [*sentences.files(tmp_path), *baseline, *rates, *quiet, *chosen]
    result = run(compose(overrides), tmp_path / "run", overrides)
    assert result.status == "ok", result.error
    assert result.metrics["test_accuracy"] > 0.9 and result.baseline["test_accuracy"] > 0.9
    assert {name for name in result.epochs if name.startswith("objective/")} == {
        "minilm": {"objective/attention_relations"},
        "tinybert": {"objective/hidden_states", "objective/attention_maps"},
    }[choice]
