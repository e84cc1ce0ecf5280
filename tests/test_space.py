"""The space of a search in Hydra's grammar."""

from itertools import combinations, product

import pytest
from optuna.distributions import CategoricalDistribution as Choice
from optuna.distributions import FloatDistribution as Float
from optuna.distributions import IntDistribution as Int

from lcomp.errors import UserError
from lcomp.search.space import Space, flat, text
from lcomp.sweeps.grid_points import representative_points


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("x=3", "3"),
        ("x=a,b", Choice(("a", "b"))),
        ("x=1,2.5,true,null", Choice((1, 2.5, True, "null"))),
        ("x=choice(7)", "7"),
        ("x=range(1,5)", Int(1, 4)),
        ("x=range(5)", Int(0, 4)),
        ("x=range(1,10,3)", Int(1, 7, step=3)),
        ("x=range(0.1,0.5,0.1)", Float(0.1, 0.4, step=0.1)),
        ("x=shuffle(range(1,4))", Choice((1, 2, 3))),
        ("x=range(4,1,-1)", Choice((4, 3, 2))),
        ("x=interval(1,10)", Float(1.0, 10.0)),
        ("x=int(interval(1,10))", Int(1, 10)),
        ("x=tag(log,interval(0.001,1))", Float(0.001, 1.0, log=True)),
        ("x=tag(log,int(interval(1,64)))", Int(1, 64, log=True)),
        ("x=tag(log,interval(1,16))", Float(1.0, 16.0, log=True)),
        ("x=[1,2],[3]", Choice(("[1,2]", "[3]"))),
        ("x='a b',c", Choice(("'a b'", "c"))),
    ],
)
def test_the_grammar_of_sweeps(override, expected):
    assert Space([override]).keys == {"x": expected}


@pytest.mark.parametrize("override", ["x=range(3,3)", "x=interval(4,1)", "x=tag(log,interval(0,1))"])
def test_an_empty_space_is_refused(override):
    with pytest.raises(UserError, match="x="):
        Space([override])


def test_a_later_override_of_a_key_overrules():
    assert Space(["x=1,2", "y=3", "x=5"]).keys == {"x": "5", "y": "3"}


def test_nested_params_are_overrides():
    assert list(flat({"kd": {"temperature": "interval(1,2)"}, "quant.bits": "choice(4,8)"})) == [
        "kd.temperature=interval(1,2)",
        "quant.bits=choice(4,8)",
    ]


def test_keys_of_a_family_that_is_off_are_neither_asked_for_nor_part_of_a_point():
    space, asked = Space(["kd.temperature=interval(1,9)", "kd=none,logit", "kd.alpha=choice(0.5)", "seed=0"]), []

    def suggested(name, one):
        asked.append(name)
        return "none" if name == "kd" else 2.0

    assert space.point(suggested) == ["kd=none", "seed=0"] and asked == ["kd"]
    asked.clear()
    assert space.point(lambda name, one: "logit" if name == "kd" else 2.0) == [
        "kd.temperature=2.0",
        "kd=logit",
        "kd.alpha=0.5",
        "seed=0",
    ]


def test_a_finite_space_is_enumerated_without_points_that_are_equal():
    space = Space(["kd=none,logit", "kd.temperature=1,2,3", "prune.sparsity=0.5,0.6,0.7", "prune=scheduled"])
    points = space.points(12)
    assert len(points) == 12 and space.points(11) is None
    assert all("kd.temperature" not in parameters for point, parameters in points if "kd=none" in point)
    assert {p["prune.sparsity"] for _, p in points} == {0.5, 0.6, 0.7}


@pytest.mark.parametrize("endless", ["x=interval(0,1)", "x=range(0,1000000)"])
def test_a_space_larger_than_the_budget_is_not_enumerated(endless):
    assert Space([endless, "y=1,2"]).points(50) is None


def test_a_plan_changes_with_the_space():
    plans = [Space([o]).plan() for o in ("x=1,2", "x=2,1", "x=interval(1,2)", "x=tag(log,interval(1,2))", "x=1")]
    assert all(a != b for n, a in enumerate(plans) for b in plans[:n])


@pytest.mark.parametrize(
    ("value", "expected"), [(0.1 + 0.2, "0.3"), (3, "3"), (1e-05, "1e-05"), ("a", "a"), (2.0, "2.0")]
)
def test_sampled_values_as_overrides(value, expected):
    assert text(value) == expected


def test_a_grid_is_composed_once_for_each_value_beside_each_choice():
    grid = [
        [f"kd={kd}", f"seed={s}", f"quant.bits={b}"] for kd in ("none", "logit") for s in range(9) for b in range(5)
    ]
    chosen = representative_points(grid)
    assert len(chosen) == 2 * (9 + 5 - 1)
    assert {(point[0], o) for point in grid for o in point} == {(point[0], o) for point in chosen for o in point}
    assert representative_points([[]]) == [[]]


def test_of_a_grid_of_choices_each_pair_is_composed():
    choices = {"kd": 6, "prune": 8, "quant": 9}
    grid = [
        [f"{group}={n}" for group, n in zip(choices, p, strict=True)] for p in product(*map(range, choices.values()))
    ]
    chosen = representative_points(grid)
    assert len(chosen) < len(grid) / 2
    pairs = {pair for point in grid for pair in combinations(point, 2)}
    assert {pair for point in chosen for pair in combinations(point, 2)} == pairs
