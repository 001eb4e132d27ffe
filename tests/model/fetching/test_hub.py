"""The hub's errors and downloads, against a hub on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from feature_tracker.bundles.bundle import Bundle, PretrainedModel
from feature_tracker.bundles.missing import model_gap
from feature_tracker.errors import TrackerError
from feature_tracker.model.fetching import ensure_model_folder
from feature_tracker.model.fetching.hub import ensure_hub_model
from feature_tracker.model.load import LanguageModel, load_model_folder
from tests.model.fetching.tiny_hub import TOKEN, serving
from tests.support import ROOT, write_index

NAME = "someone/Tiny-Finance"
SOURCE = PretrainedModel(id=NAME)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory, tiny_model: LanguageModel) -> Path:
    """A repository as people have them: the weights twice, the second time as a pickle, and a program."""
    folder = tmp_path_factory.mktemp("repository")
    tiny_model.model.save_pretrained(folder)
    tiny_model.tokenizer.save_pretrained(folder)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04 a pickle")
    (folder / "modeling_tiny.py").write_text("raise SystemExit('this must not run')\n")
    (folder / "original").mkdir()
    (folder / "original" / "model.safetensors").write_bytes(b"x" * 1000)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    return tmp_path / "hub"


@pytest.fixture
def asked(repository: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """An open hub; what was asked of it."""
    with serving(repository, NAME) as (address, asked):
        point_to(address, monkeypatch)
        yield asked


def point_to(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def test_safetensors_configuration_and_tokenizer_are_fetched_and_nothing_that_runs(asked: list[str]) -> None:
    folder = ensure_hub_model(SOURCE)
    names = {path.name for path in folder.rglob("*")}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not names & {"pytorch_model.bin", "modeling_tiny.py", "original"}
    assert load_model_folder(folder, "float32").n_layers == 6
    assert not any("pytorch_model.bin" in request for request in asked)


def test_progress_counts_bytes_to_the_whole(asked: list[str]) -> None:
    told: list[tuple[str, float]] = []
    folder = ensure_hub_model(SOURCE, lambda what, share: told.append((what, share)))
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert sum(path.stat().st_size for path in folder.iterdir()) > 0
    downloading = [share for what, share in told if what.startswith(f"Downloading {NAME}: ")]
    assert len(downloading) >= 3
    assert downloading[-1] == pytest.approx(1.0)


def test_a_progress_that_raises_ends_the_download(asked: list[str]) -> None:
    class Enough(Exception):
        pass

    def stop(what: str, _share: float) -> None:
        if what.startswith("Downloading"):
            raise Enough

    with pytest.raises(Enough):
        ensure_hub_model(SOURCE, stop)


def test_what_lies_in_the_cache_is_used_without_asking_the_hub(asked: list[str]) -> None:
    folder = ensure_hub_model(SOURCE)
    asked.clear()
    assert ensure_hub_model(SOURCE) == folder
    assert asked == []


def test_a_download_that_was_cut_off_goes_on(asked: list[str]) -> None:
    folder = ensure_hub_model(SOURCE)
    (folder / "model.safetensors").unlink()
    asked.clear()
    assert not model_gap(ensure_hub_model(SOURCE))
    assert asked


def test_a_model_that_does_not_exist_is_said_to(asked: list[str]) -> None:
    with pytest.raises(TrackerError, match=r"no model someone/Tiny-Finnance on http://127\.0\.0\.1.*HF_TOKEN"):
        ensure_hub_model(PretrainedModel(id="someone/Tiny-Finnance"))


def test_a_revision_that_does_not_exist_is_said_to(asked: list[str]) -> None:
    with pytest.raises(TrackerError, match="no revision 'v7'"):
        ensure_hub_model(PretrainedModel(id=NAME, revision="v7"))


@pytest.mark.parametrize("name", ["a/b/c", "not a folder", "-x/y"])
def test_a_name_that_is_no_name_is_said_to(asked: list[str], name: str) -> None:
    with pytest.raises(TrackerError, match="neither a folder on this machine nor a name on the Hugging Face hub"):
        ensure_hub_model(PretrainedModel(id=name))


def test_a_gated_model_says_where_to_get_access(repository: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(repository, NAME, gated=True) as (address, _):
        point_to(address, monkeypatch)
        with pytest.raises(TrackerError, match=rf"is gated.*{address}/{NAME}.*HF_TOKEN.*because it got no token"):
            ensure_hub_model(SOURCE)
        monkeypatch.setenv("HF_TOKEN", "hf_of_a_stranger")
        with pytest.raises(TrackerError, match=r"is gated.*with the token it got"):
            ensure_hub_model(SOURCE)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert not model_gap(ensure_hub_model(SOURCE))


def test_without_network_the_sentence_says_what_else_works(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_to("http://127.0.0.1:9", monkeypatch)  # the discard port: nobody listens
    with pytest.raises(TrackerError, match=r"can't be reached.*HTTPS_PROXY.*FEATURE_TRACKER_MODEL"):
        ensure_hub_model(SOURCE)


def test_offline_mode_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(TrackerError, match="HF_HUB_OFFLINE"):
        ensure_hub_model(SOURCE)


def test_a_repository_of_pickles_is_refused_before_anything_is_fetched(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with serving(folder, NAME) as (address, asked):
        point_to(address, monkeypatch)
        with pytest.raises(TrackerError, match=r"no safetensors.*pytorch_model\.bin.*save_pretrained"):
            ensure_hub_model(SOURCE)
        assert not any("/resolve/" in request for request in asked)


@pytest.fixture
def own_hub(tmp_path: Path, cache: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository of this test alone, which it may change."""
    folder = tmp_path / "repository"
    shutil.copytree(repository, folder)
    with serving(folder, NAME) as (address, _):
        point_to(address, monkeypatch)
        yield folder


def shard(folder: Path, model: LanguageModel) -> list[str]:
    """Store a repository's weights in shards; their names."""
    (folder / "model.safetensors").unlink()
    model.model.save_pretrained(folder, max_shard_size="40KB")
    return sorted(path.name for path in folder.glob("model-*.safetensors"))


def test_shards_without_an_index_are_refused_before_they_are_fetched(own_hub: Path, tiny_model: LanguageModel) -> None:
    shard(own_hub, tiny_model)
    (own_hub / "model.safetensors.index.json").unlink()
    with pytest.raises(TrackerError, match=r"no safetensors by the names model\.safetensors or .*index\.json"):
        ensure_hub_model(SOURCE)


def test_a_repository_that_lacks_a_part_of_its_weights_is_refused_once_it_is_fetched(
    own_hub: Path, tiny_model: LanguageModel, tiny_bundle: Bundle
) -> None:
    name = shard(own_hub, tiny_model)[1]
    (own_hub / name).unlink()
    with pytest.raises(TrackerError, match=rf"not a whole model.*lacks {name}, which model.safetensors.index.json"):
        ensure_model_folder(replace(tiny_bundle, model=SOURCE))


def test_an_index_that_names_files_elsewhere_is_refused(own_hub: Path, tiny_model: LanguageModel) -> None:
    shard(own_hub, tiny_model)
    write_index(own_hub, evil="../../outside.safetensors")
    with pytest.raises(TrackerError, match="Only safetensors that lie beside"):
        ensure_hub_model(SOURCE)


@pytest.mark.parametrize("sharded", [False, True])
def test_weights_are_fetched_once_whatever_copies_lie_beside_them(
    own_hub: Path, tiny_model: LanguageModel, sharded: bool
) -> None:
    shards = shard(own_hub, tiny_model)
    if not sharded:  # transformers prefers the whole file where both are there
        tiny_model.model.save_pretrained(own_hub)
        tiny_model.model.save_pretrained(own_hub / "more", max_shard_size="40KB")
        for path in (own_hub / "more").iterdir():
            path.replace(own_hub / path.name)
    for name in ("consolidated.safetensors", "consolidated.00.safetensors"):
        (own_hub / name).write_bytes(b"x" * 200_000)
    folder = ensure_hub_model(SOURCE)
    fetched = sorted(path.name for path in folder.glob("*.safetensors"))
    assert fetched == (shards if sharded else ["model.safetensors"])
    assert load_model_folder(folder, "float32").n_layers == 6
    assert ensure_hub_model(SOURCE) == folder


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_beside_whole_weights_is_refused_before_anything_is_fetched(own_hub: Path, name: str) -> None:
    (own_hub / name).write_bytes(b"{}")
    with pytest.raises(TrackerError, match=f"can't be used. {name} in it belongs to an adapter"):
        ensure_hub_model(SOURCE)


def flip(path: Path, place: int) -> None:
    """Change one byte, and nothing that the file system tells of the file."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["header", "end", "cut", "empty", "gone"])
def test_a_damaged_file_in_the_cache_is_fetched_again(own_hub: Path, name: str, damage: str) -> None:
    folder = ensure_hub_model(SOURCE)
    path = folder / name
    size = path.stat().st_size
    if damage == "gone":
        path.unlink()
    elif damage in ("cut", "empty"):
        os.truncate(path, size // 2 if damage == "cut" else 0)
    else:
        flip(path.resolve(), 9 if damage == "header" else size - 1)
    assert ensure_hub_model(SOURCE) == folder
    assert path.read_bytes() == (own_hub / name).read_bytes()


def test_an_undamaged_cache_is_hashed_once_in_a_process(own_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        ensure_hub_model(SOURCE)
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
    ensure_hub_model(SOURCE)


def test_a_file_that_comes_damaged_is_refused_and_not_kept(own_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.model.fetching.tiny_hub.oid_of", lambda data: hashlib.sha256(b"x" + data).hexdigest())
    with pytest.raises(TrackerError, match=r"model\.safetensors.* came damaged: the hash is not the one"):
        ensure_hub_model(SOURCE)
    monkeypatch.undo()


def test_a_damaged_cache_without_network_is_not_used(own_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ensure_hub_model(SOURCE)
    flip((folder / "model.safetensors").resolve(), 5_000)
    point_to("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(TrackerError, match="can't be reached"):
        ensure_hub_model(SOURCE)


def test_a_mirror_that_names_files_by_plain_sha1_is_believed(own_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.model.fetching.tiny_hub.oid_of", lambda data: hashlib.sha1(data).hexdigest())
    assert load_model_folder(ensure_hub_model(SOURCE), "float32").n_layers == 6


def test_too_little_room_is_said_with_both_numbers(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "feature_tracker.model.fetching.hub.shutil.disk_usage", lambda _path: type("Usage", (), {"free": 10})()
    )
    with pytest.raises(TrackerError, match=r"takes 0\.0 GB, and 0\.0 GB are free.*HF_HOME"):
        ensure_hub_model(SOURCE)


def test_a_part_that_is_missing_makes_a_folder_not_whole(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    shards = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": dict(zip("abc", shards, strict=True))})
    )
    for shard in (shards[0], shards[2]):
        (tmp_path / shard).write_bytes(b"")
    assert re.search("found config.json, model-00001-of-00003.* lacks model-00002-of-00003", model_gap(tmp_path))
    (tmp_path / shards[1]).write_bytes(b"")
    (tmp_path / "best-of-run.safetensors").write_bytes(b"")  # no part, whatever its name
    assert not model_gap(tmp_path)
    (tmp_path / "model.safetensors.index.json").unlink()
    assert "neither model.safetensors nor model.safetensors.index.json" in model_gap(tmp_path)


def test_the_command_line_fetches_a_bundle_from_the_hub(repository: Path, tmp_path: Path) -> None:
    with serving(repository, NAME) as (address, _):
        environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf home")}
        environment["FEATURE_TRACKER_CACHE"] = str(tmp_path / "cache")
        command = [sys.executable, "-m", "feature_tracker", "fetch", "--bundle", "llama2-7b-finance", "--model", NAME]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert not model_gap(Path(done.stdout.splitlines()[-1]))
