"""What one case may take."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

from hypothesis import HealthCheck, settings

from tests.fuzz import CASES

SECONDS = 2.0
BYTES = 10**9
FUZZ = settings(
    max_examples=CASES,
    deadline=None,  # `within_limits` has its own, which leaves out what hypothesis does
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@contextmanager
def within_limits() -> Generator[None]:
    """Fail where the body takes more time or memory than a case may."""
    memory, start = _peak(), time.process_time()  # of this process: other work on the machine doesn't count
    yield
    seconds = time.process_time() - start
    assert seconds < SECONDS, f"took {seconds:.1f} s"
    assert _peak() - memory < BYTES, "took more than 1 GB"


def _peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
