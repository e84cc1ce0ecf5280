"""What a W&B run holds of a record: its name and configuration, summary, curves, pictures, artifact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lcomp.config import run_config
from lcomp.config.settings import Settings
from lcomp.record import folders
from lcomp.record.redaction import redacted
from lcomp.record.result import Curves, Result
from lcomp.tracking import run_contents, wandb_environment

TAG_LENGTH = 64  # W&B takes no longer ones


def described(result: Result, config: Settings) -> dict[str, Any]:
    """What W&B is told of the run before anything is logged."""
    known = {
        key: getattr(result, key)
        for key in ("started", "config_hash", "code_hash", "dataset", "environment", "overrides")
    }
    given = (*tags(result.choices), *wandb_environment.tags(), *map(str, redacted(run_contents.tags(config))))
    said = run_contents.notes(config)
    return {
        "name": run_contents.display_name(result),
        "job_type": result.techniques,
        "tags": [tag[:TAG_LENGTH] for tag in dict.fromkeys(given) if tag],
        **({"notes": str(redacted(said))} if said else {}),
        "config": redacted({**config, "record": known}),
    }


def tags(choices: Mapping[str, Any]) -> Iterator[str]:
    """A tag for each choice."""
    yield from (f"{group}={choice}" for group, choice in choices.items() if choice is not None)


def baseline_of(result: Result, epochs: Curves) -> Result:
    """The record that the run's baseline would have had."""
    return Result(
        "ok",
        choices={group: "none" if group in run_config.FAMILIES else choice for group, choice in result.choices.items()},
        seed=result.seed,
        started=result.started,
        dataset=result.dataset,
        environment=result.environment,
        metrics=result.baseline,
        artifact=result.baseline_artifact | {"path": Path(result.baseline_artifact["path"]).name},
        seconds={"train": result.seconds.get("baseline", 0.0)},
        epochs=epochs,
    )


def summary(result: Result) -> dict[str, Any]:
    """The record's figures beside its metrics."""
    return redacted(
        {
            "status": result.status,
            "error": result.error,
            "steps": result.steps,
            **{f"seconds/{part}": taken for part, taken in result.seconds.items()},
            "baseline": {**result.baseline},
            "reused": result.reused,
        }
    )


def rows(epochs: Curves) -> Iterator[dict[str, float]]:
    """What was logged of each epoch."""
    for values in zip(*epochs.values(), strict=True):
        yield {name: value for name, value in zip(epochs, values, strict=True) if value is not None}


def log_pictures(run: Any, folder: Path) -> None:
    """The confusion matrix and some mistakes, from the predictions in `folder`; nothing where there are none."""
    import wandb

    from lcomp.record import predictions  # with NumPy, which no command line needs before a run

    own_predictions = predictions.read_predictions(folder)
    if own_predictions is None:
        return
    labels, predicted = own_predictions.labels, own_predictions.predictions
    names = [str(number) for number in range(1 + int(max(labels.max(), predicted.max())))]
    matrix = wandb.plot.confusion_matrix(y_true=labels.tolist(), preds=predicted.tolist(), class_names=names)
    run.log({"confusion_matrix": matrix})
    wrong = own_predictions.mistakes[: predictions.MISTAKES]
    if len(wrong):
        captions = [f"{labels[index]} read as {predicted[index]}" for index in wrong]
        pairs = list(zip(own_predictions.shown, captions, strict=False))
        pictures = [wandb.Image(shown, caption=caption) for shown, caption in pairs if not isinstance(shown, str)]
        texts = wandb.Table(["text", "answer"], [pair for pair in pairs if isinstance(pair[0], str)])
        run.log({"mistakes": pictures or texts})


def log_artifact(run: Any, about: Mapping[str, Any], folder: Path, result: Result) -> None:
    """The network's file as a W&B artifact, named by its techniques."""
    import wandb

    if not (folder / str(result.artifact.get("path"))).is_file():
        return
    path = folders.artifact_file(folder, result.artifact)
    name = about["job_type"].replace("+", "-")
    artifact = wandb.Artifact(f"lcomp-{name}", "model", metadata={"config_hash": result.config_hash})
    artifact.add_file(str(path), policy="immutable")  # where it lies: no copy
    run.log_artifact(artifact, aliases=["latest", f"seed-{result.seed}"])
