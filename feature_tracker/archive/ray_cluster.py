"""Ray itself: a cluster or this machine's own, how many workers fit, and its errors in words."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import RayError

from feature_tracker.errors import TrackerError
from feature_tracker.progress import Progress

_ANSWERS_WITHIN = 30  # seconds for a cluster to answer; Ray itself tries without an end
_CORES_A_WORKER = 4  # a choice: each worker holds a copy of the model in memory


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where a run's workers are, and how many.

    Attributes:
        address: of a cluster's head, as `host:6379`, or `auto` on one of its machines; `None` starts Ray on this
            machine for this run alone.
        workers: fewest and most; a cluster that grows gets its machines by them. `None`: one for each GPU that is
            there, or for each four cores.
        gpus: that a worker holds; `None`: one where the cluster has some.
    """

    address: str | None = None
    workers: tuple[int, int] | None = None
    gpus: int | None = None


class Size(NamedTuple):
    """How many workers, and what each holds."""

    fewest: int
    most: int
    gpus: int
    cpus: int


def size_of(cluster: Cluster) -> Size:
    """How many workers fit, and their share.

    Raises:
        TrackerError: on this machine they don't fit.
    """
    resources = ray.cluster_resources()
    n_gpus, n_cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
    gpus = (1 if n_gpus else 0) if cluster.gpus is None else cluster.gpus
    number = n_gpus // gpus if gpus else n_cpus // _CORES_A_WORKER
    fewest, most = cluster.workers or (max(number, 1), max(number, 1))
    largest = max((int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]), default=1)
    size = Size(fewest, most, gpus, max(1, min(largest, n_cpus // most)))
    if cluster.address is None and (most * size.cpus > n_cpus or most * gpus > n_gpus):
        raise TrackerError(
            f"This machine has {n_cpus} cores and {n_gpus} GPUs, too few for {most} workers. Ask for fewer with "
            "--workers, or name a cluster with --address."
        )
    return size


@contextmanager
def connected(address: str | None, progress: Progress) -> Generator[None]:
    """Ray, for this run: a cluster's, or one of this machine's own, of which nothing is left afterwards.

    Raises:
        TrackerError: no cluster answers.
    """
    progress("Connecting to Ray" if address else "Starting Ray", 0.0)
    # Nothing is sent to Ray's makers, and Ray's own words are not mixed with a command's.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is not None:
        _require_answer(address)
        ray.init(address=address, **quiet)
        try:
            yield
        finally:
            ray.shutdown()
        return
    with _short_folder() as folder:
        ray.init(address="local", include_dashboard=False, _temp_dir=folder, **quiet)
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _short_folder() -> Generator[str]:
    """A folder for Ray's session files, which only this user may read; its sockets' paths may have 107 characters."""
    short = Path("/tmp")
    with tempfile.TemporaryDirectory(
        prefix="ray-", dir=short if short.is_dir() else None, ignore_cleanup_errors=True
    ) as folder:
        yield folder


def _require_answer(address: str) -> None:
    """Refuse an address where no cluster of this version answers.

    Another process asks: Ray's client tries for minutes, can't be stopped, and may end its process.
    """
    if "://" in address:
        raise TrackerError(
            f"{address}: Ray's client protocol isn't used here. Run this command on a machine of the cluster (with "
            "`ray job submit`, for one) and name --address auto, or host:6379."
        )
    ask = f"import ray; ray.init(address={address!r}, log_to_driver=False, logging_level='ERROR')"
    try:
        done = subprocess.run(
            [sys.executable, "-c", ask], capture_output=True, text=True, timeout=_ANSWERS_WITHIN, check=False
        )
    except subprocess.TimeoutExpired:
        raise TrackerError(
            f"No Ray cluster answers at {address} within {_ANSWERS_WITHIN} seconds. Is it running (`ray status` on its "
            "head), and is the address its head's, with port 6379 where no other was chosen?"
        ) from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        raise TrackerError(f"No Ray cluster can be used at {address}: {said}")


@contextmanager
def telling_ray_errors() -> Generator[None]:
    """Errors of Ray as sentences. Their own texts are long, and may quote a document."""
    try:
        yield
    except (RayError, ExecutionTimeoutError) as error:
        raise TrackerError(
            f"Ray gave up ({type(error).__name__}). What was written before is safe. A part may need more memory than "
            "a worker has, or the cluster lost its machines. Run the same command again, with fewer workers a "
            "machine: it goes on where it was."
        ) from error
