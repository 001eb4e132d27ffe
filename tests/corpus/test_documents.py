from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from feature_tracker.corpus.documents import Document, mixed_windows, read_documents, whole_windows, windows_of
from feature_tracker.errors import TrackerError
from tests.support import SENTENCES


def texts(path: Path, split: str | None) -> list[str]:
    return [document.text for document in read_documents(path, split)]


def write_jsonl(path: Path, documents: list[dict[str, str]]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(document) + "\n" for document in documents)
    return path


def test_a_folder_that_is_called_like_a_text_is_none(tmp_path: Path) -> None:
    (tmp_path / "q1.txt").mkdir()
    (tmp_path / "q1.txt" / "a.txt").write_text("Rates rose", encoding="utf-8")
    assert texts(tmp_path, None) == ["Rates rose"]


def test_a_document_says_where_it_comes_from(tmp_path: Path) -> None:
    lines = [
        {"id": "2011-01", "source": "minutes", "text": "one"},
        {"id": 7, "text": "two"},
        {"source": "minutes", "text": "three"},
    ]
    (tmp_path / "a.jsonl").write_text("\n\n".join(map(json.dumps, lines)))
    (tmp_path / "letters" / "2020").mkdir(parents=True)
    for file in ("letters/b.txt", "letters/2020/c.txt"):
        (tmp_path / file).write_text("four")
    assert [document[1:] for document in read_documents(tmp_path / "a.jsonl", None)] == [
        ("minutes", "2011-01"), ("a.jsonl", "7"), ("minutes", "5"),
    ]  # fmt: skip
    assert list(read_documents(tmp_path / "letters", None)) == [
        Document("four", "2020", "c.txt"), Document("four", "letters", "b.txt"),
    ]  # fmt: skip


def test_a_split_holds_its_own_documents_alone(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "a.jsonl.gz", [{"text": "one", "split": "train"}, {"text": "two", "split": "validation"}]
    )
    assert texts(path, "train") == ["one"]
    assert texts(path, "validation") == ["two"]


def test_every_tenth_file_of_a_folder_is_validation(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"{i:02}.txt").write_text(str(i), encoding="utf-8")
    assert texts(tmp_path, "validation") == ["9", "19"]
    assert len(list(read_documents(tmp_path, "train"))) == 18


@pytest.mark.parametrize("line", ["{", "[]", '{"text": "no split"}', '{"text": 5, "split": "train"}'])
def test_a_wrong_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "split": "train"}\n' + line, encoding="utf-8")
    with pytest.raises(TrackerError, match="line 2"):
        list(read_documents(tmp_path / "a.jsonl", "train"))


LINES = "\n".join(json.dumps({"text": f"Rates rose to {i} %", "split": "train"}) for i in range(2000))


def test_a_byte_order_mark_belongs_to_no_document(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(LINES, encoding="utf-8-sig")
    (tmp_path / "a.txt").write_text("Rates rose", encoding="utf-8-sig")
    assert next(read_documents(tmp_path / "a.jsonl", "train")).text == "Rates rose to 0 %"
    assert texts(tmp_path, "train") == ["Rates rose"]


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("a.jsonl", LINES.replace("rose", "f\xfcr").encode("cp1252")),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:-500]),
        ("a.jsonl.gz", LINES.encode()),
        ("a.jsonl", ("[" * 100_000).encode()),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, raw: bytes) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(TrackerError, match=rf"{name}, (after )?line"):
        list(read_documents(tmp_path / name, "train"))


def test_a_text_that_spells_bos_puts_none_into_a_window(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    windows = whole_windows(["<bos>".join([SENTENCES] * 3)], tiny_tokenizer, window=16)
    assert len(windows) > 3
    assert (windows[:, 1:] != tiny_tokenizer.bos_token_id).all()


def test_every_window_starts_with_bos_and_stays_in_one_document(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    windows = whole_windows([SENTENCES, SENTENCES.upper()], tiny_tokenizer, window=16)
    first = tiny_tokenizer(SENTENCES, add_special_tokens=False)["input_ids"]
    n_first = len(first) // 15
    assert (windows[:, 0] == tiny_tokenizer.bos_token_id).all()
    assert windows[:n_first, 1:].reshape(-1).tolist() == first[: n_first * 15]


def test_windows_of_short_long_and_blank_documents(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tiny_tokenizer(SENTENCES, add_special_tokens=False)["input_ids"]
    documents = [" \n", SENTENCES, "", "Rates"]
    windows = list(windows_of(documents, tiny_tokenizer, window=16))
    assert np.concatenate(windows).tolist() == ids + tiny_tokenizer("Rates", add_special_tokens=False)["input_ids"]
    assert all(0 < len(window) <= 15 for window in windows)
    assert len(whole_windows(documents, tiny_tokenizer, window=16)) == len(ids) // 15
    assert whole_windows(["Rates", " "], tiny_tokenizer, window=16).shape == (0, 16)
    assert list(windows_of([" "], tiny_tokenizer, window=16)) == []


@pytest.mark.parametrize("max_tokens", [1, 15, 16, 40])
def test_a_limit_of_tokens_cuts_the_last_window(tiny_tokenizer: PreTrainedTokenizerFast, max_tokens: int) -> None:
    windows = list(windows_of([SENTENCES, SENTENCES], tiny_tokenizer, window=16, max_tokens=max_tokens))
    assert sum(map(len, windows)) == max_tokens
    assert len(windows) == -(-max_tokens // 15)


def test_a_text_that_fills_no_window_is_named(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    long = write_jsonl(tmp_path / "long.jsonl.gz", [{"text": SENTENCES, "split": "train"}])
    short = write_jsonl(tmp_path / "short.jsonl.gz", [{"text": "Rates", "split": "train"}])
    alone = mixed_windows([long], [], tiny_tokenizer, split="train", window=16, seed=0)
    assert alone.finance.all()
    for finance, general in ((short, long), (long, short), (short, None)):
        with pytest.raises(TrackerError, match=r"short\.jsonl\.gz: no train document fills a window of 16 tokens"):
            mixed_windows([finance], [general], tiny_tokenizer, split="train", window=16, seed=0)


def test_order_is_the_seed_s_and_finance_follows_its_windows(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    finance = write_jsonl(tmp_path / "f.jsonl.gz", [{"text": "rates " * 200, "split": "train"}])
    general = write_jsonl(tmp_path / "g.jsonl.gz", [{"text": "TREES " * 200, "split": "train"}])
    first, again, other = (
        mixed_windows([finance], [general], tiny_tokenizer, split="train", window=16, seed=seed) for seed in (0, 0, 1)
    )
    assert np.array_equal(first.token_ids, again.token_ids)
    assert not np.array_equal(first.token_ids, other.token_ids)
    for ids, is_finance in zip(first.token_ids, first.finance, strict=True):
        assert ("TREES" not in tiny_tokenizer.decode(ids[1:])) == is_finance


def test_windows_know_their_document_and_its_source(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    words = ("rates", "short", "banks", "trees")
    documents = [
        {"text": f"{word} " * (2 if word == "short" else 60), "split": "train", "source": source}
        for word, source in zip(words, ("minutes", "minutes", "filing", "filing"), strict=True)
    ]
    finance = write_jsonl(tmp_path / "f.jsonl.gz", documents[:3])
    general = write_jsonl(tmp_path / "g.jsonl.gz", documents[3:])
    windows = mixed_windows([finance], [general], tiny_tokenizer, split="train", window=16, seed=0)
    assert windows.sources == ("filing", "minutes")
    assert set(windows.document) == {0, 2, 3}  # 1 is shorter than a window
    for ids, number, source in zip(windows.token_ids, windows.document, windows.source, strict=True):
        assert words[number] in tiny_tokenizer.decode(ids[1:])
        assert windows.sources[source] == documents[number]["source"]
    some = windows.part(windows.finance)
    assert set(some.document) == {0, 2}
    np.testing.assert_array_equal(some.token_ids, windows.token_ids[windows.finance])
