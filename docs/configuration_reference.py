"""Every key of the configuration, as a page: from conf/*.yaml, their comments, and the classes that they name.

A key's default is the YAML's; its type is its annotation in the class's constructor, or in `lcomp.config.run_spec` for
the run's own; what it may be and means is what the class's docstring, a rule there and the comment beside the key say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import griffe
import yaml

from lcomp.config import run_spec
from lcomp.config.run_config import GROUPS, folder
from lcomp.search.options import SearchOptions

SOURCE = Path(__file__).parents[1] / "src"
FIRST = ("trainer", "optimizer", "scheduler", "callbacks")
HEAD = """# Configuration: every key

This page is made from the configuration's files and the code's annotations each time the site is built.

A key is written `group.key=value`, such as `prune.sparsity=0.9`.
A choice is written `group=choice`, such as `prune=filter`. Types are Python's. `${...}` takes another key's value.
`python -m lcomp --cfg job` prints what a run would use.
"""
TITLES = {
    "data": "Data",
    "task": "Task",
    "perturb": "Perturbations of training examples",
    "model": "Networks",
    "kd": "Distillation",
    "prune": "Pruning",
    "quant": "Quantization",
    "runtime": "Runtimes",
    "robustness": "Robustness",
    "trainer": "Trainer",
    "optimizer": "Optimizers",
    "scheduler": "Schedulers of the learning rate",
    "callbacks": "Callbacks",
    "logger": "Loggers",
}
KD_TYPES = {  # of the keys that `lcomp.config.run_spec.parse_distillation` reads, which no class takes
    "student": "str",
    "teacher": "str | list[str] | None",
    "ensemble": "int",
    "assistants": "list[str]",
    "generations": "int",
}
WORDS = {  # of Lightning's own loggers
    "logger.name": "a folder that the next stands in; empty: none",
    "logger.version": "the folder in the run's",
}
AS_ELSEWHERE = re.compile(r"(?:as|as in|see) `(\w+)`")


@dataclass
class Key:
    """A key: its path, its type, its default, and in words what it may be and what it is for."""

    path: str
    type: str
    default: str
    words: str

    def row(self) -> str:
        cells = (f"`{self.path}`", f"`{self.type}`" if self.type else "—", f"`{self.default}`", self.words)
        return "| " + " | ".join(map(escaped, cells)) + " |"


def escaped(cell: str) -> str:
    """A cell of a table: bars are escaped, but in code, where Markdown takes them as they are."""
    return re.sub(r"(`[^`]*`)|\|", lambda found: found[1] or "\\|", cell)


@dataclass
class Argument:
    """Of a constructor: its annotation and what the docstring says of it; either may be empty."""

    type: str = ""
    words: str = ""


@dataclass
class File:
    """A YAML of `conf`: what its head says, its keys as it states them, and the comment beside each."""

    head: str
    package: str
    values: dict[str, Any]
    comments: dict[str, str]
    written: dict[str, str]


def read(path: Path) -> File:
    """A file of the configuration. A comment belongs to the key of its line, or, alone on lines, to the key below."""
    text = path.read_text()
    head, above = [], []
    comments: dict[str, str] = {}
    written: dict[str, str] = {}
    parents: list[tuple[int, str]] = []
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("#"):
            (above if parents else head).append(bare.removeprefix("#").strip())
        found = re.match(r"( *)(?:\? *)?([\w@/.]+):(?: +(.*?))?(?: +# *(.*))?$", line)
        if bare.startswith("#") or not found:
            continue
        indent, key, value, comment = len(found[1]), found[2], found[3] or "", found[4] or ""
        parents = [(at, name) for at, name in parents if at < indent] + [(indent, key)]
        dotted = ".".join(name for _, name in parents)
        comments[dotted], written[dotted], above = comment or " ".join(above), value, []
    [*packages] = [line.removeprefix("@package ") for line in head if line.startswith("@package ")]
    words = " ".join(line for line in head if not line.startswith("@package "))
    return File(words, "".join(packages), yaml.safe_load(text) or {}, comments, written)


@cache
def package() -> griffe.Module:
    """lcomp, read and not run."""
    loaded = griffe.load("lcomp", search_paths=[SOURCE], resolve_aliases=True)
    assert isinstance(loaded, griffe.Module)
    return loaded


@cache
def arguments(target: str) -> Mapping[str, Argument]:
    """What a class or function of lcomp takes; nothing is known of another library's."""
    if not target.startswith("lcomp."):
        return {}
    made = package()[target.removeprefix("lcomp.")]
    made = made.final_target if isinstance(made, griffe.Alias) else made
    line = [made, *made.mro()] if isinstance(made, griffe.Class) else [made]
    found: dict[str, Argument] = {}
    for one in line:
        described = {} if one.docstring is None else documented(one.docstring.value)
        for parameter in getattr(one, "parameters", ()):
            argument = found.setdefault(parameter.name, Argument())
            argument.type = argument.type or str(parameter.annotation or "")
        for name, words in described.items():
            argument = found.setdefault(name, Argument())
            if not argument.words or AS_ELSEWHERE.match(argument.words):
                argument.words = words
    for name, argument in found.items():
        if elsewhere := AS_ELSEWHERE.match(argument.words):
            argument.words = documented_class(elsewhere[1]).get(name, argument.words)
    return found


@cache
def documented_class(name: str) -> dict[str, str]:
    """What the class of that name, wherever it lies in lcomp, says of its arguments."""
    waiting, found = [package()], {}
    while waiting:
        for member in waiting.pop().members.values():
            if isinstance(member, griffe.Module):
                waiting.append(member)
            elif isinstance(member, griffe.Class) and member.name == name and member.docstring:
                found |= documented(member.docstring.value)
    return found


def documented(docstring: str) -> dict[str, str]:
    """What the section `Args:` or `Attributes:` says of each name; `begin, end: ...` is said of both."""
    found: dict[str, str] = {}
    for section in re.findall(r"(?:Args|Attributes):\n((?: {4}.*\n?|\n)+)", docstring):
        for names, words in re.findall(r"^ {4}(\w+(?:, \w+)*): ((?:.*\n?)(?: {8}.*\n?)*)", section, re.MULTILINE):
            found |= dict.fromkeys(names.split(", "), " ".join(words.split()))
    return found


def words_of(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", text.lower()))


def together(*parts: str) -> str:
    """Texts one after another, less those that others say as well."""
    given = [part for part in (part.strip().rstrip(".,;") for part in parts) if part]
    said: list[str] = []
    for part in sorted(given, key=lambda part: -len(words_of(part))):
        if not said or len(words_of(part) - words_of(" ".join(said))) > 0.3 * len(words_of(part)):
            said.append(part)
    return "; ".join(sorted(said, key=given.index)).replace("<", "&lt;")


def own_keys(kind: type, file: File, prefix: str, inside: str = "") -> list[Key]:
    """The keys of a class of `run_spec`, whose annotations have the rules."""
    keys = []
    for name, hint in get_type_hints(kind, include_extras=True).items():
        allowed, rule = get_args(hint)
        shown = getattr(allowed, "__name__", "") if allowed in (int, float, str, bool) else str(allowed)
        dotted = f"{inside}{name}"
        comment = re.sub(r"^[\w-]+(?: \| [\w-]+)+: ", "", file.comments[dotted])  # the rule names the choices
        keys.append(Key(f"{prefix}{name}", shown, file.written[dotted], together(rule.words, comment)))
    return keys


def choice_keys(group: str, file: File, whole: File | None = None) -> Iterator[Key]:
    """The keys that a choice of a group states.

    Args:
        whole: where it states no `_target_`, the file that it adds to.
    """
    targets = {"": str((whole or file).values.get("_target_", ""))}
    for dotted in file.comments:
        parent, _, name = dotted.rpartition(".")
        if name == "_target_":
            targets[parent] = file.written[dotted]
        elif group == "perturb":
            targets.setdefault(parent, augmentations().get(parent, ""))
    nested = {target for target in targets.values() if target}
    if not targets[""] and len(nested) == 1:  # keys beside the one class that takes them
        [targets[""]] = nested
    for dotted, default in file.written.items():
        parent, _, name = dotted.rpartition(".")
        first = dotted.partition(".")[0]
        section = name and isinstance(value_at(file.values, dotted), dict)
        if first in ("defaults", "hydra") or name in ("_target_", "_partial_") or section:
            continue
        known = arguments(targets.get(parent, "")).get(name, Argument())
        comment = file.comments[dotted] or (whole.comments.get(dotted, "") if whole else "")
        kind = known.type or KD_TYPES.get(name, "") or type_of(value_at(file.values, dotted))
        path = f"{file.package or group.replace('/', '.')}.{dotted}"
        yield Key(path, kind, default, together(known.words, comment) or WORDS.get(path, ""))


def type_of(value: Any) -> str:
    """Where no annotation says it, the default does; of null nothing is known."""
    return "" if value is None else type(value).__name__


@cache
def augmentations() -> dict[str, str]:
    """The classes of `perturb=NAME`, where there is one."""
    source = (SOURCE / "lcomp" / "data" / "augmentation.py").read_text()
    return dict(re.findall(r'^    "(\w+)": "(lcomp\.[\w.]+)",$', source, re.MULTILINE))


def value_at(values: Any, dotted: str) -> Any:
    for key in dotted.split("."):
        values = values.get(key) if isinstance(values, dict) else None
    return values


def table(keys: list[Key]) -> str:
    lines = ["| key | type | default | range and meaning |", "|---|---|---|---|", *(key.row() for key in keys)]
    return "\n".join(lines)


def added_to(path: Path, file: File) -> File | None:
    """The file of the same group that a file's defaults begin with."""
    for entry in file.values.get("defaults", ()):
        if isinstance(entry, str) and (path.parent / f"{entry}.yaml").is_file():
            return read(path.parent / f"{entry}.yaml")
    return None


def group_section(group: str, level: int) -> Iterator[str]:
    """The choices of a group, and the keys of each."""
    paths = sorted((folder() / group).glob("*.yaml"))
    yield f"{'#' * level} {TITLES.get(group, f'`{group}`')}"
    if level == 2:
        yield f"Written `{group}=CHOICE`."
    rows = [f"| `{path.stem}` | {escaped(read(path).head).replace('<', '&lt;') or '—'} |" for path in paths]
    yield "\n".join(["| choice | what it is |", "|---|---|", *rows])
    for path in paths:
        file = read(path)
        keys = list(choice_keys(group, file, added_to(path, file)))
        if keys:
            whole = added_to(path, file)
            more = "" if whole is None else " What it does not state is as in the file that it adds to."
            yield f"**`{group}={path.stem}`**{more}"
            yield table(keys)
    for inner in sorted(one for one in (folder() / group).iterdir() if one.is_dir()):
        yield from group_section(f"{group}/{inner.name}", level + 1)


def search_keys() -> list[Key]:
    """Of a search: the arguments of Hydra's `optuna` sweeper."""
    words = documented(str(SearchOptions.__doc__).replace("\n    ", "\n"))
    hints = {name: str(hint) for name, hint in SearchOptions.__annotations__.items()}
    keys = []
    for name, hint in hints.items():
        if name not in ("search_space", "resume"):
            default = getattr(SearchOptions, name)
            shown = "null" if default is None else str(default)
            keys.append(
                Key(
                    f"hydra.sweeper.{name}",
                    "str | dict | None" if hint == "Given" else hint,
                    shown,
                    together(words[name]),
                )
            )
    return keys


def lists(group: str) -> str:
    """What a group's files are for, a row each."""
    paths = sorted((folder() / group).glob("*.yaml"))
    rows = [f"| `{path.stem}` | {escaped(read(path).head).replace('<', '&lt;')} |" for path in paths]
    return "\n".join(["| choice | what it is |", "|---|---|", *rows])


def run_keys() -> Iterator[tuple[str, list[Key]]]:
    """The keys of the run itself, by heading."""
    whole, fits = read(folder() / "config.yaml"), read(folder() / "trainer" / "default.yaml")
    name = Key("name", "str | None", whole.written["name"], together(whole.comments["name"]))
    yield "The run", [name, *own_keys(run_spec.RunSettings, whole, "")]
    own = [
        Key(
            f"baseline.{key}",
            kind,
            whole.written[f"baseline.{key}"],
            together(whole.comments[f"baseline.{key}"] or words),
        )
        for key, kind, words in (
            ("cache", "str", "the folder of trained baselines"),
            ("weights", "str | None", ""),
            ("perturb", "dict | None", ""),
        )
    ]
    trained = own_keys(run_spec.TrainerSettings, whole, "baseline.trainer.", "baseline.trainer.")
    for key, of_run in zip(trained, own_keys(run_spec.TrainerSettings, fits, "trainer."), strict=True):
        key.words = of_run.words
    yield "The baseline", [*own, *trained]
    yield "Trainer: how the compressed network learns", own_keys(run_spec.TrainerSettings, fits, "trainer.")
    yield "Packed files", own_keys(run_spec.PackSettings, whole, "pack.", "pack.")
    yield "Measurement", own_keys(run_spec.MeasureSettings, whole, "measure.", "measure.")


def page() -> str:
    """The page, in Markdown."""
    parts = [HEAD.strip()]
    for title, keys in run_keys():
        parts += [f"## {title}", table(keys)]
    parts += ["`trainer=default` has the values above; `trainer=paper` is the paper's: Adam at 0.001 throughout."]
    for group in (*GROUPS, *FIRST[1:], "logger"):
        parts += group_section(group, 2)
    parts += [
        "## Searches",
        "Written `key=value` beside `sweeper=optuna`, or `hydra.sweeper.key=value`.",
        table(search_keys()),
    ]
    parts += ["### Ready searches: `hparams_search`", lists("hparams_search")]
    parts += ["## Experiments", "Written `experiment=NAME`; each is a file of overrides.", lists("experiment")]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(page())
