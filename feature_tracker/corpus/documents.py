"""Training and measuring text: read documents, cut them into windows of one length."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from feature_tracker.errors import TrackerError
from feature_tracker.files import numbered_lines


class Windows(NamedTuple):
    """Text cut into equal windows.

    Attributes:
        token_ids: (n_windows, window) int32, BOS first.
        finance: (n_windows,) bool.
    """

    token_ids: np.ndarray
    finance: np.ndarray


def read_documents(path: Path, split: str | None) -> Iterator[str]:
    """Documents of one split, `train` or `validation`, in a stable order; all of them where `split` is None.

    A `.jsonl` or `.jsonl.gz` file holds one object a line with `text` and, where a split is asked for, `split`. In a
    folder, every `.txt` file is a document of UTF-8 text, every tenth of them, in order of name, for `validation`.

    Raises:
        TrackerError: neither a folder nor such a file, a line is not such an object, or a file is not UTF-8 or
            cut short.
    """
    if path.is_dir():
        for index, file in enumerate(text_files(path)):
            if split in (None, "validation" if index % 10 == 9 else "train"):
                try:
                    yield file.read_text(encoding="utf-8-sig")
                except UnicodeDecodeError:
                    raise TrackerError(f"{file} is not UTF-8 text. Save it as UTF-8, or take it out.") from None
                except OSError as error:
                    raise TrackerError(f"{file} can't be read ({error.strerror}).") from None
        return
    wanted = "`text`" if split is None else "`text` and `split`"
    for file in text_files(path):
        for number, line in numbered_lines(file):
            try:
                document = json.loads(line)
                text = document["text"] if split is None or document["split"] == split else None
            except (ValueError, KeyError, TypeError, RecursionError):
                raise TrackerError(f"{file}, line {number}: expected an object with {wanted}.") from None
            if isinstance(text, str):
                yield text
            elif text is not None:
                raise TrackerError(f"{file}, line {number}: `text` must be a text, found {type(text).__name__}.")


def text_files(path: Path) -> list[Path]:
    """The files that `read_documents` reads, in order.

    Raises:
        TrackerError: neither a folder nor a .jsonl(.gz) file.
    """
    if path.is_dir():
        return sorted(file for file in path.rglob("*.txt") if file.is_file())
    if not path.is_file() or not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise TrackerError(f"{path} should be a folder of .txt files or a .jsonl or .jsonl.gz file; it is neither.")
    return [path]


def named_with_size(path: Path) -> str:
    """The name of a text with the bytes it takes, by which another text is told from it."""
    return f"{path.resolve().name} ({sum(file.stat().st_size for file in text_files(path)):,} bytes)"


def cut_windows(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, *, window: int) -> np.ndarray:
    """Every document in windows of `window` tokens that start with BOS; a document's short rest is left out.

    Returns:
        (n_windows, window) int32.
    """
    body = window - 1
    rows = []
    for text in texts:
        # A text that spells a special token means its characters: BOS stands first and nowhere else.
        encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        ids = np.asarray(encoded["input_ids"], dtype=np.int32)
        rows.append(ids[: len(ids) // body * body].reshape(-1, body))
    tokens = np.concatenate(rows) if rows else np.zeros((0, body), np.int32)
    bos = np.full((len(tokens), 1), tokenizer.bos_token_id, np.int32)
    return np.concatenate([bos, tokens], axis=1)


def mixed_windows(
    finance: Path, general: Path | None, tokenizer: PreTrainedTokenizerBase, *, split: str, window: int, seed: int
) -> Windows:
    """Windows of finance and general text in one shuffled order, so that any prefix is a fair sample."""
    paths = [finance] if general is None else [finance, general]
    parts = [cut_windows(read_documents(path, split), tokenizer, window=window) for path in paths]
    token_ids = np.concatenate(parts)
    is_finance = np.repeat([True, False][: len(parts)], [len(part) for part in parts])
    if len(token_ids) == 0:
        raise TrackerError(f"No {split} text fills a window of {window} tokens in {' and '.join(map(str, paths))}.")
    order = np.random.default_rng(seed).permutation(len(token_ids))
    return Windows(token_ids[order], is_finance[order])
