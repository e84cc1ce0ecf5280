"""Shows which layers bear compression: each layer of the baseline alone is pruned by magnitude, then quantized, and the
validation examples are asked again; nothing is trained beyond the baseline, and the test examples are not read."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from lcomp.cli import shorthand
from lcomp.cli.error_messages import explain
from lcomp.config import run_config
from lcomp.config.composition import compose
from lcomp.config.run_spec import RunSpec, parse
from lcomp.errors import UserError
from lcomp.report.packages import check_packages

Number = TypeVar("Number", int, float)


def main(arguments: Sequence[str] | None = None, prog: str = "python -m lcomp.sensitivity") -> int:
    """Writes the scores and prints their table; 1, with one line, where that cannot be."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as for a run: model=lenet5 seed=1")
    parser.add_argument("--sparsities", default="0.5,0.7,0.8,0.9,0.95,0.98", help="shares of zeros (%(default)s)")
    parser.add_argument("--bits", default="2,3,4,5,6,7,8", help="widths of a weight (%(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the files go (multirun/sensitivity-TIME)")
    given = parser.parse_intermixed_args(arguments)
    sys.path.insert(0, os.getcwd())  # a class of the user's own in this folder
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors arrive here as exceptions
    try:
        sparsities = numbers("--sparsities", given.sparsities, float, lambda v: 0 <= v < 1, "shares from 0 to below 1")
        bits = numbers("--bits", given.bits, int, lambda v: 2 <= v <= 8, "whole numbers from 2 to 8")
        out = given.out or Path(f"multirun/sensitivity-{datetime.now():%Y%m%d-%H%M%S-%f}")
        if out.exists() and not out.is_dir():
            raise UserError(f"--out {out}: a file; name a folder")
        measure_sensitivity(resolved_config(given.overrides), given.overrides, sparsities, bits, out)
    except (UserError, HydraException, OmegaConfBaseException, ValueError) as error:
        message = str(error) if isinstance(error, UserError) else explain(error, given.overrides)
        print(f"lcomp: {message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lcomp: interrupted", file=sys.stderr)
        return 130
    return 0


def numbers(key: str, text: str, kind: type[Number], allowed: Callable[[Number], bool], words: str) -> list[Number]:
    """The different numbers of a list with commas, in their order.

    Raises:
        UserError: something else.
    """
    try:
        values = sorted({kind(part) for part in text.split(",")})
    except ValueError:
        values = []
    if not values or not all(allowed(value) for value in values):
        raise UserError(f"{key} {text}: {words}, with commas between them")
    return values


def resolved_config(overrides: Sequence[str]) -> RunSpec:
    """The configuration.

    Raises:
        UserError: an override of a technique, or one with several values.
    """
    for override in overrides:
        family = override.lstrip("+").partition("=")[0].replace("/", ".").partition(".")[0]
        if family in run_config.FAMILIES:
            raise UserError(f"{override}: the baseline alone is looked at; choose with --sparsities and --bits")
        if "=" in override and shorthand.is_sweep(override):
            raise UserError(f"{override}: one value; a call looks at one baseline")
    return parse(compose(overrides))


def measure_sensitivity(
    spec: RunSpec, overrides: Sequence[str], sparsities: Sequence[float], bits: Sequence[int], out: Path
) -> None:
    """Makes the baseline, asks it and leaves the files in `out`."""
    from lcomp.evaluation.sensitivity import baseline_sensitivities
    from lcomp.report import sensitivity

    check_packages("lcomp sensitivity")
    show_log()
    subject, scores = baseline_sensitivities(spec, sparsities, bits)
    sensitivity.show(scores)
    title = f"Sensitivity of {subject}, seed {spec.seed}"
    print(f"Sensitivity: {sensitivity.write(scores, title, ' '.join(overrides), out)}")


def show_log() -> None:
    """lcomp's own lines on standard error, as in a run; from the libraries, warnings only."""
    logger = logging.getLogger("lcomp")
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.ERROR)
