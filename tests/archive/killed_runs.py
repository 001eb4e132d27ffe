"""Run documents into archives, and be killed: `python -m tests.archive.killed_runs BUNDLE DOCUMENTS FOLDER SEED N`.

Every run is a process of its own, forked from this one, which has the model in memory.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from feature_tracker.archive import parts
from feature_tracker.archive.inputs import Inputs
from feature_tracker.archive.run import run_corpus
from feature_tracker.tracker import Tracker


def main(bundle: str, documents: Path, folder: Path, seed: int, n: int) -> None:
    torch.set_num_threads(1)  # a fork has no other threads
    parts.PART_CHARACTERS = 1500
    tracker, inputs = Tracker.open(bundle), Inputs(paths=(documents,))

    def begin(out: Path) -> int:
        child = os.fork()
        if not child:
            run_corpus(tracker, inputs, out)
            os._exit(0)
        return child

    def finish(out: Path) -> float:
        start = time.perf_counter()
        _, status = os.waitpid(begin(out), 0)
        assert status == 0, f"the run into {out} failed"
        return time.perf_counter() - start

    finish(folder / "warm-up")
    seconds = finish(folder / "undisturbed")
    for number, moment in enumerate(np.random.default_rng(seed).uniform(0, seconds, n)):
        out = folder / f"killed-{number}"
        child = begin(out)
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        finish(out)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
