from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from feature_tracker.bundles.settings import Environment
from feature_tracker.errors import TrackerError
from feature_tracker.model.fetching.cache import build_once, is_whole, storage_errors
from tests.support import ROOT

IDENTITY = {"made from": "test"}

# Builds into argv[1], notes each build in argv[2], and takes its time over it.
SLOW_BUILD = """
import sys, time
from pathlib import Path
from feature_tracker.model.fetching.cache import build_once, is_whole, storage_errors

def build(result, scratch):
    with Path(sys.argv[2]).open("a") as log:
        log.write("build\\n")
    (result / "weights").write_text("half")
    time.sleep(float(sys.argv[3]))
    (result / "weights").write_text("whole")

build_once(Path(sys.argv[1]), {"made from": "test"}, build)
"""


def start_slow_build(folder: Path, log: Path, seconds: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SLOW_BUILD, str(folder), str(log), str(seconds)], cwd=ROOT)


def write_weights(result: Path, _scratch: Path) -> None:
    (result / "weights").write_text("whole")


def test_a_whole_folder_is_not_built_again(tmp_path: Path) -> None:
    folder = build_once(tmp_path / "m", IDENTITY, write_weights)
    assert build_once(folder, IDENTITY, lambda *_: pytest.fail("built twice")) == folder


def test_a_whole_folder_needs_no_writable_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build_once(tmp_path / "m", IDENTITY, write_weights)
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: pytest.fail("wrote"))
    build_once(folder, IDENTITY, write_weights)


def test_only_the_result_stays_when_a_build_fails_or_ends(tmp_path: Path) -> None:
    def fail(result: Path, scratch: Path) -> None:
        (result / "weights").write_text("half")
        (scratch / "download").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_once(tmp_path / "m", IDENTITY, fail)
    assert [path.name for path in tmp_path.iterdir()] in ([], ["m.lock"])
    build_once(tmp_path / "m", IDENTITY, write_weights)
    assert {path.name for path in tmp_path.iterdir()} <= {"m", "m.lock"}


@pytest.mark.parametrize("damage", ["shorten", "remove", "manifest", "identity"])
def test_a_damaged_folder_is_built_anew(tmp_path: Path, damage: str) -> None:
    folder = build_once(tmp_path / "m", IDENTITY, write_weights)
    identity = IDENTITY
    if damage == "shorten":
        (folder / "weights").write_text("wh")
    elif damage == "remove":
        (folder / "weights").unlink()
    elif damage == "manifest":
        (folder / "manifest.json").write_text('{"identity": ')
    else:
        identity = {"made from": "something else"}
    assert not is_whole(folder, identity)
    build_once(folder, identity, write_weights)
    assert is_whole(folder, identity)
    assert (folder / "weights").read_text() == "whole"


@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_flipped_byte_is_found_and_mended(tmp_path: Path, place: int) -> None:
    folder = build_once(tmp_path / "m", IDENTITY, write_weights)
    weights = folder / "weights"
    before = weights.stat()
    damaged = bytearray(weights.read_bytes())
    damaged[place] ^= 1
    weights.write_bytes(damaged)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not is_whole(folder, IDENTITY)
    build_once(folder, IDENTITY, write_weights)
    assert weights.read_text() == "whole"


def test_a_file_is_hashed_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build_once(tmp_path / "m", IDENTITY, write_weights)
    assert is_whole(folder, IDENTITY)
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
    assert is_whole(folder, IDENTITY)


def test_a_manifest_without_hashes_is_not_believed(tmp_path: Path) -> None:
    folder = build_once(tmp_path / "m", IDENTITY, write_weights)
    manifest = json.loads((folder / "manifest.json").read_text())
    for hashes in ({}, {"weights": None}, [], None):
        (folder / "manifest.json").write_text(json.dumps(manifest | {"sha256": hashes}))
        assert not is_whole(folder, IDENTITY)
    (folder / "manifest.json").write_text("[" * 100_000)
    assert not is_whole(folder, IDENTITY)


def test_damage_that_cannot_be_mended_is_told(tmp_path: Path) -> None:
    def fail(_result: Path, _scratch: Path) -> None:
        raise TrackerError("There is no network.")

    folder = build_once(tmp_path / "m", IDENTITY, write_weights)
    (folder / "weights").write_text("whale")
    with pytest.raises(TrackerError, match=r"is damaged or outdated and must be fetched again\. There is no network"):
        build_once(folder, IDENTITY, fail)
    assert not is_whole(folder, IDENTITY)


def test_damage_in_a_cache_that_may_only_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build_once(tmp_path / "m", IDENTITY, write_weights)
    (folder / "weights").write_text("whale")

    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("feature_tracker.model.fetching.cache.tempfile.mkdtemp", refuse)
    with pytest.raises(TrackerError, match=r"damaged or outdated.*can't be written.*FEATURE_TRACKER_CACHE"):
        build_once(folder, IDENTITY, write_weights)


@pytest.mark.slow
def test_two_processes_at_once_build_once(tmp_path: Path) -> None:
    folder, log = tmp_path / "m", tmp_path / "log"
    processes = [start_slow_build(folder, log, 0.5) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert log.read_text() == "build\n"
    assert (folder / "weights").read_text() == "whole"


def test_a_killed_build_never_counts_and_is_swept(tmp_path: Path) -> None:
    folder, log = tmp_path / "m", tmp_path / "log"
    process = start_slow_build(folder, log, 60)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("m.partial-*/result/weights")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert list(tmp_path.glob("m.partial-*"))
    assert not is_whole(folder, IDENTITY)
    build_once(folder, IDENTITY, write_weights)
    assert is_whole(folder, IDENTITY)
    assert not list(tmp_path.glob("m.partial-*"))


@pytest.mark.slow
def test_waiting_for_another_process_is_told(tmp_path: Path) -> None:
    folder, log = tmp_path / "m", tmp_path / "log"
    process = start_slow_build(folder, log, 2)
    while not log.exists():
        time.sleep(0.02)
    said: list[str] = []
    build_once(folder, IDENTITY, write_weights, lambda what, _share: said.append(what))
    assert process.wait(60) == 0
    assert any("another process" in what for what in said)
    assert log.read_text() == "build\n"


def test_a_cache_under_a_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrackerError, match="FEATURE_TRACKER_CACHE") as caught:
        build_once(tmp_path / "file" / "m", IDENTITY, write_weights)
    assert str(tmp_path / "file") in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_is_refused_by_name(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o555)
    with pytest.raises(TrackerError, match="can't be written"):
        build_once(cache / "models" / "m", IDENTITY, write_weights)


def test_a_full_disk_says_how_much_is_needed(tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match=r"disk is full.*500 MB"), storage_errors(tmp_path / "not yet there"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_cache_folder_follows_its_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEATURE_TRACKER_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert Environment().cache_folder == tmp_path / ".cache" / "feature-activation-tracker"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert Environment().cache_folder == tmp_path / "xdg" / "feature-activation-tracker"
    monkeypatch.setenv("FEATURE_TRACKER_CACHE", "~/models")
    assert Environment().cache_folder == tmp_path / "models"
