"""Build folders in the user's cache: each is whole and undamaged, or built again, however many processes build it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from feature_tracker.errors import TrackerError
from feature_tracker.model.fetching.digests import digest
from feature_tracker.progress import Progress, silent

_MANIFEST = "manifest.json"
_POLL_SECONDS = 0.5


def build_once(
    folder: Path,
    identity: Mapping[str, str],
    build: Callable[[Path, Path], None],
    progress: Progress = silent,
) -> Path:
    """Return `folder`, building it first where it isn't whole.

    The build happens in a folder beside the final one, under a lock that other processes wait for. A manifest of names,
    sizes and hashes is written last, then the result is renamed into place, so an interrupted build never counts as
    finished. Nothing is written where `folder` is whole, so the cache may be read-only.

    Args:
        folder: final place; its parents are made.
        identity: what the folder is built from; one built from anything else is built again.
        build: called as build(result, scratch) with two empty folders; only `result` is kept.
        progress: called while another process holds the lock.

    Raises:
        TrackerError: the folder can't be written, or the disk is full. What `build` raises passes through.
    """
    if is_whole(folder, identity):
        return folder
    was_there = folder.exists()
    try:
        with storage_errors(folder.parent):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _locked(folder, progress):
                if not is_whole(folder, identity):
                    _build(folder, identity, build)
    except TrackerError as error:
        if not was_there:
            raise
        raise TrackerError(
            f"The model in {folder} is damaged or outdated and must be fetched again. {error}"
        ) from error
    return folder


def is_whole(folder: Path, identity: Mapping[str, str]) -> bool:
    """Whether `folder` holds a finished build of this identity, with every file as its manifest has it.

    Each file is hashed once in a process, and again when it has changed on the disk.
    """
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        sizes, hashes = manifest["sizes"], manifest["sha256"]
        return (
            manifest["identity"] == dict(identity)
            and sizes.keys() == hashes.keys()
            and all((folder / name).stat().st_size == size for name, size in sizes.items())
            and all(digest(folder / name) == stated for name, stated in hashes.items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


@contextlib.contextmanager
def storage_errors(folder: Path) -> Generator[None]:
    """Turn the file system's errors into a `TrackerError` about `folder`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(folder) from error
        raise TrackerError(
            f"The model's cache folder {folder} can't be written ({error}). Make it writable, or set "
            f"FEATURE_TRACKER_CACHE to a folder that is."
        ) from error


def disk_full(folder: Path) -> TrackerError:
    """Error for a full disk under `folder`."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    return TrackerError(
        f"The disk is full: fetching and converting the model needs about 500 MB in {folder}, and {free / 1e6:,.0f} MB "
        f"are free there now. Free some space, or set FEATURE_TRACKER_CACHE to a folder on a larger disk. Nothing "
        "half-finished was kept."
    )


@contextlib.contextmanager
def _locked(folder: Path, progress: Progress) -> Generator[None]:
    lock = FileLock(folder.with_name(folder.name + ".lock"))
    while True:
        try:
            lock.acquire(timeout=_POLL_SECONDS)
            break
        except Timeout:
            progress("Waiting for another process that is fetching the model", 0.0)
    try:
        yield
    finally:
        lock.release()


def _build(folder: Path, identity: Mapping[str, str], build: Callable[[Path, Path], None]) -> None:
    # Under the lock nobody else builds here, so any partial folder was left by a process that died.
    for abandoned in folder.parent.glob(f"{folder.name}.partial-*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    result, scratch = partial / "result", partial / "scratch"
    try:
        result.mkdir()
        scratch.mkdir()
        build(result, scratch)
        _finish(result, identity)
        shutil.rmtree(folder, ignore_errors=True)  # damaged, or of another identity
        result.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _finish(result: Path, identity: Mapping[str, str]) -> None:
    files = sorted(path for path in result.rglob("*") if path.is_file())
    for path in files:
        # The rename below may reach the disk before the contents do.
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    names = {path.relative_to(result).as_posix(): path for path in files}
    sizes = {name: path.stat().st_size for name, path in names.items()}
    hashes = {name: digest(path) for name, path in names.items()}
    with (result / _MANIFEST).open("w", encoding="utf-8") as file:
        json.dump({"identity": dict(identity), "sizes": sizes, "sha256": hashes}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
