"""Configuration becomes objects; what the user can mend becomes a UserError."""

from __future__ import annotations

import collections.abc
import importlib
import inspect
import logging
import types
import typing
from collections.abc import Callable, Mapping
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from lcomp.config.renamed import current, renewed
from lcomp.errors import UserError, suggestion
from lcomp.record.interruption import raise_machine_error

log = logging.getLogger(__name__)
KINDS: dict[Any, tuple[tuple[type, ...], str]] = {  # what a parameter's annotation accepts, and its name in messages
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a text"),
    bool: ((bool,), "true or false"),
    collections.abc.Sequence: ((list, tuple), "a list, such as [a,b]"),
    collections.abc.Callable: ((dict,), "a choice of a file: write a slash, as in prune/schedule=linear"),
}
WANTED = "num_classes"  # which a factory hands on under **kwargs, as torchvision's and timm's do


def build(node: DictConfig | Mapping[str, Any], group: str, **given: Any) -> Any:
    """The object that `node._target_` describes.

    Args:
        node: a group's configuration.
        group: its name, for messages.
        given: further arguments, passed where the constructor, or one that it hands **kwargs on to, names them;
            `num_classes` also to a factory that takes any argument and does not refuse this one.

    Raises:
        UserError: there is no class, it cannot be imported, or not be made from these keys.
    """
    plain: Any = renewed(OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else dict(node))
    target = plain.get("_target_")
    if target is None:
        keys = ", ".join(f"{group}.{key}" for key in plain)
        raise UserError(
            f"{keys}: set, but nothing takes them, as with {group}=none; choose another {group}, or leave them out"
        )
    check(plain, group)
    made = find(target, f"{group}._target_")
    names = names_of(made)
    arguments = {key: value for key, value in given.items() if key in names} | plain
    try:
        if WANTED in given and WANTED not in arguments and takes_any(made):
            try:
                return instantiated(arguments | {WANTED: given[WANTED]})
            except TypeError as error:
                if f"unexpected keyword argument '{WANTED}'" not in str(error):
                    raise
        return instantiated(arguments)
    except UserError:
        raise
    except Exception as error:  # whatever a user's constructor raises
        raise UserError(f"{group}: {target} cannot be made ({type(error).__name__}: {error})") from error


def instantiated(arguments: dict[str, Any]) -> Any:
    """What Hydra makes of them; what the constructor raises is raised as it is."""
    try:
        return hydra.utils.instantiate(arguments, _convert_="all")
    except InstantiationException as error:
        raise error.__cause__ or error from None


def find(target: str, key: str) -> Callable[..., Any]:
    """What `target`, package.module.Class, names.

    Args:
        key: where it stands, for messages.

    Raises:
        UserError: nothing; it says what was looked for, and what is there.
        Interrupted: the machine cannot import it: no memory, too many open files.
    """
    key = f"{key}={target}"
    if "." not in target:
        raise UserError(f"{key}: cannot be imported; name a module too: {target} of file.py here is file.{target}")
    parts = current(target).split(".")
    found: Any = None
    for length in range(1, len(parts) + 1):
        path = ".".join(parts[:length])
        if found is not None and hasattr(found, parts[length - 1]):
            found = getattr(found, parts[length - 1])
            continue
        try:
            found = importlib.import_module(path)
        except ModuleNotFoundError as error:
            if not f"{path}.".startswith(f"{error.name}."):
                raise UserError(f"{key}: cannot be imported ({path} needs {error.name}, which is missing)") from error
            raise UserError(f"{key}: cannot be imported ({missing(path, found)})") from error
        except Exception as error:  # whatever importing a user's module raises
            raise_machine_error(error)
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise UserError(f"{key}: cannot be imported ({path} raises {reason})") from error
    if not callable(found):
        raise UserError(f"{key}: not a class or function but a {type(found).__name__}")
    made: Callable[..., Any] = found
    return made


def missing(path: str, parent: Any) -> str:
    """Says that there is no `path`, and what there is instead: in the module `parent`, or in this folder."""
    outer, _, name = path.rpartition(".")
    if parent is None and name in (metadata("lcomp").get_all("Provides-Extra") or []):
        return f"{name} is not installed: pip install 'lcomp[{name}]'"
    if parent is None:
        here = sorted({p.stem for p in Path.cwd().glob("*.py")} | {p.parent.name for p in Path.cwd().glob("*/*.py")})
        return (
            f"no installed package and no file {name}.py or folder {name} in {Path.cwd()} is of that name; "
            f"a file here works: {name}.py{suggestion(name, here)}"
        )
    inside = {n: value for n, value in vars(parent).items() if callable(value) and not n.startswith("_")}
    has = [n for n, value in inside.items() if getattr(value, "__module__", "") == outer] or list(inside)
    shown = ", ".join(has[:20]) + (", ..." if len(has) > 20 else "")
    where = getattr(parent, "__file__", None) or "the package"
    return f"{outer}, {where}, has no {name}; it has {shown or 'no class'}{suggestion(name, has)}"


def constructors(made: Callable[..., Any]) -> list[Callable[..., Any]]:
    """`made`, and for a class that takes **kwargs the constructors of its parents, down to one that does not."""
    found = [made]
    if isinstance(made, type):
        defining = [c for c in made.__mro__ if "__init__" in vars(c)]
        found += [vars(c)["__init__"] for c in defining[1:]]
    return found


def names_of(made: Callable[..., Any]) -> list[str]:
    """The names of the arguments that `made` takes, those that it hands on to its parents included."""
    found: list[str] = []
    for constructor in constructors(made):
        parameters = parameters_of(constructor)
        found += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return [name for name in dict.fromkeys(found) if name != "self"]


def takes_any(made: Callable[..., Any]) -> bool:
    """Whether `made` takes arguments that it does not name."""
    return any(p.kind is p.VAR_KEYWORD for p in parameters_of(made))


def parameters_of(made: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of its signature; of what has none to show, as some built in C, any."""
    try:
        return list(inspect.signature(made).parameters.values())
    except ValueError:
        return [inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)]


def check(plain: Mapping[str, Any], group: str) -> None:
    """Raises UserError for a key that the constructor of `plain`, or of a part of it, does not take, or a value that it
    cannot."""
    if "_target_" in plain:
        made = find(plain["_target_"], f"{group}._target_")
        allowed = names_of(made)
        for key, value in plain.items():
            if not key.startswith("_") and key not in allowed and not takes_any(made):
                takes = f"takes {', '.join(allowed)}" if allowed else "takes no arguments"
                raise UserError(f"{group}.{key}={value}: {plain['_target_']} {takes}{suggestion(key, allowed)}")
        check_kinds(made, plain, group)
    for key, value in plain.items():
        if isinstance(value, Mapping):
            check(value, f"{group}.{key}")


def check_kinds(made: Callable[..., Any], values: Mapping[str, Any], group: str) -> None:
    """Raises UserError for a value that the annotation of its parameter refuses."""
    try:
        hints = typing.get_type_hints(made.__init__ if isinstance(made, type) else made)  # type: ignore[misc]
    except (NameError, TypeError):  # a user's annotation that exists for type checkers alone, or nothing to annotate
        return
    for key, value in values.items():
        allowed = [kind_of(part) for part in alternatives(hints.get(key))]
        kinds, name = sum((kinds for kinds, _ in allowed), ()), " or ".join(name for _, name in allowed)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds and object not in kinds):
            raise UserError(f"{group}.{key}={value}: must be {name}")


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The parts of `a | b`, or the annotation alone."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def kind_of(hint: Any) -> tuple[tuple[type, ...], str]:
    """What an annotation accepts, and its name in messages; of one that is not known, anything."""
    return KINDS.get(typing.get_origin(hint) or hint, ((object,), ""))
