"""What `lcomp c` does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from lcomp.c.compiling import footprint, smallest_target
from lcomp.c.model import CModel, make_model
from lcomp.config.composition import compose
from lcomp.config.instantiation import build
from lcomp.data import loaders
from lcomp.errors import UserError

EXAMPLES = 2_000  # that ranges are found with


def write_c(run: Path, out: Path | None, form: str, arithmetic: str, data: str | None, examples: Path | None) -> str:
    """Writes the C of a run; what that takes, in one line.

    Args:
        run: its folder, or an ONNX file or a packed network.
        out: the folder to write, beside the artifact where None.
        data, examples: what ranges are found with, see `examples_of`.

    Raises:
        UserError: there is no such artifact, or no C for it.
    """
    model = make_model(artifact_of(run), examples_of(run, data, examples), form, arithmetic)
    folder = out or (run if run.is_dir() else run.parent) / "c"
    model.write(folder)
    return f"{folder}: {described(model)}"


def artifact_of(path: Path) -> Path:
    artifact = path / "artifact.onnx" if path.is_dir() else path
    if not artifact.is_file():
        raise UserError(f"{artifact}: no such file; RUN is the folder of a run, an ONNX file or a packed network")
    return artifact


def examples_of(run: Path, named: str | None, file: Path | None) -> NDArray[np.float32] | None:
    """Validation examples of the data of that name, or of a file of NumPy's, or of the run's own data; None where there
    are none.

    Raises:
        UserError: they cannot be read.
    """
    if file is not None:
        return read_array(file)
    noted = run / ".hydra" / "config.yaml"
    if named is None and not noted.is_file():
        return None
    config = compose([f"data={named}"]) if named is not None else OmegaConf.load(noted)
    assert isinstance(config, DictConfig)
    data = build(config.data, "data")
    loaders.begin(data, f"data._target_={config.data._target_}")
    return validation_examples(data.val_dataloader())


def read_array(path: Path) -> NDArray[np.float32]:
    try:
        examples: NDArray[np.float32] = np.load(path, allow_pickle=False).astype(np.float32)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no array of NumPy's: {error}") from None
    if examples.ndim != 4 or not len(examples) or examples.min() < 0 or examples.max() > 1:
        raise UserError(f"{path}: an array of shape {examples.shape}; (N, channels, rows, columns) from 0 to 1 can be")
    return examples[:EXAMPLES]


def validation_examples(loader: Iterable[Sequence[object]]) -> NDArray[np.float32]:
    """The first examples of a loader whose batches begin with them."""
    batches, count = [], 0
    for batch in loader:
        batches.append(np.asarray(batch[0], np.float32))
        count += len(batches[-1])
        if count >= EXAMPLES:
            break
    return np.concatenate(batches)[:EXAMPLES]


def described(model: CModel) -> str:
    """Sizes in one line."""
    target = smallest_target()
    taken = footprint(model.whole, target)
    plan = model.source.plan
    return (
        f"{taken.flash:,} bytes of flash, {taken.ram:,} of RAM ({' '.join([target.compiler, *target.flags, '-Os'])}); "
        f"arena {plan.size:,}, which cannot be below {plan.bound:,}; {model.network.macs:,} multiply-accumulates"
    )
