"""Sweeps' folders as somebody with bad intent would make them, each from a seed.

python tests/hostile.py 500          # as many, one after another: a line for each that does what it must not
python tests/hostile.py 5000 record  # of one kind: record, file, study
python tests/hostile.py 5000 packed  # mutations of a packed network, read and run
"""

import io
import json
import logging
import os
import random
import resource
import shutil
import signal
import sqlite3
import sys
import tempfile
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path

import optuna
import torch
from packed_networks import every_kind, example_of, of_sentences
from records import record
from test_packed_damage import corrupted, signed

import lcomp
from lcomp.errors import UserError
from lcomp.packed.file import HEADER, file_content, write_network
from lcomp.report import __main__ as command

SECONDS, MEMORY = 5, 1 << 30
CANARY = "executed"  # the file that whatever is carried out would make
SECRET = b"what lies outside"
FILES = (
    "0/result.json",
    "0/predictions.npz",
    "0/artifact.onnx",
    "0/.hydra/config.yaml",
    "0/.hydra/overrides.yaml",
    "0/wandb/mirrored.json",
    "base-0.95/entry.json",
    "base-0.95/predictions.npz",
    "sweep.json",
    "study.db",
    "study.db-journal",
    "multirun.yaml",
    "report.html",
    "report.md",
    "results.csv",
    "results.parquet",
    "report",
    "optimization_results.yaml",
)
DEEP = "[" * 100_000
VALUES = (None, True, -1, 0, 0.5, 1e308, -1e308, 10**30, 10**400, "", "a", "x" * 100_000, "\ud800", "\0", "\x1b[2J")
VALUES += ([], {}, [[]], {"": {}}, ["a", 1], {"path": "../../../etc/passwd"}, "../" * 9 + "etc/passwd", "=1+1")
VALUES += ("<script>", "ok", "$\\frac{")
TABLES = ("studies", "trials", "trial_values", "trial_params", "version_info", "alembic_version", "study_directions")
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS study_id, x AS study_name FROM c"


def sweep(folder):
    """A search of three runs as it should be."""
    folder.mkdir(parents=True)
    for number in range(3):
        place = folder / str(number)
        record(place, f"kd.temperature={number + 1}", accuracy=0.9 + number / 100, epochs={"val_accuracy": [0.5, 0.8]})
        (place / ".hydra").mkdir()
        (place / ".hydra" / "overrides.yaml").write_text(f"- kd.temperature={number + 1}\n")
    plan = {"kd.temperature": ["1", "2", "3"], "objective": ["val_accuracy"], "direction": ["maximize"]}
    (folder / "sweep.json").write_text(json.dumps({"arguments": [], "plan": plan}))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=f"sqlite:///{folder}/study.db", study_name="lcomp", direction="maximize")
    for number in range(3):
        trial = study.ask({"kd.temperature": optuna.distributions.IntDistribution(1, 3)})
        study.tell(trial, 0.9 + number / 100)
    study._storage.engine.dispose() if hasattr(study._storage, "engine") else study._storage._backend.engine.dispose()


def places(node, path=()):
    """Every place in a JSON-like value."""
    yield path
    for key, inner in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from places(inner, (*path, key))


def bend_record(folder, random):
    """Values of a record that are something else, missing, or more than there should be."""
    path = folder / "0" / "result.json"
    found = json.loads(path.read_text())
    for _ in range(random.randint(1, 3)):
        *way, last = random.choice([place for place in places(found) if place])
        node = found
        for key in way:
            node = node[key]
        if random.random() < 0.2:
            del node[last]
        elif random.random() < 0.1 and isinstance(node, dict):
            node[random.choice(("x", "_target_", "", "../x"))] = random.choice(VALUES)
        else:
            node[last] = random.choice(VALUES)
    text = json.dumps(found)
    path.write_text(
        text if random.random() < 0.9 else text.replace("0.9", random.choice(("NaN", "-Infinity", "1e999")))
    )
    return path.name


def bend_file(folder, random):
    """A file that is another kind of thing, or whose content is."""
    name = random.choice(FILES)
    path, outside = folder / name, folder.parents[1] / "outside"
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_bytes() if path.is_file() else b"{}"
    way = random.choice(
        ("pipe", "zero", "link", "folder link", "folder", "bytes", "flip", "cut", "deep", "large", "code")
    )
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if way == "pipe":
        os.mkfifo(path)
    elif way in ("zero", "link", "folder link"):
        path.symlink_to({"zero": "/dev/zero", "link": outside / "secret", "folder link": outside}[way])
    elif way == "folder":
        path.mkdir()
    elif way == "large":
        with path.open("wb") as file:
            file.truncate(3 << 30)
    else:
        flipped = bytearray(before or b"0")
        flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
        path.write_bytes(
            {
                "bytes": random.randbytes(random.randint(0, 4000)),
                "flip": bytes(flipped),
                "cut": before[: random.randrange(len(before) + 1)],
                "deep": DEEP.encode(),
                "code": code(folder.parents[1] / CANARY),
            }[way]
        )
    return f"{name}: {way}"


def code(canary):
    """What would make the file `canary`, for whoever builds it: YAML's own, Hydra's."""
    return (
        f"data: {{_target_: os.mknod, path: {canary}}}\n"
        f"logger: {{_target_: os.mknod, path: {canary}}}\n"
        f"hydra: {{callbacks: {{a: {{_target_: os.mknod, path: {canary}}}}}}}\n"
        f"a: !!python/object/apply:os.mknod ['{canary}']\n"
    ).encode()


def bend_study(folder, random):
    """A study whose tables are views without end, or compute, or hold what Optuna does not write."""
    path = folder / "study.db"
    way = random.choice(("view", "trigger", "flip", "cell", "generated", "many", "virtual", "drop"))
    table = random.choice(TABLES)
    if way == "flip":
        content = bytearray(path.read_bytes())
        for _ in range(random.randint(1, 40)):
            content[random.randrange(len(content))] = random.randrange(256)
        path.write_bytes(content)
        return way
    database = sqlite3.connect(path)
    columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
    if way == "view":
        database.execute(f"ALTER TABLE {table} RENAME TO former")
        more = ", ".join(f"x AS {column}" for column in columns)
        database.execute(f"CREATE VIEW {table} AS {ENDLESS.replace('x AS study_id, x AS study_name', more)}")
    elif way == "trigger":
        database.execute(f"CREATE TRIGGER t AFTER INSERT ON {table} BEGIN DELETE FROM studies; END")
    elif way == "generated":
        database.execute(f"ALTER TABLE {table} ADD COLUMN g AS (hex(zeroblob(900000000)))")
    elif way == "virtual":
        database.execute("CREATE VIRTUAL TABLE v USING fts5(a)")
    elif way == "drop":
        database.execute(f"DROP TABLE {table}")
    elif way == "many":
        database.execute("INSERT INTO studies (study_name) VALUES ('a')")
    else:
        given = random.choice((None, -1, 1e308, "x" * 3_000_000, "NaN", DEEP, b"\xff", "RUNNING", "9" * 30))
        with suppress(sqlite3.Error):  # what a column does not take
            database.execute(f"UPDATE OR IGNORE {table} SET {random.choice(columns)} = ?", [given])
    database.commit()
    database.close()
    return f"{way} {table}"


KINDS = {"record": bend_record, "file": bend_file, "study": bend_study}


def hostile(place, seeds, kind=None):
    """Hostile sweeps in `place`/sweep, one for each seed beside a good one, and what is wrong with them."""
    (place / "outside").mkdir(parents=True)
    (place / "outside" / "secret").write_bytes(SECRET)
    sweep(place / "sweep" / "good")
    return [bent(place / "sweep" / str(seed), seed, kind) for seed in seeds]


def bent(folder, seed, kind):
    """A copy of the good sweep that something is wrong with: what."""
    shutil.copytree(folder.parent / "good", folder)
    own = random.Random(seed)
    if kind == "record":
        (folder / "study.db").unlink()  # which takes most of a report's time
    kind = kind or own.choice(list(KINDS))
    try:
        return f"{seed} {kind} {KINDS[kind](folder, own)}"
    except sqlite3.Error as error:  # which SQLite refuses to make
        return f"{seed} {kind} {error}"


class TooLong(BaseException):
    """A report took more time than it may; nothing takes it for an error of its own."""


@contextmanager
def bounded(many):
    """Five seconds for each of so many sweeps, and a gigabyte more than there is."""

    def out_of_time(number, frame):
        raise TooLong(f"more than {SECONDS} s")

    pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    former = {number: signal.signal(number, out_of_time) for number in (signal.SIGALRM, signal.SIGPROF)}
    resource.setrlimit(resource.RLIMIT_AS, (pages + MEMORY, before[1]))
    signal.setitimer(signal.ITIMER_PROF, SECONDS * many)  # of the processor
    signal.alarm(12 * SECONDS * many)  # of the clock, for what waits
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        for number, handler in former.items():
            signal.signal(number, handler)


def report(folder):
    """`python -m lcomp.report` of the folder, in this process; its exit code and what the log said."""
    said, before = io.StringIO(), sys.argv
    handler, log = logging.StreamHandler(said), logging.getLogger("lcomp")
    log.addHandler(handler)
    sys.argv = ["lcomp.report", str(folder)]
    try:
        return command.main(), said.getvalue()
    finally:
        sys.argv = before
        log.removeHandler(handler)


def check(place, many=1):
    """Reports on the sweeps in `place`; raises where something was executed, read or written outside, or failed."""
    with bounded(many):
        returned, said = report(place / "sweep")
    assert "MemoryError" not in said and "Traceback" not in said, said
    assert sorted(path.name for path in place.iterdir()) == ["outside", "sweep"], "something was executed"
    assert [path.name for path in (place / "outside").iterdir()] == ["secret"], "something was written outside"
    assert (place / "outside" / "secret").read_bytes() == SECRET, "something was written outside"
    assert returned == 0, "no report of the good sweep"
    text = (place / "sweep" / "report.html").read_text()
    assert SECRET.decode() not in text and "kd.temperature=3" in text


def check_packed(path, whole, seed):
    """Reads a mutation of the packed network `whole`, under a right checksum in four of five; runs what can be read."""
    damaged = corrupted(whole[HEADER:], seed)
    path.write_bytes(signed(damaged) if seed % 5 else whole[:HEADER] + damaged)
    with bounded(1):
        try:
            network = lcomp.load(path)
            with torch.no_grad():
                logits = network(*example_of(network))
        except UserError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error) and len(str(error)) < 400, str(error)
            return False
    assert seed % 5, "a wrong checksum is taken"
    assert logits.shape == (1, network.classes)
    return True


def main_packed(count):
    """Reads so many mutations of packed networks of all kinds of step; prints those that did what they must not."""
    wholes, read, faults = [file_content(write_network(made())) for made in (of_sentences, every_kind)], 0, 0
    with tempfile.TemporaryDirectory() as name:
        for seed in range(count):
            try:
                read += check_packed(Path(name) / "a.lcomp", wholes[seed // 20 % 2], seed)
            except (Exception, TooLong) as error:
                faults += 1
                print(f"{seed}: {type(error).__name__}: {str(error)[:200]} ({origin(error)})", flush=True)
    print(
        f"{faults} of {count} did what they must not; {count - read - faults} were refused, {read} are other networks"
    )
    return 1 if faults else 0


def origin(error):
    """Where it was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{last.filename}:{last.lineno}"


def remember_version():
    """Has Optuna not look up its own newest version whenever a study is opened, half of the time that this takes."""
    manager = type(optuna.storages.RDBStorage("sqlite://")._version_manager)
    found = optuna.storages.RDBStorage("sqlite://")._version_manager.get_head_version()
    manager.get_head_version = lambda _: found


def main(count, kind=None, together="1"):
    """Reports on so many hostile sweeps, some together; prints those that did what they must not."""
    if kind == "packed":
        return main_packed(int(count))
    remember_version()
    many, faults, out = int(together), 0, sys.stdout
    for first in range(0, int(count), many):
        place = Path(tempfile.mkdtemp())
        about = hostile(place, range(first, first + many), kind)
        try:
            with open(os.devnull, "w") as sys.stdout:
                check(place, many)
        except (Exception, TooLong) as error:
            faults += 1
            print(f"{about}: {type(error).__name__}: {str(error)[:200]} ({origin(error)})", file=out, flush=True)
        finally:
            sys.stdout = out
            shutil.rmtree(place)
    print(f"{faults} of {int(count) // many} reports did what they must not")
    return 1 if faults else 0


if __name__ == "__main__":
    logging.lastResort = None  # what is left out is not the question here
    sys.exit(main(*sys.argv[1:]))
