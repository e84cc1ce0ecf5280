"""What is measured of an artifact, as typed records; a run's record keeps them flat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Latency:
    """Of one artifact, one thread.

    Attributes:
        latency_us_p50, latency_us_p90: median and 90th percentile at batch 1, microseconds.
        test_set_seconds: the whole set in batches of 250, median of three passes.
    """

    latency_us_p50: float
    latency_us_p90: float
    test_set_seconds: float


@dataclass(frozen=True)
class FileSize:
    """Bytes of a file; gzip'd at level 9, mtime 0; and of the packed form, None where it has none."""

    file_bytes: int
    gzip_bytes: int
    packed_bytes: int | None = None


@dataclass(frozen=True)
class GraphSize:
    """Of one example, from the artifact's graph.

    Attributes:
        macs: multiply-accumulates, see `lcomp.evaluation.macs`; None where they cannot be told.
        memory_bytes: weights and the largest set of live activations.
        sparsity: share of zeros (0 to 1) among the weights of layers as the file has them, each counted once.
    """

    macs: int | None
    memory_bytes: int
    sparsity: float


@dataclass(frozen=True)
class NetworkSize:
    """Of what the network's forward uses, what layers share counted once.

    Attributes:
        parameters: integer weights too.
        nonzero_parameters: those that are not zero.
        stream_bytes: of the entropy-coded state.
        pq_index: of the weights of layers (Diao et al. 2023); None where there are none.
    """

    parameters: int
    nonzero_parameters: int
    stream_bytes: int
    pq_index: float | None


@dataclass(frozen=True)
class Figures:
    """Everything that is measured of one artifact but its latency.

    Attributes:
        quality: the task's figures, by name: on the validation and the test split, and the fidelity to the network.
        robustness: the task's metric on changed inputs, by what changed them.
        engine: what the runtime alone measures, by name.
    """

    quality: Mapping[str, float]
    file: FileSize
    graph: GraphSize
    network: NetworkSize
    robustness: Mapping[str, float]
    engine: Mapping[str, float]

    def flat(self) -> dict[str, float]:
        """All of them by name, as a run's record has them; what is not known is left out."""
        return {
            **self.quality,
            **known(self.file),
            **known(self.graph),
            **known(self.network),
            **self.robustness,
            **self.engine,
        }


def known(record: FileSize | GraphSize | NetworkSize | Latency) -> dict[str, float]:
    """A record's figures by name, less those that are not known."""
    return {name: value for name, value in vars(record).items() if value is not None}
