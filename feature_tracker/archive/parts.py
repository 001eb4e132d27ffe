"""Parts: consecutive documents that are run together, written together, and are there together or not at all.

Reading (`read_entry`) needs the tokenizer alone, running (`archive.tables.run_part`) the model, and numbering
(`packed`) neither. So an engine may spread the first two over machines, while one driver numbers and commits.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from feature_tracker.archive.inputs import Item, read_text
from feature_tracker.errors import TrackerError
from feature_tracker.model.tokens import TokenizedText, tokenize

PART_CHARACTERS = 250_000
"""About 55,000 tokens. Enough that windows of one length come together and that files are large, and few enough that a
part's activations, 1 kB a token, take little memory and that a run that was killed repeats little."""
PART_ENTRIES = 5_000
"""Of many short or unreadable documents."""


@dataclass(frozen=True, eq=False)
class Document:
    """A document that was read and tokenized.

    Attributes:
        name: as it was given; `packed` makes it unique.
        source: where it was read; see `archive.schema.DOCUMENTS`.
        date: where known.
        group: where known.
        notes: how it was read, in sentences.
        tokens: with its text.
    """

    name: str
    source: str
    date: dt.date | None
    group: str | None
    notes: tuple[str, ...]
    tokens: TokenizedText


class Unread(NamedTuple):
    """A document that could not be read, and why."""

    name: str
    source: str
    reason: str


Entry = Document | Unread


@dataclass(frozen=True, eq=False)
class Part:
    """Consecutive documents, and those between them that could not be read.

    Attributes:
        number: from 0.
        first_document: number of its first document in the archive.
        first_token: number of its first token in the archive.
        documents: their names are unique.
        unread: in order.
    """

    number: int
    first_document: int
    first_token: int
    documents: tuple[Document, ...]
    unread: tuple[Unread, ...]

    @property
    def n_tokens(self) -> int:
        """Tokens of all its documents, BOS left out."""
        return sum(document.tokens.n_tokens for document in self.documents)


def read_entry(item: Item, tokenizer: PreTrainedTokenizerBase, window: int) -> Entry:
    """Read and tokenize a document, or say why that can't be done."""
    name, date, group, _ = item.metadata
    try:
        text, notes = read_text(item)
        tokens = tokenize(text, tokenizer, window=window, max_tokens=sys.maxsize)
    except TrackerError as error:
        return Unread(name, item.source, str(error))
    return Document(name, item.source, date, group, notes, tokens)


def packed(
    entries: Iterable[Entry], names: Names, *, number: int, first_document: int, first_token: int, most: int
) -> Iterator[Part]:
    """Put entries into parts of at most so many characters; a longer document is a part of its own.

    Where a part ends depends on nothing before its first entry, so a run that goes on after a part cuts as an
    undisturbed one does.

    Args:
        names: that are taken.
        number: of the first part.
        first_document: of the first part.
        first_token: of the first part.
        most: characters of a part: `PART_CHARACTERS`, or the same archive would be cut otherwise.
    """
    documents: list[Document] = []
    unread: list[Unread] = []
    characters = 0
    for entry in entries:
        size = len(entry.tokens.text) if isinstance(entry, Document) else 0
        if (documents and characters + size > most) or len(documents) + len(unread) == PART_ENTRIES:
            part = Part(number, first_document, first_token, tuple(documents), tuple(unread))
            yield part
            number, first_document = number + 1, first_document + len(documents)
            first_token += part.n_tokens
            documents, unread, characters = [], [], 0
        characters += size
        if isinstance(entry, Document):
            documents.append(replace(entry, name=names.unique(entry.name)))
        else:
            unread.append(entry)
    if documents or unread:
        yield Part(number, first_document, first_token, tuple(documents), tuple(unread))


class Keys:
    """Texts that were met, 8 bytes of each: a million take 60 MB, and two are taken for one once in 10^7 such runs."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._keys = set(map(_key, texts))

    def add(self, text: str) -> bool:
        """Add a text; whether it is new."""
        key = _key(text)
        is_new = key not in self._keys
        self._keys.add(key)
        return is_new


class Names:
    """Makes names unique: the second document called `a` is `a (2)`, the third `a (3)`."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = Keys(taken)

    def unique(self, name: str) -> str:
        """The name, or the first of these that is free; it is taken from now on."""
        unique, number = name, 2
        while not self._taken.add(unique):
            unique, number = f"{name} ({number})", number + 1
        return unique


def _key(text: str) -> int:
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
