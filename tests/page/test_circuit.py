"""The Circuit tab on a tiny model: tracing, verifying, stopping, parts of a long text, files."""

from __future__ import annotations

import csv
import gc
import io
import json
import math
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import ref

import networkx as nx
import pytest
from streamlit.testing.v1 import AppTest

import feature_tracker.page.circuit_run
import feature_tracker.page.pool
from feature_tracker.bundles.bundle import Bundle
from feature_tracker.circuits.circuit import EDGE_COLUMNS, Circuit
from feature_tracker.errors import TrackerError
from feature_tracker.labels.table import LabelTable
from feature_tracker.model.load import LanguageModel
from feature_tracker.page.circuit_files import _zipped
from feature_tracker.page.circuit_run import SessionCircuit
from feature_tracker.page.samples import SAMPLES
from feature_tracker.sae.topk import Sae
from feature_tracker.tracker import Tracker
from tests.page.driving import TEXT, analyze, errors, open_tab, slider
from tests.support import SENTENCES, tiny_labels

pytestmark = pytest.mark.slow  # together they take as long as all other tests of the page

SHORT = " ".join(SENTENCES.split()[:40])


def traced(page: AppTest, text: str = SHORT) -> SessionCircuit:
    """Analyze a text, open the tab, trace."""
    analyze(page, text)
    open_tab(page, "Circuit")
    page.button(key="circuit_trace").click().run()
    assert not errors(page)
    assert not page.exception
    return page.session_state["session_circuit"]


def says(page: AppTest, words: str) -> bool:
    return any(words in element.value for element in [*page.markdown, *page.caption, *page.info])


def verify_all(page: AppTest) -> None:
    page.selectbox(key="circuit_amount").set_value("all").run()
    page.button(key="circuit_verify").click().run()
    assert not errors(page)


def test_nothing_is_traced_before_it_is_asked_for(page: AppTest) -> None:
    analyze(page, SHORT)
    open_tab(page, "Circuit")
    assert says(page, "Only an effect is a cause")
    assert "session_circuit" not in page.session_state
    assert "circuit_verify" not in [button.key for button in page.button]


def test_tracing_shows_the_circuit_and_what_it_holds(page: AppTest) -> None:
    session = traced(page)
    n_links = len(session.circuit.edges)
    assert n_links > 20
    assert says(page, f"**0 of {n_links:,} links** are verified")
    assert says(page, "of what feeds the circuit")
    assert page.button(key="circuit_trace").label == "Trace again"
    assert any("0 of 2 links verified" in text.value for text in page.markdown)


def test_verifying_all_gives_every_link_an_effect(page: AppTest) -> None:
    traced(page)
    verify_all(page)
    edges = page.session_state["session_circuit"].circuit.edges
    assert edges["effect"].notna().all()
    assert says(page, f"**{len(edges):,} of {len(edges):,} links** are verified")
    assert page.button(key="circuit_verify").disabled
    assert any(", verified)" in text.value or "; verified)" in text.value for text in page.markdown)


def test_stopping_keeps_what_was_verified_and_the_rest_can_follow(
    page: AppTest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = traced(page)
    whole = feature_tracker.page.circuit_run.verify

    def stopped_after_two(*args: Any) -> Iterator[Circuit]:
        for n, step in enumerate(whole(*args), start=1):
            if n == 2:
                session.stop()  # what the Stop button calls
            yield step

    monkeypatch.setattr(feature_tracker.page.circuit_run, "verify", stopped_after_two)
    verify_all(page)
    verified = session.circuit.edges["effect"].notna()
    assert 0 < verified.sum() < len(verified)
    assert says(page, f"**{verified.sum():,} of {len(verified):,} links** are verified")
    monkeypatch.setattr(feature_tracker.page.circuit_run, "verify", whole)
    verify_all(page)
    assert session.circuit.edges["effect"].notna().all()


def test_a_verification_that_was_interrupted_goes_on(page: AppTest) -> None:
    session = traced(page)
    session.enqueue(None)
    page.run()
    assert session.queue == []
    assert session.circuit.edges["effect"].notna().all()


def test_a_circuit_that_a_click_interrupted_is_traced(page: AppTest) -> None:
    analyze(page, SHORT)
    open_tab(page, "Circuit")
    page.session_state["pending_circuit"] = True  # what the button leaves until it is done
    slider(page, "Correlation threshold").set_value(0.3).run()
    assert "session_circuit" in page.session_state
    assert "pending_circuit" not in page.session_state


def test_other_settings_are_said_and_traced_on_request(page: AppTest) -> None:
    traced(page)
    slider(page, "Number of top features").set_value(5).run()
    assert says(page, "traced under other settings")
    page.button(key="circuit_trace").click().run()
    assert not says(page, "traced under other settings")
    assert page.session_state["session_circuit"].ranked.groupby("layer").size().max() == 5


def test_a_new_text_has_no_circuit_yet(page: AppTest) -> None:
    traced(page)
    analyze(page, TEXT)
    assert page.button(key="circuit_trace").label == "Trace the circuit"
    assert "circuit_verify" not in [button.key for button in page.button]


@pytest.mark.parametrize("text", ["rates", "a b c", "<b>**rates**</b> $x$ \x00 שיעורי ריבית"])
def test_short_and_strange_texts_are_traced(page: AppTest, text: str) -> None:
    session = traced(page, text)
    verify_all(page)
    assert session.page_trace.tokens.text == text


def test_a_long_text_is_traced_a_part_at_a_time(
    page: AppTest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feature_tracker.page.circuit_run, "PART_TOKENS", 60)
    traced(page, SENTENCES)
    parts = page.selectbox(key="circuit_part").options
    assert len(parts) > 1
    assert parts[0].startswith("Tokens 1 to 60: The central bank")
    page.selectbox(key="circuit_part").select_index(1).run()
    assert says(page, "traced under other settings")
    page.button(key="circuit_trace").click().run()
    tokens, whole = (page.session_state["session_circuit"].recording.trace.tokens, page.session_state["analysis"].trace)
    assert tokens.ids.tolist() == whole.tokens.ids[60:120].tolist()
    assert tokens.text in SENTENCES


def test_a_chosen_node_shows_what_feeds_it(page: AppTest) -> None:
    session = traced(page)
    edge = session.circuit.edges.sort_values("share", ascending=False).iloc[0]
    page.session_state["feature"] = (int(edge.target_layer), int(edge.target_feature))
    page.run()
    assert says(page, "What feeds it")
    table = page.dataframe[0].value
    assert table["Feature"].iloc[0] == f"L{edge.source_layer:.0f}/F{edge.source_feature:.0f}"
    assert table["Attribution"].iloc[0] == pytest.approx(edge.attribution)
    assert table["Feature"].str.endswith("/error").any()


def test_the_files_hold_the_circuit_and_nothing_reaches_the_disk(
    page: AppTest,
    tiny_bundle: Bundle,
    tiny_model: LanguageModel,
    tiny_saes: dict[int, Sae],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    session = traced(page)
    verify_all(page)
    labels = LabelTable(tiny_labels(tiny_bundle, 40).frame.assign(label="=HYPERLINK(1)"))
    files = Tracker(tiny_bundle, tiny_model, tiny_saes, labels).circuit_files(session.traced())
    with zipfile.ZipFile(io.BytesIO(_zipped(files))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files
    edges = list(csv.DictReader(io.StringIO(files["edges.csv"].decode("utf-8-sig"))))
    assert list(edges[0]) == EDGE_COLUMNS
    assert not any(math.isnan(float(edge["effect"])) for edge in edges)
    graph = nx.read_graphml(io.BytesIO(files["graph.graphml"]))
    assert sum("effect" in edge for _, _, edge in graph.edges(data=True)) == len(edges)
    assert json.loads(files["attribution_graph.json"])["metadata"]["prompt"] == SHORT
    fired = list(csv.DictReader(io.StringIO(files["features.csv"].decode("utf-8-sig"))))
    assert {row["label"] for row in fired} == {"'=HYPERLINK(1)"}  # no formula in a spreadsheet
    assert b"plotly" in files["figure.html"]
    assert list(tmp_path.iterdir()) == []


def test_what_belonged_to_the_last_text_is_let_go(page: AppTest) -> None:
    session = traced(page)
    open_tab(page, "Links")
    of_the_text = ("session_circuit", "session_correlations")
    assert all(key in page.session_state for key in of_the_text)
    open_tab(page, "Features")
    analyze(page, SHORT + " Rates fell.")
    assert not any(key in page.session_state for key in of_the_text)
    assert session.page_trace.tokens.text == SHORT


def test_a_circuit_keeps_neither_an_evicted_tracker_nor_its_recording(page: AppTest, tiny_bundle: Bundle) -> None:
    session = traced(page)
    verify_all(page)
    recording = ref(session.recording)
    tracker = ref(feature_tracker.page.pool.tracker_pool().loading(tiny_bundle).outcome.result())
    assert tracker() is not None
    feature_tracker.page.pool.tracker_pool.clear()
    gc.collect()
    assert tracker() is None
    assert recording() is None
    with pytest.raises(TrackerError, match="to make room"):
        _ = session.recording


@pytest.mark.parametrize("leave", ["another text", "another circuit"])
def test_a_recording_ends_with_its_circuit(page: AppTest, leave: str) -> None:
    traced(page)
    verify_all(page)
    recording = ref(page.session_state["session_circuit"].recording)
    if leave == "another text":
        analyze(page, TEXT)
    else:
        page.button(key="circuit_trace").click().run()
    gc.collect()
    assert recording() is None


@pytest.mark.browser
@pytest.mark.model
def test_stop_ends_a_trace_and_a_verification_under_way_in_a_browser(served: str, tab: Any) -> None:
    tab.goto(served)
    tab.get_by_label("Text to analyze").fill("\n\n".join(list(SAMPLES.values())[:3]))
    tab.get_by_role("button", name="Analyze").click()
    tab.get_by_role("tab", name="Circuit").click(timeout=60_000)
    tab.get_by_role("button", name="Trace the circuit").click()
    tab.get_by_role("button", name="Stop").click(timeout=60_000)
    tab.get_by_role("button", name="Stop").wait_for(state="detached", timeout=60_000)
    assert not tab.locator("[role=tabpanel]:visible .js-plotly-plot").count()
    tab.get_by_role("button", name="Trace the circuit").click()
    tab.get_by_role("button", name="Verify", exact=True).click(timeout=120_000)
    tab.get_by_text(re.compile(r"Taking features out .* [1-9]\d* of")).wait_for(timeout=120_000)
    tab.get_by_role("button", name="Stop").click()
    tab.get_by_role("button", name="Stop").wait_for(state="detached", timeout=60_000)
    counted = tab.get_by_text(re.compile(r"[\d,]+ of [\d,]+ links")).first.inner_text()
    done, of = (int(number.replace(",", "")) for number in re.search(r"([\d,]+) of ([\d,]+) links", counted).groups())
    assert 0 < done < of
    assert tab.get_by_role("button", name="Verify", exact=True).is_enabled()
