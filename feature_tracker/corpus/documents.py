"""Read the documents of a corpus, and cut them into windows."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from feature_tracker.errors import TrackerError
from feature_tracker.files import numbered_lines
from feature_tracker.model.tokens import tokenize

log = logging.getLogger(__name__)


class Document(NamedTuple):
    """One text of a corpus, and where it comes from.

    Attributes:
        text: as the file has it.
        source: what kind of text it is, such as `fomc-minutes`: the line's `source`, or the file's name where it has
            none; of a `.txt` file the name of its folder.
        name: which one of its source it is: the line's `id`, or its number if it has none; the name of a `.txt` file.
    """

    text: str
    source: str
    name: str


class Windows(NamedTuple):
    """Text cut into equal windows.

    Attributes:
        token_ids: (n_windows, window) int32, BOS first.
        finance: (n_windows,) bool, True where the window comes from finance text.
        document: (n_windows,) int32 number of the window's document, from 0, in the order in which finance text and
            then general text is read. Documents that fill no window have a number too.
        source: (n_windows,) int32 index into `sources`.
        sources: names of the documents' sources, sorted.
    """

    token_ids: np.ndarray
    finance: np.ndarray
    document: np.ndarray
    source: np.ndarray
    sources: tuple[str, ...]

    def part(self, windows: slice | np.ndarray) -> Windows:
        """Some of the windows, by a slice, an index or a mask."""
        return Windows(
            self.token_ids[windows], self.finance[windows], self.document[windows], self.source[windows], self.sources
        )


def read_documents(path: Path, split: str | None) -> Iterator[Document]:
    """Read the documents of one split, `train` or `validation`, in a stable order; all of them where `split` is `None`.

    A `.jsonl` or `.jsonl.gz` file holds one object per line, with `text` and, where a split is asked for, `split`; it
    may have `source` and `id`. In a folder, every `.txt` file is a document in UTF-8; in the order of their names,
    every tenth belongs to `validation`.

    Raises:
        TrackerError: the path is neither, a line is not such an object, or a file is not UTF-8 or is cut short.
    """
    if path.is_dir():
        for index, file in enumerate(text_files(path)):
            if split in (None, "validation" if index % 10 == 9 else "train"):
                yield Document(_read_text(file), file.resolve().parent.name, file.name)
        return
    keys = "`text`" if split is None else "`text` and `split`"
    for file in text_files(path):
        for number, line in numbered_lines(file):
            try:
                record = json.loads(line)
                text = record["text"] if split is None or record["split"] == split else None
            except (ValueError, KeyError, TypeError, RecursionError):
                raise TrackerError(f"{file}, line {number}: expected an object with {keys}.") from None
            if isinstance(text, str):
                yield Document(text, str(record.get("source", file.name)), str(record.get("id", number)))
            elif text is not None:
                raise TrackerError(f"{file}, line {number}: `text` must be a string, found {type(text).__name__}.")


def text_files(path: Path) -> list[Path]:
    """List the files that `read_documents` reads, in order.

    Raises:
        TrackerError: the path is neither a folder nor a .jsonl(.gz) file.
    """
    if path.is_dir():
        return sorted(file for file in path.rglob("*.txt") if file.is_file())
    if not path.is_file() or not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise TrackerError(f"{path} should be a folder of .txt files or a .jsonl or .jsonl.gz file; it is neither.")
    return [path]


def name_with_size(path: Path) -> str:
    """The name and size of a text, which tell it from other texts."""
    return f"{path.resolve().name} ({sum(file.stat().st_size for file in text_files(path)):,} bytes)"


def windows_of(
    texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, *, window: int, max_tokens: int | None = None
) -> Iterator[np.ndarray]:
    """Yield every window of every document, in order, as (n_tokens,) int64 token ids without BOS.

    Blank documents have no windows.

    Args:
        window: longest window, BOS included.
        max_tokens: where to stop; the last window is cut there.
    """
    return (ids for _, ids in numbered_windows(texts, tokenizer, window=window, max_tokens=max_tokens))


def numbered_windows(
    texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, *, window: int, max_tokens: int | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """As `windows_of`, each window with the number of its document, from 0."""
    remaining = sys.maxsize if max_tokens is None else max_tokens
    for document, text in enumerate(filter(str.strip, texts)):
        for ids in tokenize(text, tokenizer, window=window, max_tokens=sys.maxsize).windows():
            yield document, ids[:remaining]
            remaining -= len(ids)
            if remaining <= 0:
                log.info("stopped at %d tokens", max_tokens)
                return


def whole_windows(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, *, window: int) -> np.ndarray:
    """The windows of exactly `window` tokens, (n_windows, window) int32, BOS first; shorter ones are left out.

    BOS stands there also where the model then reads the window without it, see `LanguageModel.inputs`.
    """
    whole = [ids for ids in windows_of(texts, tokenizer, window=window) if len(ids) == window - 1]
    tokens = np.array(whole, np.int32).reshape(-1, window - 1)
    bos = np.full((len(tokens), 1), tokenizer.bos_token_id or 0, np.int32)
    return np.concatenate([bos, tokens], axis=1)


def mixed_windows(
    finance: Sequence[Path],
    general: Sequence[Path],
    tokenizer: PreTrainedTokenizerBase,
    *,
    split: str,
    window: int,
    seed: int,
) -> Windows:
    """Whole windows of finance and general text in one shuffled order, so that any prefix is a fair sample.

    Raises:
        TrackerError: the text of a kind fills no window.
    """
    token_ids: list[np.ndarray] = []  # by document
    source: list[str] = []
    is_finance: list[bool] = []
    for paths, of_finance in ((finance, True), (general, False)):
        n_before = len(token_ids)
        for path in paths:
            for document in read_documents(path, split):
                token_ids.append(whole_windows([document.text], tokenizer, window=window))
                source.append(document.source)
                is_finance.append(of_finance)
        if paths and not any(map(len, token_ids[n_before:])):
            raise TrackerError(
                f"{', '.join(map(str, paths))}: no {split} document fills a window of {window} tokens. Name a text "
                "with longer documents."
            )
    document = np.repeat(np.arange(len(token_ids), dtype=np.int32), [len(ids) for ids in token_ids])
    sources, numbers = np.unique(np.array(source), return_inverse=True)
    windows = Windows(
        np.concatenate(token_ids),
        np.array(is_finance)[document],
        document,
        numbers.astype(np.int32)[document],
        tuple(sources.tolist()),
    )
    return windows.part(np.random.default_rng(seed).permutation(len(document)))


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise TrackerError(f"{file} is not UTF-8 text. Save it as UTF-8, or take it out of the folder.") from None
    except OSError as error:
        raise TrackerError(f"{file} can't be read ({error.strerror}).") from None
