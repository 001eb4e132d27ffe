"""Runs on Ray against runs of this process. Each starts a Ray of its own, which takes seconds."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from feature_tracker.archive import parts
from feature_tracker.archive.archive import Archive
from feature_tracker.archive.inputs import Inputs
from feature_tracker.archive.run import RunReport, run_corpus
from feature_tracker.bundles.bundle import Bundle, PretrainedModel
from feature_tracker.cli.corpus import main as corpus
from feature_tracker.errors import TrackerError
from feature_tracker.model.load import LanguageModel
from feature_tracker.progress import Progress, silent
from feature_tracker.sae.load import save_sae
from feature_tracker.tracker import Tracker
from tests.archive.test_run import assert_same
from tests.support import SENTENCES, random_sae

ray = pytest.importorskip("ray", reason="Ray is not installed: the extra `corpus` brings it")
ray_engine = pytest.importorskip("feature_tracker.archive.ray_engine")
ray_cluster = pytest.importorskip("feature_tracker.archive.ray_cluster")

pytestmark = [
    # Ray Data's settings warn of each other when they are made.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
more = pytest.mark.skipif(
    not os.environ.get("RAY_TESTS"), reason="starts another Ray, which takes up to a minute: RAY_TESTS=1 runs it"
)
N_FILES = 12
SECRET = "Zanzibar-Quintessence"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Workers have a core each; with more threads this process would round sums differently."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


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
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of documents that make six parts, and one that can't be read."""
    folder = tmp_path / "documents"
    folder.mkdir()
    monkeypatch.setattr(parts, "PART_CHARACTERS", 1500)
    for number in range(N_FILES):
        text = f"{SECRET} rose." if number == 3 else SENTENCES[7 * number :]
        (folder / f"{number:02}.txt").write_text(text)
    (folder / "04b.txt").write_text(" ")
    return folder


def run(open_tracker: Callable[[], Tracker], documents: Path, out: Path, progress: Progress = silent) -> RunReport:
    inputs = Inputs(paths=(documents,), leave_out=out)
    return ray_engine.run_on_ray(open_tracker, inputs, out, ray_cluster.Cluster(workers=(2, 2)), progress=progress)


def logs_with_text() -> list[Path]:
    """Files of Ray's session that hold text of the documents."""
    session = max(Path("/tmp").glob("ray-*"), key=lambda folder: folder.stat().st_mtime)
    files = [path for path in session.rglob("*") if path.is_file()]
    assert any("raylet" in path.name for path in files)
    return [path for path in files if SECRET.encode() in path.read_bytes()]


@more
@pytest.mark.slow
def test_two_workers_make_the_same_archive_and_leave_nothing_behind(
    open_tiny: Callable[[], Tracker], documents: Path, tmp_path: Path
) -> None:
    sessions = set(Path("/tmp").glob("ray-*"))
    told: list[str] = []
    logged: list[Path] = []

    def progress(what: str, _share: float) -> None:
        told.append(what)
        if what == "Summing up":
            logged.extend(logs_with_text())

    report = run(open_tiny, documents, tmp_path / "ray", progress=progress)
    assert len(workers(tmp_path)) == 2
    here = run_corpus(open_tiny(), Inputs(paths=(documents,)), tmp_path / "here")
    assert_same(tmp_path / "ray", tmp_path / "here")
    assert Archive.open(tmp_path / "ray").n_parts > 4
    assert replace(report, seconds=0) == replace(here, seconds=0)
    assert any("tokens/s" in what for what in told) and "Summing up" in told
    assert logged == []
    assert set(Path("/tmp").glob("ray-*")) == sessions
    assert not ray.is_initialized()


@more
@pytest.mark.slow
def test_a_worker_that_is_killed_costs_no_data(
    open_tiny: Callable[[], Tracker], documents: Path, tmp_path: Path
) -> None:
    killed: list[int] = []
    logged: list[Path] = []

    def kill_one(what: str, _share: float) -> None:
        if "tokens/s" in what and not killed:
            killed.append(workers(tmp_path)[0])
            os.kill(killed[0], signal.SIGKILL)
        if what == "Summing up":
            logged.extend(logs_with_text())

    run(open_tiny, documents, tmp_path / "ray", progress=kill_one)
    assert killed and len(workers(tmp_path)) == 3  # one took the place of the one that was killed
    assert logged == []
    run_corpus(open_tiny(), Inputs(paths=(documents,)), tmp_path / "here")
    assert_same(tmp_path / "ray", tmp_path / "here")


@more
@pytest.mark.slow
def test_a_run_goes_on_after_one_of_the_other_engine(
    open_tiny: Callable[[], Tracker], documents: Path, tmp_path: Path
) -> None:
    for number in range(5, N_FILES):
        (documents / f"{number:02}.txt").unlink()
    (documents / "03.txt").rename(tmp_path / "03.txt")
    run_corpus(open_tiny(), Inputs(paths=(documents,)), tmp_path / "ray")
    shutil.copytree(tmp_path / "ray", tmp_path / "here")
    (tmp_path / "03.txt").rename(documents / "03.txt")
    report = run(open_tiny, documents, tmp_path / "ray")
    assert (report.n_documents, report.n_before) == (1, 4)
    run_corpus(open_tiny(), Inputs(paths=(documents,)), tmp_path / "here")
    assert_same(tmp_path / "ray", tmp_path / "here")


@more
@pytest.mark.slow
def test_nothing_new_leaves_the_archive_as_it_is(
    open_tiny: Callable[[], Tracker], documents: Path, tmp_path: Path
) -> None:
    for number in range(5, N_FILES):
        (documents / f"{number:02}.txt").unlink()
    run_corpus(open_tiny(), Inputs(paths=(documents,)), tmp_path / "ray")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "ray").rglob("*.parquet")}
    assert run(open_tiny, documents, tmp_path / "ray").n_documents == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "ray").rglob("*.parquet")} == before


@more
@pytest.mark.slow
def test_what_goes_wrong_on_a_worker_is_told_as_in_this_process(
    open_tiny: Callable[[], Tracker], documents: Path, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "saes")
    with pytest.raises(TrackerError, match="SAE"):
        run(open_tiny, documents, tmp_path / "ray")
    assert not ray.is_initialized()


@more
@pytest.mark.slow
def test_more_workers_than_cores_are_refused(open_tiny: Callable[[], Tracker], documents: Path, tmp_path: Path) -> None:
    cluster = ray_cluster.Cluster(workers=(1, 10_000))
    with pytest.raises(TrackerError, match="too few for 10000 workers"):
        ray_engine.run_on_ray(open_tiny, Inputs(paths=(documents,)), tmp_path / "ray", cluster)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("kind", ["nobody", "silent", "auto"])
def test_an_address_where_no_cluster_answers_is_told_soon(
    kind: str, silent_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "_ANSWERS_WITHIN", 6)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    address = {"nobody": "127.0.0.1:1", "silent": f"127.0.0.1:{silent_port}", "auto": "auto"}[kind]
    started = time.monotonic()
    with pytest.raises(TrackerError, match="No Ray cluster"):
        ray_engine.run_on_ray(no_tracker, Inputs(paths=()), tmp_path, ray_cluster.Cluster(address=address))
    assert time.monotonic() - started < 20


def no_tracker() -> Tracker:
    raise AssertionError


def test_the_client_protocol_is_refused(tmp_path: Path) -> None:
    cluster = ray_cluster.Cluster(address="ray://host:10001")
    with pytest.raises(TrackerError, match="--address auto"):
        ray_engine.run_on_ray(no_tracker, Inputs(paths=()), tmp_path, cluster)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--workers", "2"], "Add --engine ray"),
        (["--address", "auto"], "Add --engine ray"),
        (["--gpus", "0"], "Add --engine ray"),
        (["--engine", "ray", "--workers", "0"], "no number of workers"),
        (["--engine", "ray", "--workers", "4-2"], "no number of workers"),
        (["--engine", "ray", "--workers", "many"], "no number of workers"),
    ],
)
def test_options_that_do_not_go_together_are_refused(documents: Path, options: list[str], said: str) -> None:
    result = CliRunner().invoke(corpus, ["run", str(documents), "--out", "out", *options])
    assert result.exit_code and said in result.output


def test_where_ray_is_not_installed_the_command_says_what_to_install(
    documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "feature_tracker.archive.ray_engine")
    monkeypatch.setitem(sys.modules, "ray", None)
    result = CliRunner().invoke(corpus, ["run", str(documents), "--out", "out", "--engine", "ray"])
    assert result.exit_code == 1 and "feature-activation-tracker[corpus]" in result.output


@pytest.mark.parametrize(("workers_asked", "expected"), [("3", (3, 3)), ("1-16", (1, 16))])
def test_the_command_passes_on_where_to_run(
    documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers_asked: str, expected: tuple[int, int]
) -> None:
    asked: list[object] = []

    def run_on_ray(*arguments: object, **_options: object) -> RunReport:
        asked.extend(arguments)
        return RunReport()

    monkeypatch.setattr(ray_engine, "run_on_ray", run_on_ray)
    options = ["--engine", "ray", "--address", "auto", "--workers", workers_asked, "--gpus", "2"]
    result = CliRunner().invoke(corpus, ["run", str(documents), "--out", str(tmp_path / "out"), *options])
    assert result.exit_code == 0, result.output
    assert asked[3] == ray_cluster.Cluster(address="auto", workers=expected, gpus=2)
