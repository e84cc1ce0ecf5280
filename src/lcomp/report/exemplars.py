"""Examples that compression loses: pruning identified exemplars (Hooker et al. 2019), of whatever technique."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lcomp.record.files import Jsonable
from lcomp.record.predictions import Predictions
from lcomp.report.ranking import by_validation
from lcomp.report.runs import ReportRun, SeedGroup
from lcomp.report.weights import data_uri

GROUPS = 60  # that are looked at, the best on validation
MOST = 96  # pictures of all groups together, the most frequent
PER_GROUP = 24  # and of each group at least
SIDE = 64  # of a picture, at most


def exemplar_indices(
    correct: Sequence[NDArray[np.bool_]], base_correct: Sequence[NDArray[np.bool_]]
) -> NDArray[np.int64]:
    """The indices of the examples that most of the baselines get right and most of the networks wrong.

    Hooker et al. compare the most frequent label; a class that more than half of the seeds agree on is that.

    Args:
        own, base: for each seed, whether each test example (N,) was classified rightly.
    """
    return np.flatnonzero((np.mean(correct, axis=0) < 0.5) & (np.mean(base_correct, axis=0) > 0.5))


Pair = tuple[Predictions, Predictions]  # a network's and its own baseline's


def by_split(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Those on the same test examples together: where the seed draws the test split, a seed's examples are its own."""
    splits: dict[bytes, list[Pair]] = {}
    for pair in pairs:
        splits.setdefault(pair[0].labels.tobytes(), []).append(pair)
    return list(splits.values())


def exemplars_over_seeds(pairs: Sequence[Pair]) -> NDArray[np.int64]:
    """The indices of what seeds on the same test examples lose."""
    return exemplar_indices([predictions.correct for predictions, _ in pairs], [base.correct for _, base in pairs])


def count_exemplars(pairs: Sequence[Pair]) -> int:
    """How many examples are lost, over every test split."""
    return sum(len(exemplars_over_seeds(alike)) for alike in by_split(pairs))


@dataclass(frozen=True)
class WrongAnswer:
    """What a group says of an example that it loses: its most frequent wrong class, how many of its seeds are wrong."""

    group: int
    says: int
    wrong: int
    seeds: int


@dataclass
class Exemplar:
    """A test example that some groups lose, and which; its picture (H, W, 1 or 3) or text, where a run kept one."""

    index: int
    label: int
    shown: NDArray[np.uint8] | str | None = None
    answers: list[WrongAnswer] = field(default_factory=list)


def find_exemplars(groups: Sequence[SeedGroup]) -> tuple[list[int], list[Exemplar]]:
    """What groups on one data set lose: how many examples each, and these, those that most groups lose first."""
    counts, exemplars = [], dict[tuple[bytes, int], Exemplar]()
    for number, group in enumerate(groups):
        pairs = group.pairs()
        counts.append(count_exemplars(pairs))
        for alike in by_split(pairs):
            labels = alike[0][0].labels
            kept = {
                int(i): shown
                for predictions, _ in alike
                for i, shown in zip(predictions.mistakes, predictions.shown, strict=True)
            }
            for index in exemplars_over_seeds(alike).tolist():
                exemplar = exemplars.setdefault((labels.tobytes(), index), Exemplar(index, int(labels[index])))
                exemplar.shown = kept.get(index) if exemplar.shown is None else exemplar.shown
                exemplar.answers.append(wrong_answer(number, index, [predictions for predictions, _ in alike]))
    return counts, sorted(exemplars.values(), key=lambda exemplar: (-len(exemplar.answers), exemplar.index))


def wrong_answer(group: int, index: int, predictions: Sequence[Predictions]) -> WrongAnswer:
    says = Counter(int(one.predictions[index]) for one in predictions if not one.correct[index])
    return WrongAnswer(group, says.most_common(1)[0][0], says.total(), len(predictions))


def exemplar_data(
    groups: Sequence[SeedGroup], names: Mapping[str, str], ids: Mapping[ReportRun, int]
) -> dict[str, Jsonable]:
    """For the page's script: of compressed groups, each data set's apart, how many examples are lost; these."""
    compressed = [group for group in groups if group.runs[0].result.techniques != "baseline"]
    best = by_validation(compressed)[:GROUPS]
    shown: list[dict[str, Jsonable]] = []
    examples: list[dict[str, Jsonable]] = []
    for sha256, name in names.items():
        dataset_groups = [group for group in best if str(group.runs[0].result.dataset.get("sha256")) == sha256]
        counts, exemplars = find_exemplars(dataset_groups)
        first = len(shown)
        shown += [
            {
                "label": group.label,
                "data": name,
                "n": len(group.runs),
                "runs": [ids[run] for run in group.runs],
                "lost": count,
            }
            for group, count in zip(dataset_groups, counts, strict=True)
        ]
        examples += [exemplar_entry(exemplar, name, first) for exemplar in chosen(exemplars, len(dataset_groups))]
    return {"groups": shown, "examples": examples, "left_out": len(compressed) > len(best)}


def chosen(exemplars: Sequence[Exemplar], groups: int) -> list[Exemplar]:
    """Those with a picture or a text that most groups lose, and of each group the first."""
    known = [exemplar for exemplar in exemplars if exemplar.shown is not None]
    wanted = {id(exemplar) for exemplar in known[:MOST]}
    for number in range(groups):
        members = [id(exemplar) for exemplar in known if any(answer.group == number for answer in exemplar.answers)]
        wanted.update(members[:PER_GROUP])
    return [exemplar for exemplar in known if id(exemplar) in wanted]


def exemplar_entry(exemplar: Exemplar, data: str, first: int) -> dict[str, Jsonable]:
    """An exemplar for the script, its groups counted from `first`."""
    shown = exemplar.shown
    assert shown is not None
    return {
        "index": exemplar.index,
        "label": exemplar.label,
        "data": data,
        **({"text": shown} if isinstance(shown, str) else {"picture": data_uri(thumbnail(shown))}),
        "answers": [[first + a.group, a.says, a.wrong, a.seeds] for a in exemplar.answers],
    }


def thumbnail(picture: NDArray[np.uint8]) -> Image.Image:
    """A picture (H, W, 1 or 3), grey or in colours, no side longer than `SIDE`."""
    shown = Image.fromarray(picture if picture.shape[2] == 3 else picture[..., 0])
    shown.thumbnail((SIDE, SIDE))
    return shown
