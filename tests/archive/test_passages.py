from __future__ import annotations

import numpy as np
import pytest

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.passages import along_documents, beginning, strongest_excerpts
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from tests.archive.made import write_archive


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return write_archive(tmp_path_factory.mktemp("made") / "archive", documents_a_part=25)


def test_the_course_along_a_document_is_that_of_its_activations(archive: Archive) -> None:
    feature = Feature(10, 3)
    values = along_documents(archive, [feature], n_bins=4)
    rows = archive.activations(10).to_table().to_pandas()
    rows = rows[rows["feature"] == 3].merge(archive.dataset("tokens").to_table().to_pandas())
    rows = rows[~rows["attention_sink"]]
    root = np.sqrt(rows["activation"])
    expected = np.zeros_like(values)
    for document, token, share in zip(rows["document"], rows["token"], root / root.max(), strict=True):
        n_tokens = archive.documents["n_tokens"][document]
        position = token - archive.documents["first_token"][document]
        expected[document, position * 4 // n_tokens] += share / (n_tokens / 4)
    assert values == pytest.approx(expected, rel=1e-4)
    assert values.any()


def test_excerpts_are_the_strongest_of_different_documents_with_their_words_marked(archive: Archive) -> None:
    excerpts = strongest_excerpts(archive, Feature(4, 7), most=4)
    assert len(excerpts) == 4
    assert len({excerpt.document for excerpt in excerpts}) == 4
    assert excerpts[0].share == 1.0
    assert [e.share for e in excerpts] == sorted((e.share for e in excerpts), reverse=True)
    for excerpt in excerpts:
        assert excerpt.text in archive.texts([excerpt.document])[excerpt.document]
        assert excerpt.text.endswith(".")
        assert max(tenths for _, _, tenths in excerpt.marks) == int(10 * excerpt.share)
        assert all(excerpt.text[start:end].strip() == excerpt.text[start:end] != "" for start, end, _ in excerpt.marks)


def test_an_archive_whose_run_has_not_ended_has_no_excerpts(archive: Archive, tmp_path: object) -> None:
    path = archive.folder / "excerpts.parquet"
    kept = path.read_bytes()
    path.unlink()
    try:
        assert strongest_excerpts(archive, Feature(4, 7)) == []
        path.write_bytes(kept[: len(kept) // 2])
        with pytest.raises(TrackerError, match="damaged"):
            strongest_excerpts(archive, Feature(4, 7))
    finally:
        path.write_bytes(kept)


def test_the_beginning_of_a_document_ends_with_a_sentence(archive: Archive) -> None:
    text = archive.texts([3])[3]
    assert beginning(archive, 3, 10_000) == text
    part = beginning(archive, 3, 15)
    assert text.startswith(part)
    assert 0 < len(part) < len(text)
    assert part.endswith(".")
    assert text.startswith(beginning(archive, 3, 2))  # less than a sentence
