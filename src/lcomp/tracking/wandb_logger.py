"""Weights & Biases shows what the record says: a W&B run for each run, and one for each baseline.

Online, a W&B run is there from the first epoch on. Offline nobody watches: its files are written when the record is
complete, in a sweep after the latencies. Whatever fails here is said once and costs nothing else.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from lcomp.config import run_config
from lcomp.config.settings import Settings, section
from lcomp.errors import validate_choice
from lcomp.record import folders
from lcomp.record.files import write_atomically
from lcomp.record.redaction import redacted
from lcomp.record.result import Result, baseline_curves
from lcomp.record.untrusted import read_json
from lcomp.tracking import wandb_environment
from lcomp.tracking.failures import without_errors
from lcomp.tracking.tracker import OnEpoch, Tracker, is_single
from lcomp.tracking.wandb_contents import baseline_of, described, log_artifact, log_pictures, rows, summary
from lcomp.tracking.wandb_isolation import files_inside, no_arguments

FOLDER = "wandb"  # in the run's: W&B's own name for it
NOTE = "mirrored.json"  # in that: the W&B run's id, its mode, whether latencies were there
BASELINE = "baseline-"  # what the folder of a baseline's W&B run is named by, before its hash
TARGET = "lcomp.tracking.wandb_logger.WandbLogger"
INIT_TIMEOUT = 20.0  # seconds that a server may take to answer


class WandbLogger(Tracker):
    """What `logger=wandb` is.

    Args:
        project: W&B's; None is `WANDB_PROJECT`, else lcomp.
        entity: a user or a team; None is `WANDB_ENTITY`, else whoever is logged in.
        mode: `online`, `offline` (files that `wandb sync` sends), `disabled`; None is what `WANDB_DISABLED` or
            `WANDB_MODE` says, else offline.

    Raises:
        UserError: another mode.
    """

    can_begin: ClassVar[bool] = True  # until a W&B run could not be begun in this process: none is tried again

    def __init__(self, project: str | None = None, entity: str | None = None, mode: str | None = None):
        if mode is None:
            mode = wandb_environment.mode() or "offline"
        validate_choice("logger.mode", mode, ("online", "offline", "disabled"))
        self.project = project or wandb_environment.variable_value("WANDB_PROJECT") or "lcomp"
        self.entity = entity or wandb_environment.variable_value("WANDB_ENTITY")
        self.mode = mode
        self.run: Any = None  # W&B's, while this process carries the run out online
        self.told = 0  # epochs that it was told of

    def follow(self, folder: Path, config: Settings, result: Result, group: str) -> OnEpoch | None:
        if self.mode != "online" or not self.can_begin:
            return None

        def tell(epoch: int, scalars: Mapping[str, float]) -> None:
            with without_errors():
                if epoch == 1:
                    self.run = self.begin(folder, described(result, config), group)
                if self.run is not None:
                    self.run.log({**scalars, "epoch": epoch})
                    self.told = epoch

        return tell

    def end(self, folder: Path, config: Settings, result: Result, group: str, is_whole: bool) -> None:
        if is_whole or self.mode == "online":  # else once the record is whole
            self.complete(folder, config, result, group)
            if is_whole:
                self.complete_baseline(folder, config, result, group)

    def complete(self, folder: Path, config: Settings, result: Result, group: str) -> None:
        """Writes what the record in `folder` says to its W&B run, unless it is there."""
        if self.mode == "disabled" or not self.can_begin:
            return
        with without_errors():
            before = note(folder)
            if before is None:
                self.write(folder, described(result, config), result, folder, group)
            elif before["mode"] == "online" and not before["latencies"] and result.has_latencies:
                self.amend(folder, before["id"], result)

    def complete_baseline(self, folder: Path, config: Settings, result: Result, group: str) -> None:
        """The same for the baseline of the run in `folder`: once in a sweep, in whose folder it then lies."""
        if self.mode == "disabled" or not self.can_begin or not result.baseline or result.techniques == "baseline":
            return
        with without_errors():
            entry = folders.baseline_file(folder, result.baseline_artifact, folder.parent).parent
            own = baseline_of(result, baseline_curves(entry))
            beside = folder.parent if group == folder.parent.name else folder
            place = beside / f"{BASELINE}{own.artifact['sha256'][:8]}"
            if note(place) is None:
                bare: Settings = {
                    **config,
                    **{family: {} for family in run_config.FAMILIES},
                    **{part: dict(section(config, "baseline", part)) for part in ("trainer", "optimizer")},
                    "notes": None,
                }
                self.write(place, described(own, bare) | {"name": f"baseline seed={own.seed}"}, own, entry, group)

    def begin(self, folder: Path, about: Mapping[str, Any], group: str) -> Any:
        """Starts a W&B run, its files under `folder`, beside whatever other W&B runs this process has."""
        try:
            return self.started(folder, about, group)
        except Exception:
            WandbLogger.can_begin = False
            raise

    def started(self, folder: Path, about: Mapping[str, Any], group: str) -> Any:
        import wandb

        settings = wandb.Settings(
            silent=True,
            console="off",
            x_disable_stats=True,  # of a process that may carry other runs as well
            disable_code=True,
            disable_git=True,  # a remote's URL may hold a password; the record has the commit
            disable_job_creation=True,
            x_disable_meta=True,  # the command line stands there as it was typed; the record has the machine
            x_disable_machine_info=True,
            init_timeout=INIT_TIMEOUT,
        )
        if is_single(folder, group):
            said = wandb_environment.of_one_run()
            about = {**about, **said, "notes": about.get("notes") or said.get("notes")}
            settings.sweep_id = wandb_environment.of_an_agent(self.mode)
        folder.mkdir(exist_ok=True)
        group = wandb_environment.variable_value("WANDB_RUN_GROUP") or group
        place = Path(wandb_environment.variable_value("WANDB_DIR") or folder).absolute()
        place.mkdir(parents=True, exist_ok=True)
        with files_inside(folder / FOLDER), no_arguments(), wandb_environment.read_here():
            run = wandb.init(
                project=self.project,
                entity=self.entity,
                mode=self.mode,  # type: ignore[arg-type]
                group=group,
                dir=place,
                reinit="create_new",
                settings=settings,
                **about,
            )
        run.define_metric("epoch", hidden=True)
        run.define_metric("*", step_metric="epoch")
        return run

    def write(self, place: Path, about: Mapping[str, Any], result: Result, files: Path, group: str) -> None:
        """The whole W&B run: curves that were not told live, summary, pictures, artifact, exit code.

        Args:
            place: whose `wandb/` holds its files.
            files: where artifact and predictions lie.
        """
        folders.check_own(place)
        folders.check_own(place / FOLDER)
        if self.run is None:
            for half in (place / FOLDER).glob("offline-run-*"):  # of a mirroring that was interrupted
                shutil.rmtree(half)
        run = self.run or self.begin(place, about, group)
        try:
            for number, scalars in enumerate(rows(result.epochs), 1):
                if number > self.told:
                    run.log({**scalars, "epoch": number})
            run.summary.update({**result.metrics, **summary(result)})
            with files_inside(place / FOLDER):
                for show in (partial(log_pictures, run, files), partial(log_artifact, run, about, files, result)):
                    with without_errors("a picture or a file"):
                        show()
        finally:
            run.finish(exit_code=0 if result.status in ("ok", "pruned") else 1)
        self.take_note(place, run.id, result, is_single(place, group))

    def amend(self, folder: Path, run_id: str, result: Result) -> None:
        """Adds to a W&B run that ended online what its sweep measured later."""
        run = self.begin(folder, {"id": run_id, "resume": "must"}, folder.parent.name)
        run.summary.update({**result.metrics, **summary(result)})
        run.finish(exit_code=0)
        self.take_note(folder, run_id, result)

    def take_note(self, place: Path, run_id: str, result: Result, single: bool = False) -> None:
        kept = {"id": run_id, "mode": self.mode, "latencies": result.has_latencies}
        used = {"WANDB_PROJECT": self.project, "WANDB_ENTITY": self.entity, "WANDB_MODE": self.mode}
        said = wandb_environment.honoured(single).items()
        kept["environment"] = redacted({name: value for name, value in said if used.get(name, value) == value})
        write_atomically(place / FOLDER / NOTE, json.dumps(kept).encode())


def note(folder: Path) -> Any:
    """What was noted of the W&B run in `folder`; None where there is none, or half of one."""
    try:
        found = read_json(folder / FOLDER / NOTE)
    except (OSError, ValueError):
        return None
    kinds = {"id": str, "mode": str, "latencies": bool}
    whole = isinstance(found, dict) and all(isinstance(found.get(name), kind) for name, kind in kinds.items())
    return found if whole else None


def sync_command(folder: Path) -> str | None:
    """What sends the runs under `folder` that were kept offline; None where there are none."""
    pattern = f"{FOLDER}/offline-run-*"
    found = [f"{shlex.quote(str(folder))}/{p}" for p in (pattern, f"*/{pattern}") if any(folder.glob(p))]
    for place in (folder, *sorted(folder.glob("*"))):
        kept = note(place) or {}
        if elsewhere := kept.get("environment", {}).get("WANDB_DIR"):
            found += map(shlex.quote, map(str, Path(elsewhere).glob(f"{pattern}-{kept['id']}")))
    return f"wandb sync {' '.join(found)}" if found else None
