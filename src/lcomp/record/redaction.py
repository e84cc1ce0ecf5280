"""Passwords and keys stay out of whatever is written or sent."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar, overload

from lcomp.record.plain import PlainValue
from lcomp.record.secret_names import names_secret

HIDDEN = "***"
SHORTEST = 6  # characters of an environment variable's value that is looked for
HINT = re.compile(  # every secret has one of these; most lines have none
    "(?i)pass|secret|token|key|cred|pwd|auth|cookie|jwt|kennw|bearer|basic|://|gh[pousr]_|github_pat|glpat|hf_|sk-"
    "|xox|a[ks]ia|aiza|eyj|npm_|pypi-"
)
PRIVATE_KEY = re.compile(
    r"(?s)-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]*+-----|\Z)"
)
SHAPED = re.compile(  # a secret whatever stands before it
    r"(?<![\w-])(?:gh[pousr]_\w{20,}+|github_pat_\w{20,}+|glpat-[\w-]{16,}+|hf_\w{20,}+|sk-[\w-]{20,}+"
    r"|xox[abeoprs]-[\w-]{10,}+|A[KS]IA[A-Z0-9]{16}\b|AIza[\w-]{30,}+|eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*+"
    r"|npm_\w{30,}+|pypi-[\w-]{30,}+)"
)
BEARER = re.compile(r"(?i)\b(bearer|basic)(\s++)[\w.~+/=-]{8,}+")
URL = re.compile(r"://[^\s'\"]++")
FLAG = re.compile(r"(?<!\S)(--?[A-Za-z][\w-]*+)(\s++)('[^']*+'|\"[^\"]*+\"|[^\s-]\S*+)")
GIVEN = re.compile(r"(?<![\w.@/-])([\w.@/-]++)(\\*+['\"])?(\s*+(?:=>|:=|=|:(?!//)|%3[ADad])\s*+)")
NEXT = re.compile(r"[+~-]*+\\?['\"]?[A-Za-z_][\w.@/-]*+\\?['\"]?\s*+(?:=(?![=\s]|$)|:(?!//))|--?[A-Za-z]")
NAMED = re.compile(r"(?i)^(\$\{[^{},]*\}|true|false|null|none|~|)$")  # no secret, whatever the key
NUMBER = re.compile(r"^[-+]?[\d.]+(e[-+]?\d+)?$")
WIDEST = 200  # characters of a line before a name that are looked at
WORD = re.compile(r"([A-Za-z]+) $")
QUOTED = re.compile(r"'''|\"\"\"|\\*+['\"]")  # what opens a value, and closes it
QUOTES, SEPARATORS = ("'", '"'), frozenset(" \t\r\n,;&=")
BLANKS = re.compile(r"[ \t\r]*+")
ENDS = ("", *" \t\r\n,;&:)]}'\"")
Key = TypeVar("Key")


@overload
def redacted(value: str, key: str = "") -> str: ...
@overload
def redacted(value: list[str] | tuple[str, ...], key: str = "") -> list[str]: ...
@overload
def redacted(value: Mapping[Key, PlainValue], key: str = "") -> dict[Key, PlainValue]: ...
@overload
def redacted(value: bool | float | list[PlainValue] | None, key: str = "") -> PlainValue: ...


def redacted(
    value: Mapping[Key, PlainValue] | list[PlainValue] | list[str] | tuple[str, ...] | str | float | bool | None,
    key: str = "",
) -> PlainValue | list[str] | dict[Key, PlainValue]:
    """`value` (JSON-like) with secrets hidden: every text beneath a key such as `api_key`, the values of overrides of
    such keys, names and passwords in URLs, private keys, the values of environment variables whose names say that they
    are secret. `${oc.env:NAME}` stays."""
    if isinstance(value, Mapping):
        return {name: redacted(item, key if names_secret(key) else str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        if names_secret(key):
            return [redacted(item, key) for item in value]
        known = environment_secrets()
        return [redacted_override(item, known) if isinstance(item, str) else redacted(item, key) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if names_secret(key) and is_secret_value(key, str(value)):
        return HIDDEN
    return redacted_line(value) if isinstance(value, str) else value


def is_secret_value(name: str, value: str) -> bool:
    """Whether a value under a telling name is one to hide."""
    bare = value.strip("'\" ")
    return not NAMED.match(bare) and not (name.lower().endswith("tokens") and NUMBER.match(bare))


def environment_secrets() -> list[str]:
    """The secrets among the environment variables."""
    return [value for name, value in os.environ.items() if names_secret(name) and len(value) >= SHORTEST]


def redacted_override(given: str, known: Sequence[str] | None = None) -> str:
    """An override with secrets hidden: what stands behind a telling name is the secret to its end."""
    name, sign, value = given.partition("=")
    if sign and names_secret(name.strip("+~ ")):
        return f"{name}={HIDDEN}" if is_secret_value(name, value) else given
    return redacted_line(given, known)


def redacted_line(line: str, known: Sequence[str] | None = None) -> str:
    """A line of a log, a command, an error, with secrets hidden, in time that grows with its length alone.

    Args:
        known: the environment's secrets, for a caller that has many lines.
    """
    for value in environment_secrets() if known is None else known:
        line = line.replace(value, HIDDEN)
    if not HINT.search(line):
        return line
    line = PRIVATE_KEY.sub(HIDDEN, line)
    line = SHAPED.sub(HIDDEN, line)
    line = BEARER.sub(rf"\1\2{HIDDEN}", line)
    line = URL.sub(lambda match: "://".join(map(without_credentials, match[0].split("://"))), line)
    return FLAG.sub(redacted_flag, redacted_values(line))


def without_credentials(address: str) -> str:
    """What follows `://`, less the name and the password before its `@`; a slash may stand in these."""
    host = address.partition("/")[0]
    if "@" in host:
        return HIDDEN + address[host.rindex("@") :]
    return HIDDEN + address[address.rindex("@") :] if ":" in host and "@" in address else address


def redacted_flag(match: re.Match[str]) -> str:
    """`--name value`."""
    shown = not names_secret(match[1].lstrip("-")) or match[3].startswith(HIDDEN)
    return match[0] if shown else f"{match[1]}{match[2]}{HIDDEN}"


def redacted_values(line: str) -> str:
    """The line with the values of telling names hidden, in whatever form: `name=value`, `'name': 'value'`, YAML."""
    parts, done, position = [], 0, 0
    while match := GIVEN.search(line, position):
        position, name = match.end(), match[1]
        if name.lower() in ("key", "keys") and (word := WORD.search(line[max(0, match.start() - 20) : match.start()])):
            name = f"{word[1]}_{name}"  # `api key: value`
        if names_secret(name):
            position = end_of_value(line, match)
            if is_secret_value(name, line[match.end() : position]):
                parts += [line[done : match.end()], HIDDEN]
                done = position
    return "".join([*parts, line[done:]])


def end_of_value(line: str, match: re.Match[str]) -> int:
    """Where the value ends whose name and sign were found."""
    start, position = match.start(), match.end()
    margin = line[max(0, start - WIDEST) : start].rpartition("\n")[2]
    before = margin.rstrip("+~")[-1:]
    if before in QUOTES and not match[2]:  # quotes around name and value
        return closing_quote(line, position, before)
    if ":" in match[3] and not margin.strip(" -"):  # a line that begins with the name: YAML
        sign = match.start(3) + match[3].index(":")
        break_ = line.find("\n", sign)
        return len(line) if break_ < 0 else end_of_block(line, break_, len(margin))
    return end_of_words(line, position, several=":" not in match[3])


def end_of_block(line: str, position: int, margin: int) -> int:
    """The end of the lines of YAML, from a line break on, that belong to a key which begins `margin` characters in."""
    while position < len(line):
        end = line.find("\n", position + 1)
        end = len(line) if end < 0 else end
        row = line[position + 1 : end]
        depth = len(row) - len(row.lstrip(" \t"))
        if row.strip() and depth + row.lstrip().startswith("- ") <= margin:
            break
        position = end
    return position


def closing_quote(line: str, position: int, quote: str) -> int:
    """Where the next such quotation mark stands that no backslash escapes; the end, where there is none."""
    while (end := line.find(quote, position)) >= 0:
        escapes = len(line[position:end]) - len(line[position:end].rstrip("\\"))
        if escapes % 2 == 0:
            return end
        position = end + len(quote)
    return len(line)


def end_of_words(line: str, position: int, several: bool) -> int:
    """Where a value ends: before a name with a value of its own, a bracket or a quotation mark that was not opened in
    it, a line break, or `: `, as in a log.

    Args:
        several: whether it may have blanks, as the value of an override.
    """
    depth, begins = 0, True
    while position < len(line):
        sign = line[position]
        if begins and (quote := QUOTED.match(line, position)):
            position = min(len(line), closing_quote(line, quote.end(), quote[0]) + len(quote[0]))
            begins = False
            continue
        begins = False
        if sign == "\\":
            position += 1
        elif sign in "([{":
            depth, begins = depth + 1, True
        elif sign in ")]}":
            if not depth:
                return position
            depth -= 1
        elif depth:
            begins = sign in SEPARATORS
        elif sign in QUOTES or sign == ":":
            if line[position + 1 : position + 2] in ENDS:
                return position
        elif sign in SEPARATORS:
            after = BLANKS.match(line, position + (not sign.isspace()))
            assert after is not None
            if sign == "\n" or line[after.end() : after.end() + 1] in ("", "\n") or NEXT.match(line, after.end()):
                return position
            if sign.isspace() and not several:
                return position
            position, begins = after.end() - 1, True
        position += 1
    return min(position, len(line))
