"""Changes of lcomp's source that take a mechanism away: what is changed, found by name, and how, by kind.

A target is the qualified name of a function, class, method, constant or attribute, `Worker.next`, wherever it lies; its
module's name stands before it, `sweep:opened`, where several have that name. The name of a script is a target too. A
mutation knows no line, no layout and no local name: it counts conditions, operands and statements of its target, from 1
in the order of the text, or names constants and what is called. Without a number there must be exactly one.
"""

import ast
import builtins
import re
import symtable
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign
Mutation = Callable[[Any], Any]  # changes the node of a target in place, or gives the new text of a script
FOUND_BY_MODULES = {"__file__", "__name__", "__path__", "__doc__"}


class Misfit(Exception):
    """A target that is not there, or a mutation that fits it nowhere or in several places."""


@dataclass(frozen=True)
class Place:
    """A file of the source and what it becomes."""

    path: Path
    before: str
    after: str


def mutated(source: Path, target: str, mutation: Mutation) -> Place:
    """The file under `source` that holds `target`, before and after `mutation`.

    Raises:
        Misfit: the target or the place of the mutation is not unique.
    """
    if target.endswith(".js"):
        path = the_only([*source.rglob(target)], target)
        return Place(path, path.read_text(), mutation(path.read_text()))
    module, _, name = target.rpartition(":")
    path = the_only([path for path, inside in defined(source) if name in inside and fits(path, module)], target)
    tree = ast.parse(path.read_text())
    before = ast.unparse(tree)
    mutation(the_only([node for called, node in names(tree) if called == name], target))
    return Place(path, before, ast.unparse(ast.fix_missing_locations(tree)))


def unbound(source: str) -> set[str]:
    """Names that a module reads and nothing in it, nor Python, gives a value to."""
    module = symtable.symtable(source, "", "exec")
    bound = {s.get_name() for s in module.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}

    def read(table: symtable.SymbolTable) -> set[str]:
        own = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global() and symbol.is_referenced()}
        return own.union(*map(read, table.get_children()))

    return read(module) - bound - FOUND_BY_MODULES - set(dir(builtins))


# Targets


@cache
def defined(source: Path) -> list[tuple[Path, frozenset[str]]]:
    """Every Python file and the names that it defines."""
    return [(path, frozenset(n for n, _ in names(ast.parse(path.read_text())))) for path in source.rglob("*.py")]


def fits(path: Path, module: str) -> bool:
    parts = path.with_suffix("").parts
    return not module or parts[-len(module.split(".")) :] == tuple(module.split("."))


def names(tree: ast.AST, within: str = "") -> Iterator[tuple[str, Named]]:
    """Qualified names and what they name."""
    for node in ast.iter_child_nodes(tree):
        inside = within
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(tree, ast.Module | ast.ClassDef):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((within + one.id, node) for one in targets if isinstance(one, ast.Name))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield within + node.name, node
            inside = f"{within}{node.name}."
        yield from names(node, inside)


# Mutations


def always(number: int | None = None) -> Mutation:
    """A condition (of `if`, `elif`, `while`, a conditional expression, a comprehension) always holds."""
    return lambda target: swap(target, chosen(conditions(target), number), ast.Constant(True))


def never(number: int | None = None) -> Mutation:
    """A condition never holds."""
    return lambda target: swap(target, chosen(conditions(target), number), ast.Constant(False))


def ignored(number: int | None = None) -> Mutation:
    """An operand of an `and` or an `or` is not asked."""

    def mutate(target: ast.AST) -> None:
        operand = chosen([one for node in inside(target, ast.BoolOp) for one in node.values], number)
        [operation] = [node for node in inside(target, ast.BoolOp) if operand in node.values]
        swap(target, operand, ast.Constant(isinstance(operation.op, ast.And)))

    return mutate


def left_out(number: int | None = None) -> Mutation:
    """A statement, with all that it holds, is left out; a docstring is none."""

    def mutate(target: ast.AST) -> None:
        swap(target, chosen([node for node in inside(target, ast.stmt) if not is_text(node)], number), ast.Pass())

    return mutate


def keyless(key: str) -> Mutation:
    """An entry of a dictionary is left out."""

    def mutate(target: ast.AST) -> None:
        entries = [(node, at) for node in inside(target, ast.Dict) for at, one in enumerate(node.keys) if is_(one, key)]
        node, at = the_only(entries, repr(key))
        del node.keys[at], node.values[at]

    return mutate


def begins(statement: str) -> Mutation:
    """A statement stands before the others."""
    return lambda target: target.body.insert(int(is_text(target.body[0])), *ast.parse(statement).body)


def returns(value: str) -> Mutation:
    """Nothing is done but return a value."""

    def mutate(target: ast.FunctionDef) -> None:
        target.body = ast.parse(f"return {value}").body

    return mutate


def decorated(by: str) -> Mutation:
    """A function is given to another, `by`, that has its place."""
    return lambda target: target.decorator_list.append(expression(by))


def renamed(name: str, arguments: str) -> Mutation:
    """A method has another name and takes other arguments: a framework calls it at another time, or not at all."""

    def mutate(target: ast.FunctionDef) -> None:
        target.name, target.args = name, expression(f"lambda {arguments}: 0").args

    return mutate


def uncalled(name: str, number: int | None = None) -> Mutation:
    """A call is left out: what remains of it is the object of a method, or of a function the first argument."""

    def mutate(target: ast.AST) -> None:
        call = chosen([node for node in inside(target, ast.Call) if last(node.func) == name], number)
        alone = [node for node in inside(target, ast.Expr) if node.value is call]
        kept = call.func.value if isinstance(call.func, ast.Attribute) else call.args[0]
        swap(target, *((alone[0], ast.Pass()) if alone else (call, kept)))

    return mutate


def constant(old: Any, new: Any) -> Mutation:
    """A constant has another value."""

    def mutate(target: ast.AST) -> None:
        found = [node for node in inside(target, ast.Constant) if is_(node, old)]
        swap(target, the_only(found, repr(old)), ast.Constant(new))

    return mutate


def replaced(pattern: str, by: str, number: int | None = None) -> Mutation:
    """An expression becomes another. `_a`, `_b`, ... in the pattern are any expressions, the same where the letter is
    the same, and keep their meaning in `by`."""

    def mutate(target: ast.AST) -> None:
        wanted, found = expression(pattern), []
        for node in inside(target, ast.expr):
            holes: dict[str, ast.expr] = {}
            if matches(wanted, node, holes):
                found.append((node, holes))
        node, holes = chosen(found, number)
        swap(target, node, filled(expression(by), holes))

    return mutate


def rewritten(pattern: str, by: str) -> Mutation:
    """A piece of a script becomes another, however it is laid out; `_a`, `_b`, ... are any names, as in `replaced`."""
    seen: set[str] = set()

    def piece(token: str) -> str:
        if not re.fullmatch(r"_[a-z]", token):
            return re.escape(token)
        once = token in seen
        seen.add(token)
        return f"(?P={token})" if once else rf"(?P<{token}>\b\w+\b)"

    wanted = r"\s*".join(piece(token) for token in re.findall(r"\w+|[^\w\s]", pattern))

    def mutate(text: str) -> str:
        found = the_only([*re.finditer(wanted, text)], pattern)
        new = re.sub(r"\b_[a-z]\b", lambda hole: found[hole[0]], by)
        return text[: found.start()] + new + text[found.end() :]

    return mutate


# Syntax trees


def the_only(found: list[Any], what: str) -> Any:
    if len(found) != 1:
        raise Misfit(f"{what}: {len(found)} of it instead of one: {[str(one) for one in found][:5]}")
    return found[0]


def chosen(found: list[Any], number: int | None) -> Any:
    """The one of that number in the order of the text, or the only one."""
    if number is None:
        return the_only(found, "what no number tells apart")
    if number > len(found):
        raise Misfit(f"number {number} of {len(found)}")
    return found[number - 1]


def inside(target: ast.AST, kind: type[Any]) -> list[Any]:
    """The nodes of a kind in a target, in the order of the text, the outer before the inner."""
    found = [node for node in ast.walk(target) if isinstance(node, kind) and node is not target]
    return sorted(found, key=lambda node: (node.lineno, node.col_offset, -node.end_lineno, -node.end_col_offset))


def conditions(target: ast.AST) -> list[ast.expr]:
    asked = [node.test for node in ast.walk(target) if isinstance(node, ast.If | ast.While | ast.IfExp)]
    asked += [one for node in ast.walk(target) if isinstance(node, ast.comprehension) for one in node.ifs]
    return [node for node in inside(target, ast.expr) if any(node is one for one in asked)]


def is_(node: ast.expr | None, value: Any) -> bool:
    """Whether a node is the constant, of the same type: 1 is neither True nor 1.0."""
    return isinstance(node, ast.Constant) and repr(node.value) == repr(value)


def is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def last(function: ast.expr) -> str | None:
    """The last part of the name of what is called."""
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)


def expression(text: str) -> ast.expr:
    return ast.parse(text.strip(), mode="eval").body


def is_hole(node: Any) -> bool:
    return isinstance(node, ast.Name) and re.fullmatch(r"_[a-z]", node.id) is not None


def matches(wanted: Any, node: Any, holes: dict[str, ast.expr]) -> bool:
    """Whether a tree is that of a pattern, whose holes are filled."""
    if is_hole(wanted):
        return isinstance(node, ast.expr) and same(holes.setdefault(wanted.id, node), node)
    if isinstance(wanted, list):
        return len(wanted) == len(node) and all(matches(a, b, holes) for a, b in zip(wanted, node, strict=True))
    if isinstance(wanted, ast.AST):
        fields = [name for name in wanted._fields if name != "ctx"]
        return type(wanted) is type(node) and all(matches(getattr(wanted, n), getattr(node, n), holes) for n in fields)
    return type(wanted) is type(node) and wanted == node


def same(one: ast.AST, other: ast.AST) -> bool:
    return ast.unparse(one) == ast.unparse(other)


def filled(tree: ast.expr, holes: dict[str, ast.expr]) -> ast.expr:
    class Fill(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return holes[node.id] if is_hole(node) else node

    return Fill().visit(tree)


def swap(target: ast.AST, old: ast.AST, new: ast.AST) -> None:
    """Puts one node in the place of another."""

    class Swap(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return new if node is old else self.generic_visit(node)

    Swap().visit(target)
