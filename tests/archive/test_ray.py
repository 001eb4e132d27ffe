"""Runs on Ray against runs of this process. Each starts a Ray of its own, which takes seconds."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.inputs import Inputs
from feature_tracker.archive.run import RunReport, run_corpus
from feature_tracker.bundles.bundle import Bundle, PretrainedModel
from feature_tracker.cli.corpus import main as corpus
from feature_tracker.errors import TrackerError
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.load import save_sae
from feature_tracker.tracker import Tracker
from tests.archive.test_run import assert_same
from tests.support import SENTENCES, random_sae

ray = pytest.importorskip("ray", reason="Ray is not installed: the extra `corpus` brings it")
ray_engine = pytest.importorskip("feature_tracker.archive.ray_engine")

pytestmark = [
    # Ray Data's settings warn of each other when they are made.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
N_FILES = 12
SECRET = "Zanzibar-Quintessence"
TWO_WORKERS = ray_engine.Cluster(workers=(2, 2))


@pytest.fixture
def open_tiny(tiny_model: LanguageModel, tiny_bundle: Bundle, tmp_path: Path) -> Callable[[], Tracker]:
    """Opens the tiny tracker from files, in any process, and notes each process that did."""
    tiny_model.model.save_pretrained(tmp_path / "model")
    tiny_model.tokenizer.save_pretrained(tmp_path / "model")
    for layer in tiny_bundle.layers:
        save_sae(tmp_path / "saes", layer, random_sae(tiny_model.d_model, seed=layer), dtype=torch.float32)
    bundle = replace(tiny_bundle, model=PretrainedModel(folder=tmp_path / "model"), sae_folder=tmp_path / "saes")
    (tmp_path / "processes").mkdir()
    return partial(noted, bundle, tmp_path)


def noted(bundle: Bundle, folder: Path) -> Tracker:
    role = "worker" if (folder / "ray" / "archive.json").exists() else "other"
    (folder / "processes" / f"{role}-{os.getpid()}").write_text(str(torch.get_num_threads()))
    return Tracker.open(bundle)


def workers(folder: Path) -> list[int]:
    return [int(path.name.split("-")[1]) for path in sorted((folder / "processes").glob("worker-*"))]


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """A folder of documents that make six parts, and one that can't be read."""
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(N_FILES):
        text = f"{SECRET} rose." if number == 3 else SENTENCES[7 * number :] * 150
        (folder / f"{number:02}.txt").write_text(text)
    (folder / "04b.txt").write_text(" ")
    return folder


def run(open_tracker: Callable[[], Tracker], documents: Path, out: Path, **options: object) -> RunReport:
    inputs = Inputs(paths=(documents,), leave_out=out)
    return ray_engine.run_on_ray(open_tracker, inputs, out, ray_engine.Cluster(workers=(2, 2)), **options)


@pytest.mark.slow
def test_two_workers_make_the_same_archive_and_leave_nothing_behind(
    open_tiny: Callable[[], Tracker], documents: Path, tmp_path: Path
) -> None:
    sessions = set(Path("/tmp").glob("ray-*"))
    told: list[str] = []
    report = run(open_tiny, documents, tmp_path / "ray", progress=lambda what, _share: told.append(what))
    here = run_corpus(open_tiny(), Inputs(paths=(documents,)), tmp_path / "here")
    assert_same(tmp_path / "ray", tmp_path / "here")
    assert Archive.open(tmp_path / "ray").n_parts > 4
    assert len(workers(tmp_path)) == 2
    assert replace(report, seconds=0) == replace(here, seconds=0)
    assert any("tokens/s" in what for what in told)
    assert set(Path("/tmp").glob("ray-*")) == sessions
    assert not ray.is_initialized()


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_no_data(
    open_tiny: Callable[[], Tracker], documents: Path, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill_one(what: str, _share: float) -> None:
        if "tokens/s" in what and not killed:
            killed.append(workers(tmp_path)[0])
            os.kill(killed[0], signal.SIGKILL)

    run(open_tiny, documents, tmp_path / "ray", progress=kill_one)
    run_corpus(open_tiny(), Inputs(paths=(documents,)), tmp_path / "here")
    assert_same(tmp_path / "ray", tmp_path / "here")
    assert killed and len(workers(tmp_path)) == 3  # one took the place of the one that was killed
