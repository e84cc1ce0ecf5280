"""A study's file that somebody else may have made: its rows are read, nothing in it is carried out."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import optuna
import sqlalchemy

from lcomp.record import limits
from lcomp.record.limits import Refused
from lcomp.record.untrusted import read_bytes

EVERY = 100_000  # steps of SQLite's between two looks at the budget
ROW = 1 << 22  # bytes of a value or a statement


def read_only(path: Path) -> optuna.storages.RDBStorage:
    """Optuna's storage over a copy in memory of the tables in the file.

    Raises:
        OSError, Refused: it is no regular file, too large, or has more than tables and their indexes.
        sqlite3.Error: it is no database, or reading it takes too long.
    """
    if path.with_name(f"{path.name}-journal").exists():
        raise Refused(f"{path}: a search was interrupted while it wrote there; resume= mends it")
    copy = checked(path)
    engine = {"creator": lambda: copy, "poolclass": sqlalchemy.pool.StaticPool}
    return optuna.storages.RDBStorage("sqlite://", engine_kwargs=engine)


def checked(path: Path) -> sqlite3.Connection:
    """A copy in memory of a database that has nothing but tables that hold rows: no view, trigger or virtual table.

    Raises:
        OSError, Refused: it is no regular file, too large, or has more.
        sqlite3.Error: it is no database.
    """
    written = read_bytes(path, limits.STUDY)
    copy = sqlite3.connect(":memory:", check_same_thread=False)
    copy.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, ROW)
    copy.execute("PRAGMA trusted_schema = OFF")
    if written:  # else a database without tables
        copy.deserialize(written)
    left = [limits.STEPS * limits.user_factor()]

    def spend() -> bool:
        left[0] -= EVERY
        return left[0] < 0

    copy.set_progress_handler(spend, EVERY)
    check_tables(path, copy)
    return copy


def check_tables(path: Path, study: sqlite3.Connection) -> None:
    """Raises Refused where the database has more than tables and indexes, or tables that compute what they hold."""
    for kind, name, sql in study.execute("SELECT type, name, sql FROM sqlite_master"):
        words = str(sql).upper()
        if kind not in ("table", "index") or words.startswith("CREATE VIRTUAL"):
            raise Refused(f"{path}: {name} is no table of rows but a {kind} of another kind; no study of Optuna's")
        if kind == "index" and sql is not None and "(" in words.partition("(")[2]:
            raise Refused(f"{path}: the index {name} computes; no study of Optuna's")
    for [table] in study.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        columns = study.execute("SELECT hidden FROM pragma_table_xinfo(?)", [table]).fetchall()
        if any(hidden for [hidden] in columns):
            raise Refused(f"{path}: the table {table} computes its columns; no study of Optuna's")
