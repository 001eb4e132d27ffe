"""Many documents: an archive is chosen, asked, and its documents lead to their own analyses."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.schema import DOCUMENTS
from feature_tracker.feature import Feature
from feature_tracker.page.archives import offered
from feature_tracker.page.documents.apart import _at_first
from feature_tracker.page.documents.view import TITLES
from feature_tracker.page.state import MANY_DOCUMENTS, ONE_TEXT, PAGE
from feature_tracker.tracker import Tracker
from tests.archive.made import write_archive
from tests.page.driving import analyze, errors
from tests.page.test_privacy import files_written
from tests.support import SENTENCES

LIFTED, RISING = Feature(3, 7), Feature(4, 9)
SECRET = "Zebrafish"


def give_documents(archive: Archive, **columns: object) -> None:
    """Replace columns of the first part's documents."""
    path = archive.folder / "documents" / "part-00000.parquet"
    frame = pq.read_table(path).to_pandas().assign(**columns)
    pq.write_table(pa.Table.from_pandas(frame, schema=DOCUMENTS, preserve_index=False), path)


def made_with(tracker: Tracker, archive: Archive, **manifest: str) -> None:
    """Say that an archive was made with a tracker's SAEs."""
    made = {"bundle": tracker.bundle.name, "fingerprint": tracker.fingerprint} | manifest
    replace(archive.manifest, **made).save(archive.folder)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, tiny_tracker: Tracker) -> Path:
    """A folder with one archive, which is not to be changed."""
    folder = tmp_path_factory.mktemp("archives")
    archive = write_archive(
        folder / "filings", n_documents=120, n_latents=dict.fromkeys((1, 3, 4), 40), tokens=(30, 60),
        lifted={LIFTED: ("bank", 8.0)}, rising={RISING: 20.0}, undated=0.1,
    )  # fmt: skip
    made_with(tiny_tracker, archive)
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of archives of the test's own."""
    st.cache_resource.clear()
    monkeypatch.setenv("FEATURE_TRACKER_ARCHIVES", str(tmp_path / "archives"))
    (tmp_path / "archives").mkdir()
    return tmp_path / "archives"


@pytest.fixture
def documents(written: Path, monkeypatch: pytest.MonkeyPatch, page: AppTest) -> AppTest:
    """The page, which looks at many documents, with nothing pasted."""
    monkeypatch.setenv("FEATURE_TRACKER_ARCHIVES", str(written))
    return look_at_documents(page)


def look_at_documents(page: AppTest) -> AppTest:
    page.session_state[PAGE] = MANY_DOCUMENTS
    return page.run()


def open_view(page: AppTest, title: str) -> AppTest:
    page.session_state["documents_view"] = title
    return page.run()


def told(page: AppTest) -> str:
    return "\n".join(element.value for element in [*page.markdown, *page.caption, *page.info, *page.warning])


def small_archive(folder: Path, tracker: Tracker, name: str = "small", **options: object) -> Archive:
    archive = write_archive(folder / name, n_documents=8, n_latents=dict.fromkeys((1, 3, 4), 40), **options)
    made_with(tracker, archive)
    return archive


def test_without_archives_the_view_says_how_to_make_one(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEATURE_TRACKER_ARCHIVES", raising=False)
    look_at_documents(page)
    assert not errors(page)
    assert "feature-tracker corpus run" in page.info[0].value
    assert "archive" not in [box.key for box in page.selectbox]


def test_only_archives_in_the_named_folder_are_offered_and_no_path_leads_elsewhere(
    page: AppTest, folder: Path, tiny_tracker: Tracker
) -> None:
    small_archive(folder, tiny_tracker, "inside")
    outside = small_archive(folder.parent, tiny_tracker, "outside")
    (folder / "no archive").mkdir()
    (folder / "file.txt").write_text(SECRET)
    assert list(offered()) == ["inside"]
    for path in ("../outside", str(outside.folder), "no archive", ".."):
        page.session_state[PAGE] = ONE_TEXT
        page.run().session_state["archive"] = path
        look_at_documents(page)
        assert not errors(page)
        assert page.selectbox(key="archive").options == ["inside"]
        assert len(page.dataframe[0].value) == 8
        assert "outside" not in told(page)


def test_a_folder_that_is_an_archive_is_offered_itself(
    page: AppTest, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATURE_TRACKER_ARCHIVES", str(written / "filings"))
    look_at_documents(page)
    assert "120 documents" in told(page)


def test_documents_are_listed_before_any_text_was_pasted_the_newest_first(documents: AppTest) -> None:
    assert not errors(documents)
    table = documents.dataframe[0].value
    assert len(table) == 120
    dated = table["Date"].dropna()
    assert dated.tolist() == sorted(dated, reverse=True)
    assert table["Date"].iloc[: len(dated)].notna().all()
    assert table["What stands out"].str.contains("label").all()
    assert len(table["Themes"].iloc[0]) > 1
    assert "1 document was not read" in [expander.label for expander in documents.expander]


def test_a_search_puts_the_documents_first_that_have_most_of_it(documents: AppTest) -> None:
    documents.text_input(key="documents_query").set_value("label 3 7").run()
    table = documents.dataframe[0].value
    assert table["How much"].is_monotonic_decreasing
    assert (table["Group"].head(20) == "bank").mean() > 0.9
    assert len(table["From start to end"].iloc[0]) == 20
    documents.text_input(key="documents_query").set_value("zebra <b>").run()
    assert not errors(documents)


@pytest.mark.parametrize("title", TITLES)
def test_every_view_is_drawn_with_and_without_a_search(documents: AppTest, title: str) -> None:
    open_view(documents, title)
    assert not errors(documents)
    documents.text_input(key="documents_query").set_value("label 4 9").run()
    assert not errors(documents)
    assert not documents.exception


def test_two_groups_are_set_apart_by_what_was_planted(documents: AppTest) -> None:
    open_view(documents, "What sets them apart")
    documents.selectbox(key="apart_first").set_value("bank").run()
    documents.selectbox(key="apart_second").set_value("retail").run()
    assert "set bank" in told(documents) or "sets bank" in told(documents)
    documents.selectbox(key="apart_second").set_value("All others").run()
    assert not errors(documents)


def test_a_theme_that_was_planted_to_rise_rises(documents: AppTest) -> None:
    documents.text_input(key="documents_query").set_value("label 4 9").run()
    open_view(documents, "Over time")
    documents.session_state["documents_period"] = "quarter"
    documents.run()
    assert "**label 4 9** rises" in told(documents)


def test_documents_without_dates_and_groups_can_still_be_looked_at(
    page: AppTest, folder: Path, tiny_tracker: Tracker
) -> None:
    small_archive(folder, tiny_tracker, groups=(), undated=1.1)
    look_at_documents(page)
    assert not {"Date", "Group"} & set(page.dataframe[0].value.columns)
    for title in TITLES:
        open_view(page, title)
        assert not errors(page), title
    open_view(page, "Over time")
    assert "date" in page.info[0].value


def test_a_document_leads_to_its_own_analysis_and_back(documents: AppTest, written: Path) -> None:
    documents.session_state["document"] = 5
    documents.run()
    name = Archive.open(written / "filings").documents["name"][5]
    assert any(name.split()[0].replace("-", "\\-") in text.value for text in documents.markdown)
    documents.button(key="analyze_document").click().run()
    assert not errors(documents)
    text = Archive.open(written / "filings").texts([5])[5]
    assert documents.session_state[PAGE] == ONE_TEXT
    assert documents.text_area(key="text").value == text
    assert documents.session_state["analysis"].trace.tokens.text == text
    assert text[:20] not in str(documents.query_params)
    look_at_documents(documents)
    documents.session_state[PAGE] = ONE_TEXT
    documents.run()
    assert documents.text_area(key="text").value == text


def test_what_was_pasted_and_set_stays_while_documents_are_looked_at(documents: AppTest) -> None:
    documents.session_state[PAGE] = ONE_TEXT
    analyze(documents.run(), SENTENCES)
    documents.session_state["view"] = "Compare"
    documents.run().text_area(key="compare_text").set_value("Sales fell.").run()
    look_at_documents(documents)
    documents.session_state[PAGE] = ONE_TEXT
    documents.run()
    assert documents.text_area(key="text").value == SENTENCES
    assert documents.text_area(key="compare_text").value == "Sales fell."


def test_of_a_document_that_is_too_long_the_beginning_is_offered(
    page: AppTest, folder: Path, tiny_tracker: Tracker
) -> None:
    small_archive(folder, tiny_tracker, tokens=(900, 901))
    look_at_documents(page)
    page.session_state["document"] = 0
    page.run()
    assert page.button(key="analyze_document").label == "Analyze its first 500 tokens"


def test_the_feature_card_has_excerpts_of_ones_own_documents(documents: AppTest, written: Path) -> None:
    documents.query_params["feature"] = "L3/F7"
    documents.session_state["own_documents"] = True
    documents.run()
    assert not errors(documents)
    assert any("In your documents" in expander.label for expander in documents.expander)


def test_an_archive_of_another_bundle_is_named_and_offers_no_labels(
    page: AppTest, folder: Path, tiny_tracker: Tracker
) -> None:
    archive = small_archive(folder, tiny_tracker)
    made_with(tiny_tracker, archive, bundle="llama_9", fingerprint="f" * 12)
    look_at_documents(page)
    assert "llama\\_9" in page.warning[0].value
    assert "tiny" in page.warning[0].value
    assert set(page.dataframe[0].value.columns) == {"Document", "Date", "Group", "Tokens"}
    assert not page.tabs
    made_with(tiny_tracker, archive, fingerprint="f" * 12)
    page.run()
    assert "other SAEs of the bundle tiny" in page.warning[0].value
    page.session_state["document"] = 2
    page.run()
    assert page.button(key="analyze_document").label == "Analyze this document"
    assert not any("In your documents" in expander.label for expander in page.expander)


def test_a_label_table_without_measures_is_told_and_the_documents_are_compared_with_each_other(
    documents: AppTest, monkeypatch: pytest.MonkeyPatch, tiny_tracker: Tracker
) -> None:
    import feature_tracker.page.pool

    monkeypatch.setattr(Tracker, "open", lambda *_, **__: replace(tiny_tracker))
    feature_tracker.page.pool.tracker_pool.clear()
    documents.run()
    assert not errors(documents)
    assert any("other documents" in caption.value for caption in documents.caption)


def test_names_that_are_formulas_or_markup_stay_text(page: AppTest, folder: Path, tiny_tracker: Tracker) -> None:
    archive = small_archive(folder, tiny_tracker)
    names = ["=HYPERLINK(1)", "<b>x</b> www.example.com", "# head", *"defgh"]
    give_documents(archive, name=names, group="+cmd", date=None, notes="**note**", source="/srv/secret/a.jsonl, line 3")
    look_at_documents(page)
    table = page.dataframe[0].value
    assert "'=HYPERLINK(1)" in table["Document"].tolist()
    assert set(table["Group"]) == {"'+cmd"}
    page.session_state["document"] = 1
    page.run()
    shown = told(page)
    assert "<b>" not in shown
    assert "www.example" not in shown
    assert "**note**" not in shown
    assert "a\\.jsonl, line 3" in shown
    assert "secret" not in shown  # folders of the server


def test_a_damaged_or_newer_archive_is_told_by_what_is_wrong(
    page: AppTest, folder: Path, tiny_tracker: Tracker
) -> None:
    archive = small_archive(folder, tiny_tracker)
    (folder / "newer").mkdir()
    (folder / "newer" / "archive.json").write_text('{"schema": 99}')
    page.session_state["archive"] = "newer"
    look_at_documents(page)
    assert "version 99" in errors(page)[0]
    part = archive.folder / "documents" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:50])
    page.session_state["archive"] = "small"
    page.run()
    assert len(errors(page)) == 1


def test_an_archive_without_documents_yet_says_so(page: AppTest, folder: Path, tiny_tracker: Tracker) -> None:
    archive = small_archive(folder, tiny_tracker)
    for part in (archive.folder / "parts").iterdir():
        part.unlink()
    (archive.folder / "statistics.parquet").unlink()
    look_at_documents(page)
    assert not errors(page)
    assert "No document is in this archive yet" in told(page)


def test_a_run_that_adds_documents_is_seen(page: AppTest, folder: Path, tiny_tracker: Tracker) -> None:
    archive = small_archive(folder, tiny_tracker, documents_a_part=4)
    last = archive.folder / "parts" / "00001.json"
    kept = last.read_bytes()
    last.unlink()
    look_at_documents(page)
    assert len(page.dataframe[0].value) == 4
    last.write_bytes(kept)
    page.run()
    assert len(page.dataframe[0].value) == 8


def test_no_document_reaches_a_log_the_disk_or_the_address(
    page: AppTest, folder: Path, tiny_tracker: Tracker, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture
) -> None:
    archive = small_archive(folder, tiny_tracker)
    texts = [f"{SECRET} number {n}. Net sales rose. The bank set aside more." for n in range(8)]
    give_documents(archive, text=texts, name=[f"{SECRET} {n}" for n in range(8)])
    with caplog.at_level(logging.DEBUG), files_written() as written:
        look_at_documents(page)
        page.text_input(key="documents_query").set_value(f"label {SECRET}").run()
        page.text_input(key="documents_query").set_value("").run()
        for title in TITLES:
            page.session_state["document"] = 2
            open_view(page, title)
        address = str(page.query_params)
        page.button(key="analyze_document").click().run()
    assert not errors(page)
    assert written - {os.devnull} == set()
    printed = capfd.readouterr()
    for place in (caplog.text, printed.out, printed.err, address, str(page.query_params)):
        assert SECRET not in place


def test_filters_of_the_sidebar_apply(documents: AppTest) -> None:
    documents.session_state["layers"] = [3]
    documents.run()
    assert documents.dataframe[0].value["What stands out"].str.contains(r"\*\*3\*\*").any()
    assert not documents.dataframe[0].value["What stands out"].str.contains(r"\*\*[14]\*\*").any()
    documents.session_state["layers"] = []
    documents.run()
    assert any("No layer" in warning.value for warning in documents.warning)


@pytest.mark.parametrize(
    ("n_last", "expected"), [(20, ("2024, quarter 2", "2024, quarter 1")), (8, ("2024, quarter 2", "All others"))]
)
def test_the_first_comparison_is_one_that_can_tell_something(n_last: int, expected: tuple[str, str]) -> None:
    document = np.arange(60)
    sets = {"2024, quarter 2": document < n_last, "2024, quarter 1": document >= 35, "2024": document < 50}
    assert _at_first(sets) == expected
