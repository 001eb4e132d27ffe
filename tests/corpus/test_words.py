from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from feature_tracker.corpus import words as words_module
from feature_tracker.corpus.words import NO_WORD, PASSAGE, BatchWords, WordReader, passage_means
from feature_tracker.model.tokens import tokenize
from feature_tracker.tracing.run import batched
from tests.support import SENTENCES

TEXT = 'Net sales rose 5.4%, to "€1,234.5".\n\nThe U.S. company’s NET sales – 📈 fell; year-end costs, too.\n'


def read(reader: WordReader, *texts: str, tokenizer: PreTrainedTokenizerBase, learn: bool = True) -> BatchWords:
    windows = [tokenize(text, tokenizer, window=1000, max_tokens=999).ids for text in texts]
    (batch,) = batched(windows, window=1000, bos_id=0)
    return reader.read(batch, range(len(texts)) if learn else None)


def sentencepiece_tokenizer() -> PreTrainedTokenizerFast:
    """One as Llama 2 has it: words begin with ▁, characters that it lacks are bytes."""
    pieces = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"NetsalroTh", "▁t"]
    tokenizer = Tokenizer(
        models.BPE({piece: i for i, piece in enumerate(pieces)}, [("▁", "t")], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>")


@pytest.mark.parametrize("kind", ["bytes", "sentencepiece"])
def test_token_ids_give_the_words_that_the_text_gives(kind: str, tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer = tiny_tokenizer if kind == "bytes" else sentencepiece_tokenizer()
    for text in (TEXT, SENTENCES, "日本語 text", "e\u0301 accents"):
        tokens = tokenize(text, tokenizer, window=1000, max_tokens=999)
        words = read(WordReader(tokenizer), text, tokenizer=tokenizer)
        np.testing.assert_array_equal(words.occurrences, tokens.words.word_of)
        units = [text[slice(*tokens.words.spans[word])] for word in tokens.words.word_of]
        same = [a.casefold() == b.casefold() for a in units for b in units]
        np.testing.assert_array_equal(np.equal.outer(words.words, words.words).ravel(), same)


def test_windows_and_occurrences_go_on_from_text_to_text(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    reader = WordReader(tiny_tokenizer)
    words = read(reader, "Rates rose.", "rates", "Shares rose. RATES", tokenizer=tiny_tokenizer)
    first = np.flatnonzero(np.diff(words.occurrences, prepend=-1))
    assert [reader.shown()[word] for word in words.words[first]] == [
        "Rates", "rose", "full stop", "Rates", "Shares", "rose", "full stop", "Rates",
    ]  # fmt: skip
    assert words.windows[first].tolist() == [0, 0, 0, 1, 2, 2, 2, 2]
    assert words.occurrences[first].tolist() == [*range(8)]


def test_words_are_shown_in_their_most_frequent_spelling_and_signs_by_name(
    tiny_tokenizer: PreTrainedTokenizerBase,
) -> None:
    reader = WordReader(tiny_tokenizer)
    text = "Tariff TARIFF tariff tariff. It's it’s it’s 5% % , ).\n\n\n—"
    read(reader, text, tokenizer=tiny_tokenizer)
    assert reader.shown() == [
        "tariff",
        "full stop",
        "it’s",
        "5%",
        "percent sign",
        "comma",
        "“).”",
        "line break",
        "em dash",
    ]


def test_what_no_label_can_show_is_no_word(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    reader = WordReader(tiny_tokenizer)
    half = tiny_tokenizer.encode("€", add_special_tokens=False)[:1]
    (batch,) = batched([np.array(half)], window=9, bos_id=0)
    assert reader.read(batch, [0]).words.tolist() == [NO_WORD]
    words = read(reader, f"{'a' * 41} \x01 \ufffd \u200b", tokenizer=tiny_tokenizer)
    assert set(words.words.tolist()) == {NO_WORD}
    assert reader.n_words == 0
    assert reader.shown() == []


def test_held_out_text_adds_no_words(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    reader = WordReader(tiny_tokenizer)
    read(reader, "Rates rose.", tokenizer=tiny_tokenizer)
    words = read(reader, "RATES fell.", tokenizer=tiny_tokenizer, learn=False)
    first = np.flatnonzero(np.diff(words.occurrences, prepend=-1))
    assert words.words[first].tolist() == [0, NO_WORD, 2]
    assert reader.shown() == ["Rates", "rose", "full stop"]


def test_a_word_counts_once_a_document(
    tiny_tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, documents = ["Rates rose, rates", "rates fell", "Rates rose"], [7, 2, 7]
    windows = [tokenize(text, tiny_tokenizer, window=1000, max_tokens=999).ids for text in texts]
    for fold_at in (0, 100):
        monkeypatch.setattr(words_module, "_FOLD_AT", fold_at)
        reader = WordReader(tiny_tokenizer)
        for batch in batched(windows, window=20, bos_id=0, tokens=16):
            reader.read(batch, [documents[number] for number in batch.numbers])
        counted = dict(zip(reader.shown(), reader.documents().tolist(), strict=True))
        assert counted == {"Rates": 2, "rose": 1, "comma": 1, "fell": 1}


def test_a_restored_reader_goes_on_alike(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    one, other = WordReader(tiny_tokenizer), WordReader(tiny_tokenizer)
    read(one, TEXT, "rates Rates", tokenizer=tiny_tokenizer)
    other.restore(one.state())
    for reader in (one, other):
        read(reader, "rates fell.", tokenizer=tiny_tokenizer)
    assert one.shown() == other.shown()
    np.testing.assert_array_equal(one.documents(), other.documents())


def test_passages_end_with_their_window() -> None:
    generator = np.random.default_rng(0)
    windows = np.repeat([0, 1, 2], [100, 1, 30])
    values = generator.random((131, 3))
    means = passage_means(values, windows)
    for token in range(131):
        near = [t for t in range(131) if windows[t] == windows[token] and abs(t - token) <= PASSAGE]
        np.testing.assert_allclose(means[token], values[near].mean(axis=0))
