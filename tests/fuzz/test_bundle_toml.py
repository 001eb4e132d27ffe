"""Bundles' TOML files with anything in them: read, or refused in a sentence that isn't long."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from feature_tracker.bundles.bundle import BUNDLES, Bundle, WheelSource, load_bundle
from feature_tracker.bundles.choice import unavailable_bundles
from feature_tracker.bundles.missing import labels_note, missing_parts
from feature_tracker.errors import TrackerError
from tests.fuzz.limits import FUZZ, within_limits

pytestmark = pytest.mark.slow
SHIPPED = [path.read_text(encoding="utf-8") for path in sorted(BUNDLES.glob("*.toml"))]
KEYS = st.sampled_from(
    [
        "title",
        "layers",
        "window",
        "max_tokens",
        "dtype",
        "sae_folder",
        "labels",
        "name",
        "layers_chosen",
        "id",
        "folder",
        "revision",
        "bos",
        "requirement",
        "sha256",
        "gguf",
        "model",
        "model.id",
        "a.b.c",
        '""',
        "__class__",
        "é",
    ]
)
STRINGS = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            ".",
            "..",
            "../..",
            "/",
            "~",
            "~nobody",
            "~/x",
            "x" * 300,
            "a/" * 3000,
            "a\0b",
            "a\nb",
            "x==1",
            "x==../..",
            "x==1\n--no-binary :all:",
            "--index-url=http://x==1",
            "0" * 64,
            "main",
            "\u202e",
            "😀",
            "/dev/zero",
            "/proc/self/mem",
        ]
    ),
    st.text(max_size=30),
)
VALUES = st.one_of(
    STRINGS.map(lambda text: '"' + "".join(f"\\U{ord(char):08x}" for char in text) + '"'),
    st.integers().map(str),
    st.sampled_from(
        [
            "true",
            "1e999",
            "nan",
            "-0.0",
            "[]",
            "[4, 4]",
            "[-1]",
            "[4.0]",
            "[[4]]",
            "[9999999999]",
            "{}",
            "{a = 1}",
            "2024-01-01",
            "0x" + "f" * 5000,
            "1" * 5000,
            "[" * 4000,
            "{a=" * 2000,
            '"""',
            "'''a'''",
            '"4 10"',
            '"4,,10"',
            "[1, 2, 3]",
            "[1,",
        ]
    ),
)


@st.composite
def bundle_files(draw: st.DrawFn) -> bytes:
    lines = draw(st.sampled_from(SHIPPED)).splitlines()
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(lines)))
        key = draw(st.one_of(KEYS, st.just(lines[place].split(" = ")[0] if place < len(lines) else "title")))
        change = draw(st.sampled_from(["replace", "insert", "delete"]))
        if change != "insert" and place < len(lines):
            del lines[place]
        if change != "delete":
            lines.insert(place, f"{key} = {draw(VALUES)}")
    raw = "\n".join(lines).encode()
    if draw(st.booleans()):
        place = draw(st.integers(0, len(raw)))
        raw = raw[:place] + draw(st.binary(max_size=3)) + raw[place + draw(st.integers(0, 3)) :]
    return draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"\xff\xfe"])) + raw


def open_bundle(path: Path) -> Bundle | None:
    """Do with a bundle what the page does before any is chosen."""
    with within_limits():
        reasons = unavailable_bundles([str(path)])
        assert all(len(reason) < 12_000 for reason in reasons.values())
        try:
            bundle = load_bundle(str(path))
        except TrackerError:
            return None
        assert not reasons
        missing_parts(bundle)
        labels_note(bundle)
        return bundle


@FUZZ
@given(raw=bundle_files())
def test_a_changed_bundle_is_read_or_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "fuzz.toml").write_bytes(raw)
    bundle = open_bundle(tmp_path / "fuzz.toml")
    if bundle is not None and isinstance(bundle.model, WheelSource):
        assert not set(bundle.model.requirement) & set("\n /\\;@*?[]\0"), "pip takes it as one line, files by its parts"
        assert ".." not in bundle.model.requirement.split("==")[1]


@FUZZ
@given(text=st.text(st.sampled_from("[]{}=.,\"'\\\n#a1 é"), max_size=300))
def test_any_text_is_read_or_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "fuzz.toml").write_text(text, encoding="utf-8")
    open_bundle(tmp_path / "fuzz.toml")


@pytest.mark.parametrize("unit", ["a.", "[a.", "[", "{a=", "[[a]]\n", "'", '"', "\n", "a=1\n", "\\", "1", "#"])
@pytest.mark.parametrize("size", [9_999, 10_000, 200_000, 20_000_000])
def test_one_sign_again_and_again_takes_no_time(tmp_path: Path, unit: str, size: int) -> None:
    (tmp_path / "fuzz.toml").write_text(f"a = {unit * (size // len(unit))}", encoding="utf-8")
    open_bundle(tmp_path / "fuzz.toml")
    (tmp_path / "fuzz.toml").write_text(unit * (size // len(unit)) + "a = 1", encoding="utf-8")
    open_bundle(tmp_path / "fuzz.toml")
