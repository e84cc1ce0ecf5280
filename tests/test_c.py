"""A network as C: what the compiled C answers, and what its folder holds."""

import subprocess
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
import torch
from c_networks import random_network
from quickly import first_quickly

import lcomp
from lcomp.c import FORMS, memory, reference
from lcomp.c.__main__ import main
from lcomp.c.compiling import Library, Target, deepest_stack, footprint, host
from lcomp.c.cropping import cropped
from lcomp.c.emulation import BOARDS, emulate
from lcomp.c.floats import float_network
from lcomp.c.lowering import Lowering
from lcomp.c.model import CModel, as_rows, integer_network, make_model
from lcomp.c.network import Addition, CNetwork, Filter, Grid, Value, Window
from lcomp.c.requantization import scaled, scaling
from lcomp.c.strips import Segment
from lcomp.packed.network import Join, Network
from lcomp.runtimes import C

RECORD = Path(__file__).parents[1] / "records" / "1kb-seed0.lcomp"
STRICT = "-O1 -fsanitize=undefined,address -fno-sanitize-recover -Werror"


def drawn(seed):
    """A random network of C, and bytes to ask it about."""
    network, random = random_network(seed), np.random.default_rng(seed)
    made = integer_network(network, random.random((20, *network.input_shape), dtype=np.float32))
    return made, random.integers(0, 256, (10, *made.values[0].shape)).astype(np.uint8)


def modelled(network, inputs, form="plain"):
    return CModel(network, form, "a test", inputs, reference.answer(network, inputs))


@pytest.mark.parametrize("seed", first_quickly(range(50), 2))
def test_the_c_of_a_random_network_equals_the_reference_bit_for_bit(seed, tmp_path):
    network, inputs = drawn(seed)
    for form in FORMS:
        model = modelled(network, inputs, form)
        assert np.array_equal(Library(model.whole).answer(inputs), model.expected)
    model.write(tmp_path)
    done = subprocess.run(["make", "test", f"CFLAGS={STRICT}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith("10 of 10 examples equal\n"), done.stdout + done.stderr


@pytest.mark.parametrize("seed", first_quickly(range(100, 130), 1))
def test_the_c_of_a_random_network_of_floats_answers_as_the_network_does(seed, tmp_path):
    network, random = random_network(seed, floats=True), np.random.default_rng(seed)
    examples = random.random((10, *network.input_shape), dtype=np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(examples)).numpy()
    model = CModel(float_network(Lowering(network).layers), "plain", "a test", as_rows(examples), expected)
    answered = Library(model.whole).logits(examples)
    assert np.abs(answered - expected).max() <= 1e-5 * max(1, np.abs(expected).max())
    model.write(tmp_path)
    done = subprocess.run(["make", "test", f"CFLAGS={STRICT}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith("10 of 10 examples within the tolerance\n"), done.stderr


def test_sums_are_scaled_as_exact_fractions_are_rounded_half_up():
    factors = np.array([0.5, 1.0, 0.001234, 3.7, 2.0**-20, 0.0])
    by = scaling(factors, 1.0)
    assert (by.multiplier[:5] >= 2**30).all() and by.multiplier[5] == 0
    for sums in (-(10**6), -7, -1, 0, 1, 3, 5, 123_456_789):
        exact = [Fraction(int(m), 2 ** int(s)) for m, s in zip(by.multiplier, by.shift, strict=True)]
        expected = [floor(sums * factor + Fraction(1, 2)) for factor in exact]
        assert scaled(np.full(6, sums), by).tolist() == expected
        assert all(abs(e - f) <= f * 2.0**-31 for e, f in zip(exact, factors, strict=True))


@pytest.mark.parametrize("seed", range(8))
def test_values_that_live_at_one_time_lie_apart_in_the_arena(seed):
    network, _ = drawn(seed)
    plan = memory.plan(network, {0: 7})
    assert plan.bound <= plan.size <= sum(value.bytes for value in network.values) + 7
    born = {one.target: number for number, one in enumerate(network.operations)}
    dies = {source: number for number, one in enumerate(network.operations) for source in one.sources}
    for a in plan.offsets:
        for b in plan.offsets:
            together = a < b and born[a] <= dies[b] and born[b] < dies[a]
            ends = [plan.offsets[v] + network.values[v].bytes for v in (a, b)]
            assert not together or ends[0] <= plan.offsets[b] or ends[1] <= plan.offsets[a]


STRIPED = {2: 70, 5: 300, 6: 360, 24: 100, 26: 550}  # seeds, and bytes of memory that are enough strip by strip alone


@pytest.mark.parametrize("seed", first_quickly(STRIPED, 2))
def test_what_is_computed_strip_by_strip_is_the_same_in_less_memory(seed, tmp_path):
    network, inputs = drawn(seed)
    expected = reference.answer(network, inputs)
    for form in FORMS:
        model = CModel(network, form, "a test", inputs, expected, arena=STRIPED[seed])
        assert model.source.plan.segments and model.source.plan.size <= STRIPED[seed] < memory.plan(network, {}).size
        assert np.array_equal(Library(model.whole).answer(inputs), expected)
        model.write(tmp_path / form)
        ran = subprocess.run(["make", "test", f"CFLAGS={STRICT}"], cwd=tmp_path / form, capture_output=True, text=True)
        assert ran.returncode == 0 and ran.stdout.endswith("10 of 10 examples equal\n"), ran.stdout + ran.stderr
    with pytest.raises(lcomp.errors.UserError, match="arena=9: its values need more"):
        print(CModel(network, "plain", "a test", inputs, expected, arena=9).source)


def test_a_runtime_fits_its_arena_where_that_can_be():
    digits, found = np.random.default_rng(0).random((20, 1, 28, 28), dtype=np.float32), []
    for arena in (None, 900, 9):
        runtime = C(weights="packed", arena=arena)
        runtime.see({"x": digits})
        found.append(runtime.figures(RECORD)["ram_bytes"])
        assert runtime.setting().get("arena") == (arena and str(arena))
    assert found[1] < found[0] - 700 and found[2] == found[0]


def test_a_strip_keeps_the_rows_that_the_next_one_reads():
    padded = dict(bias=np.zeros(1), bounds=None, window=Window((3, 3), padding=(1, 1)), weights=np.ones((1, 3, 3, 1)))
    halved = padded | {"window": Window((2, 2), (2, 2)), "weights": np.ones((1, 2, 2, 1))}
    shapes = [(8, 8, 1), (8, 8, 1), (8, 8, 1), (4, 4, 1), (1, 1, 10)]
    operations = [Filter(name=f"{n}", sources=(n,), target=n + 1, **padded) for n in range(2)]
    operations += [Filter(name="2", sources=(2,), target=3, **halved)]
    network = CNetwork([Value(shape, Grid(1.0)) for shape in shapes], operations, 1.0)
    segment = Segment(network, 0, 2, 1)
    assert segment.count == 4 and segment.rolling == {1: 4, 2: 2}
    made = {n: [(s.begin, s.end, s.dropped, s.kept) for s in segment.strips[n]] for n in range(3)}
    assert made[2] == [(0, 1, 0, 0), (1, 2, 0, 0), (2, 3, 0, 0), (3, 4, 0, 0)]
    assert made[1] == [(0, 2, 0, 0), (2, 4, 0, 0), (4, 6, 0, 0), (6, 8, 0, 0)]  # two rows, of which none is read again
    assert made[0] == [(0, 3, 0, 0), (3, 5, 1, 2), (5, 7, 2, 2), (7, 8, 2, 2)]  # the row before and the row behind
    assert [s.first[0] for s in segment.strips[1]] == [0, 1, 3, 5] and [s.first[0] for s in segment.strips[2]] == [
        0,
        2,
        4,
        6,
    ]


def test_a_sum_does_not_lie_where_the_next_strip_still_reads():
    of = dict(bias=np.zeros(1), bounds=None, window=Window((3, 3), padding=(1, 1)), weights=np.ones((1, 3, 3, 1)))
    added = Addition(name="c", sources=(2, 1), target=3, bounds=None)
    operations = [Filter(name=f"{n}", sources=(n,), target=n + 1, **of) for n in range(2)]
    operations += [Filter(name="c", sources=(2, 1), target=3, addition=added, **of)]
    operations += [Filter(name="d", sources=(3,), target=4, **of)]
    network = CNetwork([Value((8, 8, 1), Grid(1.0)) for _ in range(5)], operations, 1.0)
    assert memory.plan(network, {}).offsets[3] == memory.plan(network, {}).offsets[1]  # all of it is read before
    striped = memory.plan(network, {}, [Segment(network, 1, 2, 2)])
    assert striped.offsets[3] != striped.offsets[1] and striped.size == 64 + 64 + 4 * 8


def test_what_a_stride_leaves_over_is_not_computed():
    of = dict(bias=np.zeros(1), bounds=None)
    first = Filter(name="a", sources=(0,), target=1, weights=np.ones((1, 1, 1, 1)), **of)
    pooled = Window((2, 2), (2, 2))
    second = Filter(
        name="b", sources=(1,), target=2, weights=np.ones((1, 3, 3, 1)), window=Window((3, 3)), pool=pooled, **of
    )
    last = Filter(name="c", sources=(2,), target=3, weights=np.ones((2, 1, 1, 25)), **of)
    shapes = [(13, 14, 1), (13, 14, 1), (5, 5, 1), (1, 1, 2)]
    network = CNetwork([Value(shape, Grid(1.0)) for shape in shapes], [first, second, last], 1.0)
    assert [one.shape for one in cropped(network).values] == [(13, 14, 1), (12, 12, 1), (5, 5, 1), (1, 1, 2)]


def test_the_largest_buffer_is_placed_first_and_each_in_the_smallest_gap():
    sizes = [(40, 0, 2), (30, 1, 3), (20, 2, 4), (10, 3, 5), (60, 4, 5)]
    buffers = [memory.Buffer(*one) for one in sizes]
    assert (memory.place(buffers), memory.needs(buffers, 6)) == (100, [40, 70, 90, 60, 90, 70])
    assert [one.offset for one in buffers] == [0, 40, 70, 90, 0]


def test_a_record_answers_in_c_as_its_network_does(tmp_path, capsys):
    examples = tmp_path / "examples.npy"
    digits = np.random.default_rng(0).random((50, 1, 28, 28), dtype=np.float32)
    np.save(examples, digits)
    sizes = {}
    for form in FORMS:
        out = tmp_path / form
        assert main([str(RECORD), "--examples", str(examples), "--out", str(out), "--weights", form]) == 0
        sizes[form] = int(capsys.readouterr().out.split(": ")[1].split()[0].replace(",", ""))
        library = Library(make_model(RECORD, digits, form).whole)
        with torch.no_grad():
            expected = lcomp.load(RECORD)(torch.from_numpy(digits)).numpy()
        assert np.abs(library.logits(digits) - expected).max() < 0.03 * np.abs(expected).max()
    assert max(sizes["packed"], sizes["sparse"]) < 0.7 * sizes["plain"]
    again = tmp_path / "again"
    main([str(RECORD), "--examples", str(examples), "--out", str(again), "--weights", form])
    names = sorted(path.name for path in out.iterdir())
    assert names == sorted(path.name for path in again.iterdir()) and {"model.h", "model.c", "weights.c"} <= {*names}
    assert all((out / name).read_bytes() == (again / name).read_bytes() for name in names)


def test_what_there_is_no_c_for_is_refused_by_name_before_anything_is_written(tmp_path, capsys):
    network = random_network(3)
    steps, sources = [*network.steps, Join("mul")], [*network.sources, (len(network.steps),) * 2]
    with pytest.raises(lcomp.errors.UserError, match="the operator mul of two values"):
        integer_network(
            Network(network.input_shape, network.classes, steps, sources), np.zeros((1, *network.input_shape))
        )
    assert main([str(RECORD), "--out", str(tmp_path / "c")]) == 1
    assert "its activations are floats" in capsys.readouterr().err and not (tmp_path / "c").exists()


def test_the_stack_is_that_of_the_deepest_chain_of_calls():
    node = 'node: {{ title: "{0}" label: "{0}\\nm.c:1:1\\n{1} bytes (static)" }}\n'
    edge = 'edge: {{ sourcename: "{}" targetname: "{}" label: "m.c:2:2" }}\n'
    graph = "".join(node.format(*one) for one in [("model_run", 8), ("a", 32), ("b", 100), ("c", 80)])
    graph += edge.format("model_run", "a") + edge.format("a", "c") + edge.format("model_run", "b")
    assert deepest_stack(graph + 'node: { title: "f" label: "f\\n<built-in>" shape : ellipse }\n') == 8 + 32 + 80


def test_flash_and_memory_are_those_of_the_linked_sections():
    network, inputs = drawn(1)
    models = [modelled(network, inputs, form) for form in ("plain", "packed")]
    taken = [footprint(model.whole, Target(host())) for model in models]
    weights = sum(one.weights.size for one in network.filters)
    assert 500 < taken[0].flash < 9_000 + weights and taken[0].ram > models[0].source.plan.size


@pytest.mark.parametrize("name", first_quickly(BOARDS))
def test_the_self_test_holds_on_an_emulated_board(name):
    if missing := BOARDS[name].missing:
        pytest.skip(f"{missing} is not installed: apt install gcc-arm-none-eabi qemu-system-arm, or those of RISC-V")
    model = make_model(RECORD, np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32), "packed")
    found = emulate(model.files, BOARDS[name])
    assert found.equal == 3 and 1e6 < found.instructions < 3e7
    if name == "cortex-m0":
        whole = footprint(model.whole, BOARDS[name].target).ram - model.source.plan.size
        assert found.stack <= whole < found.stack + 300  # which has the coder's tables too
