"""Bytes to text: which encoding a file is written in."""

from __future__ import annotations

import codecs
from collections import Counter
from typing import NamedTuple

from charset_normalizer import from_bytes

from feature_tracker.errors import TrackerError

# The longer marks first: UTF-32's begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE = 100_000  # bytes; enough to tell an encoding
_SHORTEST = 8  # characters; fewer say too little about an alphabet
_WESTERN = "cp1252"
_MAX_ACCENTED = 0.3  # of all bytes; French has 0.04, `café` 0.25. Other alphabets have more than 0.7
_NAMES = {_WESTERN: "Windows-1252", "cp932": "Shift JIS", "cp949": "EUC-KR", "euc_jis_2004": "EUC-JP"}
# What a page may declare: Python has codecs that are no encodings of text, or that take minutes.
_DECLARABLE = ("big5", "cp125", "euc-", "gb", "iso-8859-", "koi8-", "mac", "shift_jis", "windows-125")
_ASCII = bytes(range(128))
_ADVICE = "If letters look wrong, save the file as UTF-8 and read it again."


class Decoded(NamedTuple):
    """A file's text.

    Attributes:
        text: as it stands in the file, without a byte order mark.
        notes: how the file was read, where it is not UTF-8 through and through; NULs in it.
    """

    text: str
    notes: tuple[str, ...]


def decode(raw: bytes, declared: str | None = None) -> Decoded:
    """Decode a text file: UTF-8, UTF-16 or UTF-32, or what the bytes look like.

    Args:
        declared: the encoding that the file itself names, in lower case; believed where the bytes don't say otherwise.

    Raises:
        TrackerError: the bytes are no text in any encoding that is known.
    """
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return _decoded(raw.removeprefix(mark), encoding)
    encoding = _wide_without_mark(raw)
    if encoding:
        return _decoded(raw, encoding)
    return _decoded(raw, "utf-8" if _decodes(raw, "utf-8") else _legacy_encoding(raw, declared))


def _wide_without_mark(raw: bytes) -> str | None:
    """UTF-32 or UTF-16 without a mark: Latin letters, spaces and digits have NULs in them."""
    sample = raw[:_SAMPLE]
    if b"\0" not in sample:
        return None
    for encoding in ("utf-32-le", "utf-32-be"):
        whole = sample[: len(sample) // 4 * 4]
        if whole and _decodes(whole, encoding) and "\0" not in whole.decode(encoding):
            return encoding
    sample = sample[: len(sample) // 2 * 2]
    for encoding, high, low in (("utf-16-le", sample[1::2], sample[0::2]), ("utf-16-be", sample[0::2], sample[1::2])):
        if low.count(0) < 0.05 * len(low) and (high.count(0) > 0.5 * len(high) or _of_one_alphabet(high, low)):
            return encoding
    return None


def _of_one_alphabet(high: bytes, low: bytes) -> bool:
    """Whether these are bytes of UTF-16 in one alphabet: its letters share the high byte, signs and spaces have NUL."""
    shares = [sum(n for _, n in Counter(part).most_common(2)) / len(part) for part in (high, low)]
    return 0 in high and len(high) >= _SHORTEST and shares[0] > 0.9 > shares[1]


def _legacy_encoding(raw: bytes, declared: str | None) -> str:
    """The encoding of a file that is not UTF-8 throughout; UTF-8 where only some of its characters are damaged."""
    n_accented, n_damaged = len(raw.translate(None, _ASCII)), raw.decode("utf-8", "replace").count("\ufffd")
    if n_damaged < 0.1 * n_accented:
        return "utf-8"
    if declared and declared.startswith(_DECLARABLE) and _decodes(raw, declared):
        return declared
    if n_accented < _MAX_ACCENTED * len(raw) and _decodes(raw, _WESTERN):
        return _WESTERN  # charset-normalizer takes English with typographic quotes for Central European
    best = from_bytes(raw).best()
    if best is None:
        raise TrackerError(
            "This file is no text in UTF-8 or any other encoding that could be recognized. Save it as “Text, UTF-8”, "
            "or paste its text."
        )
    return best.encoding


def _decodes(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return False
    return True


def _decoded(raw: bytes, encoding: str) -> Decoded:
    text = raw.decode(encoding, "replace")
    notes: list[str] = []
    n_damaged, n_nul = text.count("\ufffd"), text.count("\0")
    if encoding != "utf-8":
        name = _NAMES.get(encoding, encoding.upper().replace("_", "-").removesuffix("-LE").removesuffix("-BE"))
        notes.append(f"The file is not UTF-8 and was read as {name}. {_ADVICE}")
    elif n_damaged:
        notes.append(f"Damaged characters, which stand as “\ufffd”: {n_damaged:,}.")
    if n_nul:
        notes.append(f"NUL characters, which were left out: {n_nul:,}.")
    return Decoded(text, tuple(notes))
