from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from feature_tracker.errors import TrackerError
from feature_tracker.files import numbered_lines, read_json, replacing
from feature_tracker.sae.load import load_saes, save_sae
from tests.conftest import random_sae

OLD = {"cfg.json": "old", "weights": "old"}


def make_file(folder: Path) -> Path:
    (folder / "t.csv").write_text("old")
    return folder / "t.csv"


def make_folder(folder: Path) -> Path:
    (folder / "layers.4").mkdir()
    for name, text in OLD.items():
        (folder / "layers.4" / name).write_text(text)
    return folder / "layers.4"


def contents(path: Path) -> str | dict[str, str]:
    return {file.name: file.read_text() for file in path.iterdir()} if path.is_dir() else path.read_text()


def write_half(path: Path, is_folder: bool) -> None:
    with replacing(path, folder=is_folder) as beside:
        (beside / "cfg.json" if is_folder else beside).write_text("half")
        raise KeyboardInterrupt


MAKERS = pytest.mark.parametrize(("make", "is_folder"), [(make_file, False), (make_folder, True)])


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = make_file(tmp_path)
    with replacing(path) as beside:
        assert beside.suffix == path.suffix and beside.parent == path.parent
        beside.write_text("new")
        assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]
    assert path.read_text() == "new"


def test_a_folder_is_replaced_with_everything_in_it(tmp_path: Path) -> None:
    path = make_folder(tmp_path)
    with replacing(path, folder=True) as beside:
        (beside / "cfg.json").write_text("new")
        assert contents(path) == OLD
    assert [file.name for file in tmp_path.iterdir()] == ["layers.4"]
    assert contents(path) == {"cfg.json": "new"}


def test_missing_parents_are_made(tmp_path: Path) -> None:
    with replacing(tmp_path / "a" / "b.json") as beside:
        beside.write_text("{}")
    assert (tmp_path / "a" / "b.json").read_text() == "{}"


@MAKERS
def test_an_exception_leaves_what_was_there(make: Callable[[Path], Path], is_folder: bool, tmp_path: Path) -> None:
    path = make(tmp_path)
    before = contents(path)
    with pytest.raises(KeyboardInterrupt):
        write_half(path, is_folder)
    assert contents(path) == before
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, signal, sys
from pathlib import Path
from feature_tracker.files import read_json, replacing

is_folder = sys.argv[2] == "True"
with replacing(Path(sys.argv[1]), folder=is_folder) as beside:
    (beside / "cfg.json" if is_folder else beside).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@MAKERS
def test_a_killed_process_leaves_what_was_there(make: Callable[[Path], Path], is_folder: bool, tmp_path: Path) -> None:
    path = make(tmp_path)
    before = contents(path)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(is_folder)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert contents(path) == before
    with replacing(path, folder=is_folder) as beside:
        (beside / "cfg.json" if is_folder else beside).write_text("new")
    assert contents(path) == ({"cfg.json": "new"} if is_folder else "new")


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_folder(tmp_path)
    rename = Path.rename

    def refuse_new(self: Path, target: Path) -> Path:
        if self.name.startswith(".new-"):
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with (
        pytest.raises(TrackerError, match=r"layers\.4 can't be written \(Permission denied\)"),
        replacing(path, folder=True) as beside,
    ):
        (beside / "cfg.json").write_text("new")
    assert contents(path) == OLD
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_share_a_file(tmp_path: Path) -> None:
    path = make_file(tmp_path)
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the outer block ends last
    assert list(tmp_path.iterdir()) == [path]


@MAKERS
def test_a_link_stays_a_link(make: Callable[[Path], Path], is_folder: bool, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = make(tmp_path / "elsewhere")
    link = tmp_path / "link"
    link.symlink_to(target)
    with replacing(link, folder=is_folder) as beside:
        (beside / "cfg.json" if is_folder else beside).write_text("new")
    assert link.is_symlink()
    assert contents(target) == ({"cfg.json": "new"} if is_folder else "new")


def test_a_refusal_of_the_file_system_is_told_with_the_path(tmp_path: Path) -> None:
    path = make_file(tmp_path)
    with pytest.raises(TrackerError, match=r"t\.csv.below can't be written"), replacing(path / "below") as beside:
        beside.write_text("")
    with pytest.raises(TrackerError, match=r"can't be written \(Is a directory\)"), replacing(tmp_path) as beside:
        beside.write_text("")
    with pytest.raises(TrackerError, match=r"t\.csv can't be written"), replacing(path, folder=True):
        pass
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_sae_that_is_cut_off_leaves_the_old_one_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = random_sae(24, k=6, seed=1), random_sae(24, k=3, seed=2)
    save_sae(tmp_path, 4, old, dtype=torch.float32)

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("feature_tracker.sae.formats.sparsify.save_file", cut_off)
    with pytest.raises(KeyboardInterrupt):
        save_sae(tmp_path, 4, new, dtype=torch.float32)
    loaded = load_saes(tmp_path, [4])[4]
    assert loaded.k == old.k
    assert torch.equal(loaded.decoder, old.decoder)
    assert [path.name for path in tmp_path.iterdir()] == ["layers.4"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_is_read_in_the_encodings_that_it_is_written_in(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.json").write_bytes('{"é": [1, 2.5, null]}'.encode(encoding))
    assert read_json(tmp_path / "a.json") == {"é": [1, 2.5, None]}


def test_a_number_of_thousands_of_digits_costs_no_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(f'[{"9" * 30}, {"9" * 5000}, "a"]')
    assert read_json(tmp_path / "a.json") == [int("9" * 30), float("inf"), "a"]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b" " * 101, "has more than 100 bytes"),
        (b"[" * 100, "is no JSON"),
        (b'{"a": ', "is no JSON in UTF-8"),
        (b"\xff\xfe\xff", "is no JSON in UTF-8"),
        (b"", "is no JSON in UTF-8"),
    ],
)
def test_json_that_is_none_or_too_large_is_refused(tmp_path: Path, raw: bytes, said: str) -> None:
    (tmp_path / "a.json").write_bytes(raw)
    with pytest.raises(TrackerError, match=rf"a\.json {said}"):
        read_json(tmp_path / "a.json", 100)


def test_json_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 200_000 + "]" * 200_000)
    with pytest.raises(TrackerError, match="nested too deeply"):
        read_json(tmp_path / "a.json")
    with pytest.raises(TrackerError, match=r"none.json can't be read \(No such file"):
        read_json(tmp_path / "none.json")


def test_a_line_without_end_is_refused_before_it_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_tracker.files._LONGEST_LINE", 1000)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((json.dumps("short") + "\n" + "x" * 1001).encode()))
    with pytest.raises(TrackerError, match=r"line 2: longer than 1,000 characters"):
        list(numbered_lines(tmp_path / "a.jsonl.gz"))


def test_utf16_without_a_mark_is_no_text_of_lines(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_bytes("Net sales rose.\nMargins fell.".encode("utf-16-le"))
    with pytest.raises(TrackerError, match="line 1: it holds a NUL character, as UTF-16 does"):
        list(numbered_lines(tmp_path / "corpus.txt"))
