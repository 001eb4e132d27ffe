from __future__ import annotations

from pathlib import Path

import pytest

from bundles.bundle import load_bundle
from bundles.errors import TrackerError

BUILT_IN_TOML = Path(__file__).resolve().parents[2] / "bundles" / "smollm2-135m.toml"


def changed(tmp_path: Path, old: str, new: str) -> str:
    text = BUILT_IN_TOML.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "changed.toml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return str(path)


def test_built_in_bundle_has_the_five_layers() -> None:
    bundle = load_bundle()
    assert bundle.layers == (4, 10, 16, 22, 28)
    assert bundle.labels.name == "smollm2-135m.csv"


def test_unknown_bundle_names_those_there_are() -> None:
    with pytest.raises(TrackerError, match="smollm2-135m"):
        load_bundle("gpt-9")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("window = 512", "windows = 512", "windows"),
        ("window = 512", "", "window"),
        ("window = 512", "window = 1", "window"),
        ("max_tokens = 20000", "max_tokens = 0", "max_tokens"),
        ("[4, 10, 16, 22, 28]", "[4, 4]", "layers"),
        ('dtype = "auto"', 'dtype = "int3"', "dtype"),
        ("[model]", "[modle]", "model"),
        ("==0.1.2", "", "requirement"),
        ("window = 512", "window = = 512", "TOML"),
    ],
)
def test_a_wrong_file_is_refused_by_what_is_wrong(tmp_path: Path, old: str, new: str, named: str) -> None:
    with pytest.raises(TrackerError, match=named):
        load_bundle(changed(tmp_path, old, new))
