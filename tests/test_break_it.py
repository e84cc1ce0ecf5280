"""The breaks of break_it.py still fit the source; only a test's own assertion notices one; what each mutation does."""

import ast

import pytest
from break_it import BREAKS, ROOT, SOURCE
from mutations import (
    Misfit,
    always,
    begins,
    constant,
    decorated,
    ignored,
    is_text,
    keyless,
    left_out,
    mutated,
    never,
    renamed,
    replaced,
    returns,
    rewritten,
    unbound,
    uncalled,
)
from noticing import noticed


@pytest.mark.parametrize("one", BREAKS, ids=lambda one: one.name)
def test_break_fits_the_source_and_names_a_test(one):
    place = mutated(SOURCE, one.target, one.mutation)
    assert place.after != place.before
    if place.path.suffix == ".py":
        compile(place.after, place.path, "exec")
        assert unbound(place.after) <= unbound(place.before)
    file, _, name = one.test.partition("::")
    assert f"def {name.partition('[')[0]}(" in (ROOT / "tests" / file).read_text()


def test_each_break_has_a_name_of_its_own():
    assert len({one.name for one in BREAKS}) == len(BREAKS)


WRITTEN = '''
"""A module."""
LIMIT = 3
class Pool:
    size = 1
    def run(self, tasks, lost=None):
        """Runs them."""
        for task in tasks:
            if task.ready and (task.here or lost):
                self.log.write(task.name.strip())
        return {"done": len([task for task in tasks if task.done]), "lost": lost if lost else (LIMIT - 1) * 2}
'''
FORMATTED_OTHERWISE = """
LIMIT = (3)


class Pool:
    size = 1

    def run(self, jobs, gone=None):
        # Runs them.
        for job in jobs:
            if (
                job.ready
                and (job.here or gone)
            ):
                self.log.write(
                    job.name.strip()
                )
        return {
            "done": len([job for job in jobs if job.done]),
            "lost": gone if gone else (LIMIT - 1) * 2,
        }
"""
IF, WRITE = "if task.ready and (task.here or lost)", "self.log.write(task.name.strip())"
DONE, LOOP = "[task for task in tasks if task.done]", "        for task in tasks:"
KINDS = [
    ("Pool.run", never(1), IF, "if False"),
    ("Pool.run", always(2), "if task.done", "if True"),
    ("Pool.run", never(3), "if lost else", "if False else"),
    ("Pool.run", ignored(1), "task.ready and", "True and"),
    ("Pool.run", ignored(4), "task.here or lost", "task.here or False"),
    ("Pool.run", left_out(3), WRITE, "pass"),
    ("Pool.run", uncalled("write"), WRITE, "pass"),
    ("Pool.run", uncalled("strip"), "task.name.strip()", "task.name"),
    ("Pool.run", uncalled("len"), f"len({DONE})", DONE),
    ("Pool.run", constant(2, 4), "* 2", "* 4"),
    ("Pool.run", keyless("done"), f'"done": len({DONE}), ', ""),
    ("Pool.run", replaced("_a.write(_b)", "_b.write(_a)"), WRITE, "task.name.strip().write(self.log)"),
    ("Pool.run", replaced("_a - 1", "_a"), "LIMIT - 1", "LIMIT"),
    ("Pool.run", begins("self.began = True"), LOOP, f"        self.began = True\n{LOOP}"),
    ("Pool.run", renamed("walk", "self, tasks, lost=0"), "run(self, tasks, lost=None)", "walk(self, tasks, lost=0)"),
    ("Pool.run", decorated("staticmethod"), "    def run", "    @staticmethod\n    def run"),
    ("Pool.size", constant(1, 2), "size = 1", "size = 2"),
    ("pool:LIMIT", constant(3, 4), "LIMIT = 3", "LIMIT = 4"),
]  # fmt: skip


def in_one_form(source):
    """A source without its layout, its documentation and the names of its locals."""
    renamed = source.replace("jobs", "tasks").replace("job", "task").replace("gone", "lost")
    tree = ast.parse(renamed)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [one for one in node.body if not is_text(one)]
    return ast.unparse(tree)


@pytest.mark.parametrize("source", [WRITTEN, FORMATTED_OTHERWISE], ids=["written", "formatted otherwise"])
@pytest.mark.parametrize(("target", "mutation", "text", "without"), KINDS)
def test_a_mutation_finds_its_place_whatever_locals_are_called(tmp_path, source, target, mutation, text, without):
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "pool.py").write_text(source)
    (tmp_path / "other.py").write_text("LIMIT = 5\n")
    assert WRITTEN.count(text) == 1
    place = mutated(tmp_path, target, mutation)
    assert in_one_form(place.after) == in_one_form(WRITTEN.replace(text, without))
    assert place.path.name == "pool.py" and in_one_form(place.before) == in_one_form(WRITTEN)


def test_the_body_returns_a_value(tmp_path):
    (tmp_path / "pool.py").write_text("def f(x):\n    y = x\n    return y\n")
    assert mutated(tmp_path, "f", returns("None")).after == "def f(x):\n    return None"


@pytest.mark.parametrize(
    "script", ["runs.sort((a, b) => b.size - a.size); go()", "runs.sort(\n  (x, y) =>\n    y.size - x.size);\ngo()"]
)
def test_a_script_is_rewritten_whatever_its_layout(tmp_path, script):
    (tmp_path / "page.js").write_text(script)
    place = mutated(tmp_path, "page.js", rewritten("_r.sort((_a, _b) => _b.size - _a.size);", "_r.reverse();"))
    assert place.after.split() == ["runs.reverse();", "go()"]


@pytest.mark.parametrize(
    ("target", "mutation"),
    [
        ("Pool.walk", never()),
        ("LIMIT", constant(3, 4)),
        ("Pool.run", never()),
        ("Pool.run", never(4)),
        ("Pool.run", ignored(5)),
        ("Pool.run", uncalled("task")),
        ("Pool.run", constant(True, False)),
        ("Pool.run", replaced("_a.done + 1", "0")),
        ("pool.js", rewritten("x", "y")),
    ],
)
def test_what_is_not_there_or_there_twice_is_a_misfit(tmp_path, target, mutation):
    (tmp_path / "pool.py").write_text(WRITTEN)
    (tmp_path / "other.py").write_text("LIMIT = 5\n")
    with pytest.raises(Misfit):
        mutated(tmp_path, target, mutation)


def test_a_name_without_a_value_is_unbound():
    nested = "import os\nx = 1\ndef f(a):\n    def g():\n        return a + x + len(os.name) + gone\n    return g"
    assert unbound(nested) == {"gone"}
    assert unbound("def f():\n    return factor * 2") == {"factor"}
    assert unbound("class A:\n    b = 1\n    def c(self):\n        return [d for d in self.b]") == set()


PROJECT = {
    "src/own.py": "def checked(x):\n    assert x\n    return x\ndef two():\n    return 2\n",
    "src/cut.py": "import nowhere\n",
    "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["src"]\n',
}
FIXTURES = "@pytest.fixture\ndef made():\n    assert False\n@pytest.fixture\ndef left():\n    yield\n    assert False\n"


@pytest.mark.parametrize(
    ("test", "expected", "said"),
    [
        ("def test():\n    assert own.two() == 3", True, "call: AssertionError: assert 2 == 3"),
        ("def test():\n    with pytest.raises(OSError):\n        own.two()", True, "call: Failed: DID NOT RAISE"),
        ("def test():\n    same = lambda a: own.two() == a\n    assert same(3)", True, "call: assert"),
        ("def test():\n    own.gone()", False, "call: AttributeError"),
        ("def test():\n    gone()", False, "call: NameError"),
        ("def test():\n    own.checked(0)", False, "call: assert 0"),
        ("def test(made):\n    pass", False, "setup: assert False"),
        ("def test(left):\n    pass", False, "teardown: assert False"),
        ("import cut\ndef test():\n    assert False", False, "exit code 4"),
        ("def test():\n    assert own.two() == 2", False, "exit code 0"),
        ("def test():\n    pytest.skip()", False, "exit code 0"),
        ("def test():\n    time.sleep(60)", False, "no end in 5 s"),
    ],
)
def test_only_a_test_s_own_assertion_notices(tmp_path, test, expected, said):
    for name, content in (PROJECT | {"tests/test_own.py": f"import pytest, time, own\n{FIXTURES}{test}\n"}).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    found, line = noticed(tmp_path, "test_own.py::test", "own", seconds=5 if "sleep" in test else 120)
    assert found == expected and said.split(": assert")[0] in line, line


def test_a_source_that_cannot_be_imported_is_not_noticed(tmp_path):
    for name, content in (PROJECT | {"tests/test_own.py": "def test():\n    assert False\n"}).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert not noticed(tmp_path, "test_own.py::test", "cut")[0]
    assert noticed(tmp_path, "test_own.py::test", "own")[0]
