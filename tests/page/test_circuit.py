"""The Circuit tab on a tiny model: asking, stopping, what is inside a node, files."""

from __future__ import annotations

import csv
import gc
import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import ref

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import feature_tracker.page.circuit.node
import feature_tracker.page.circuit.run
import feature_tracker.page.pool
import feature_tracker.page.views.circuit
from feature_tracker.bundles.bundle import Bundle
from feature_tracker.circuits.circuit import EDGE_COLUMNS, Node
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.table import LabelTable
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.next_token import next_token
from feature_tracker.model.tokens import TokenizedText
from feature_tracker.page.circuit.files import _zipped
from feature_tracker.page.circuit.node import edge_table, words_table
from feature_tracker.page.circuit.question import KEPT
from feature_tracker.page.circuit.run import SessionCircuit
from feature_tracker.page.samples import SAMPLES
from feature_tracker.sae.topk import Sae
from feature_tracker.tracker import Tracker
from tests.page.driving import TEXT, analyze, errors, open_tab
from tests.support import SENTENCES, tiny_labels

pytestmark = pytest.mark.slow  # together they take as long as all other tests of the page

SHORT = " ".join(SENTENCES.split()[:40])
FEEDS, FED, NEXT, WHOLE = "What feeds this feature?", "What does it feed?", "Why this next word?", "The whole text"


def ask(page: AppTest, kind: str) -> None:
    page.session_state["circuit_question"] = kind
    page.run()


def trace(page: AppTest) -> SessionCircuit:
    page.button(key="circuit_trace").click().run()
    assert not errors(page)
    assert not page.exception
    return page.session_state["session_circuit"]


def traced(page: AppTest, text: str = SHORT, kind: str = WHOLE) -> SessionCircuit:
    """Analyze a text, open the tab, ask, trace."""
    analyze(page, text)
    open_tab(page, "Circuit")
    ask(page, kind)
    return trace(page)


def says(page: AppTest, words: str) -> bool:
    return any(words in element.value for element in [*page.markdown, *page.caption, *page.info])


def test_nothing_is_traced_before_it_is_asked_for(page: AppTest) -> None:
    analyze(page, SHORT)
    open_tab(page, "Circuit")
    assert says(page, "taken out of the model")
    assert "session_circuit" not in page.session_state


@pytest.mark.parametrize("kind", [FEEDS, WHOLE])
def test_an_answer_and_what_the_circuit_carries_are_said(page: AppTest, kind: str) -> None:
    session = traced(page, kind=kind)
    assert session.is_whole
    assert session.circuit.edges["effect"].notna().all()
    assert says(page, f"**{session.traced().question()[:10]}")
    assert says(page, "without it") or says(page, "Nothing that was taken out") or says(page, "explains little")
    assert says(page, "bring back")


def test_a_feature_is_asked_about_on_one_word(page: AppTest) -> None:
    analyze(page, SHORT)
    open_tab(page, "Circuit")
    words = page.selectbox(key="circuit_word").options
    assert words[0] == "anywhere in the text"
    assert words[1].startswith("on “")
    page.selectbox(key="circuit_word").select_index(1).run()
    session = trace(page)
    assert len(session.circuit.question.positions) == 1
    assert says(page, "on this word?")


def test_what_a_feature_feeds_is_asked_of_layers_before_the_last(page: AppTest) -> None:
    analyze(page, SHORT)
    page.session_state["feature"] = (1, int(page.session_state["analysis"].trace.layers[1].indices[3, 0]))
    open_tab(page, "Circuit")
    ask(page, FED)
    options = next(box for box in page.selectbox if box.label == "Feature").options
    assert not any("(L4/" in option for option in options)
    session = trace(page)
    assert session.circuit.question.feature.layer < 4
    assert says(page, "Without “")


def test_the_card_of_a_feature_leads_to_what_feeds_it(page: AppTest) -> None:
    analyze(page, SHORT)
    page.session_state["circuit_question"] = WHOLE
    page.button(key="card_what_feeds").click().run()
    assert [tab.label for tab in page.tabs if tab.children] == ["Circuit"]
    assert page.session_state["circuit_question"] == FEEDS
    session = trace(page)
    assert session.circuit.question.features == (Feature(*page.session_state["feature_box"]),)


def test_the_address_keeps_the_kind_of_question_and_nothing_of_the_text(page: AppTest) -> None:
    analyze(page, SHORT)
    open_tab(page, "Circuit")
    ask(page, NEXT)
    page.text_input(key="circuit_next_word").set_value("Zebra").run()
    assert page.query_params["circuit_question"] == NEXT
    assert "Zebra" not in str(page.query_params)
    ask(page, FEEDS)
    open_tab(page, "Features")
    open_tab(page, "Circuit")
    assert page.session_state["circuit_question"] == FEEDS
    assert not page.warning


@pytest.mark.parametrize("kind", [FEEDS, NEXT])
def test_a_question_about_one_place_of_a_long_text_needs_its_window_only(
    page: AppTest, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    recorded: list[int] = []
    whole = Tracker.record

    def record(self: Tracker, tokens: Any, **options: Any) -> Any:
        recorded.append(tokens.n_tokens)
        return whole(self, tokens, **options)

    monkeypatch.setattr(Tracker, "record", record)
    analyze(page, SENTENCES)
    tokens = page.session_state["analysis"].trace.tokens
    assert len(tokens.window_starts) > 2
    open_tab(page, "Circuit")
    ask(page, kind)
    column = None
    if kind == FEEDS:
        page.selectbox(key="circuit_word").select_index(1).run()
        column = page.session_state["analysis"].trace.column(Feature(*page.session_state["feature_box"]))
    else:
        page.text_input(key="circuit_next_word").set_value("rate").run()
    session = trace(page)
    assert recorded == [session.recording.trace.n_tokens]
    assert recorded[0] < tokens.window
    if column is not None:
        (position,) = session.circuit.question.positions
        there = session.recording.trace.column(session.circuit.question.features[0])[position]
        assert there == pytest.approx(column[tokens.window_starts[session.window] + position], rel=1e-4)
        assert there > 0
    ask(page, WHOLE)
    assert trace(page).recording.trace.n_tokens == tokens.n_tokens


def test_what_was_measured_is_drawn_while_the_rest_is_measured(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_tracker.page.circuit.run, "_REDRAW_SECONDS", 0.0)
    drawn: list[int] = []
    draw = feature_tracker.page.views.circuit._draw
    monkeypatch.setattr(
        feature_tracker.page.views.circuit,
        "_draw",
        lambda traced, key, place: (drawn.append(len(traced.circuit.edges)), draw(traced, key, place)),
    )
    session = traced(page)
    assert drawn[0] == 0
    assert len(set(drawn)) > 3
    assert drawn[-1] == len(session.circuit.edges)


def test_without_a_next_word_the_one_that_the_model_expects_is_asked_about(
    page: AppTest, tiny_model: LanguageModel
) -> None:
    analyze(page, SENTENCES)
    tokens = page.session_state["analysis"].trace.tokens
    open_tab(page, "Circuit")
    ask(page, NEXT)
    session = trace(page)
    assert session.circuit.question.token == next_token(tiny_model, tokens).id
    page.selectbox(key="circuit_after").select_index(1).run()
    session = trace(page)
    asked = session.circuit.question
    position = tokens.window_starts[session.window] + asked.position
    assert position < tokens.n_tokens - 1
    assert asked.token == next_token(tiny_model, tokens, position).id


def test_a_feature_of_a_node_can_be_chosen_for_all_views(page: AppTest) -> None:
    session = traced(page)
    session.node = next(node.number for node in session.circuit.nodes if node.kind == "features" and node.layer == 1)
    page.run()
    page.button(key="circuit_choose").click().run()
    assert Feature(*page.session_state["feature"]) in session.circuit.nodes[session.node].members
    assert says(page, "What it feeds")


@pytest.mark.parametrize("kind", ["rest", "error", "sinks"])
def test_nodes_without_a_name_say_what_they_are(page: AppTest, kind: str) -> None:
    session = traced(page, SENTENCES)
    number = next((node.number for node in session.circuit.nodes if node.kind == kind), None)
    if number is None:
        pytest.skip(f"this text has no node of {kind}")
    session.node = number
    page.run()
    assert says(page, "not taken out" if kind == "sinks" else "taken out")
    assert not errors(page)


def test_a_node_that_is_not_drawn_can_be_chosen_by_name(page: AppTest) -> None:
    session = traced(page)
    names = page.selectbox(key="circuit_node").options
    assert len(names) == len(session.circuit.nodes)
    place = next(place for place, name in enumerate(names) if name.startswith("Words: "))
    page.selectbox(key="circuit_node").select_index(place).run()
    assert session.circuit.nodes[session.node].layer == -1
    assert says(page, "What it feeds")
    assert not errors(page)


def test_a_next_word_is_asked_about_after_a_sentence(page: AppTest) -> None:
    analyze(page, SHORT)
    open_tab(page, "Circuit")
    ask(page, NEXT)
    page.text_input(key="circuit_next_word").set_value("rate")
    page.text_input(key="circuit_against").set_value("bank").run()
    page.selectbox(key="circuit_after").select_index(1).run()
    session = trace(page)
    assert session.circuit.question.position is not None
    assert says(page, "What makes “rate”, and not “bank”, the next word?")


@pytest.mark.parametrize("word", ["unbelievably odd", "Donaudampfschiff"])
def test_a_next_word_of_several_tokens_is_refused_with_its_pieces(page: AppTest, word: str) -> None:
    analyze(page, SHORT)
    open_tab(page, "Circuit")
    ask(page, NEXT)
    page.text_input(key="circuit_next_word").set_value(word).run()
    page.button(key="circuit_trace").click().run()
    assert any("must be one token" in error for error in errors(page))
    assert not page.exception
    assert not [button for button in page.button if button.key == "circuit_stop"]


def test_a_feature_that_is_silent_here_is_refused(page: AppTest) -> None:
    analyze(page, "a b c")
    fires = page.session_state["analysis"].trace.layers[3].largest(page.session_state["analysis"].trace.counted)
    page.session_state["feature"] = (3, int(fires.argmin()))
    open_tab(page, "Circuit")
    page.button(key="circuit_trace").click().run()
    assert any("fire in this text" in error for error in errors(page))
    assert "session_circuit" not in page.session_state


def test_stopping_keeps_what_was_measured(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Tracker.trace_circuit

    def stopped(*args: Any, **options: Any) -> Iterator[Any]:
        for number, step in enumerate(whole(*args, **options)):
            if number == 4:
                return
            yield step

    monkeypatch.setattr(Tracker, "trace_circuit", stopped)
    session = traced(page)
    assert not session.is_whole
    assert session.circuit.edges["source"].nunique() == 3
    assert says(page, f"stopped with {session.circuit.n_unmeasured} nodes still to be taken out")
    monkeypatch.setattr(Tracker, "trace_circuit", whole)
    assert trace(page).is_whole


def test_a_layer_chosen_alone_is_no_limit(page: AppTest) -> None:
    analyze(page, SHORT)
    page.session_state["layers"] = [3]
    open_tab(page, "Circuit")
    assert says(page, "all SAE layers, whatever the sidebar shows")
    assert trace(page).circuit.layers[0] == -1


def test_a_new_text_has_no_circuit_yet(page: AppTest) -> None:
    traced(page)
    analyze(page, TEXT)
    assert not says(page, "bring back")


@pytest.mark.parametrize("text", ["rates", "a b c", "<b>**rates**</b> $x$ \x00 שיעורי ריבית"])
def test_short_and_strange_texts_are_traced(page: AppTest, text: str) -> None:
    assert traced(page, text).page_trace.tokens.text == text


def test_a_clicked_node_shows_its_members_and_links(page: AppTest) -> None:
    session = traced(page)
    node = next(node for node in session.circuit.nodes if node.kind == "features" and node.layer == 3)
    session.node = node.number
    page.run()
    assert says(page, "What it feeds")
    members, *tables = [table.value for table in page.dataframe]
    assert list(members["Feature"]) == list(map(str, node.members))
    feeds = tables[-1]
    assert feeds["Without it"].abs().is_monotonic_decreasing
    page.button(key="circuit_alone").click().run()
    assert "Alone" in page.dataframe[0].value
    page.button(key="circuit_words").click().run()
    assert "Taken out on" in page.dataframe[-1].value.columns or says(page, "Nothing changes")
    page.button(key="circuit_heads").click().run()
    assert "Head" in page.dataframe[-1].value
    assert not errors(page)


def test_what_is_measured_inside_a_node_can_be_stopped(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    session = traced(page)
    session.node = next(node for node in session.circuit.nodes if node.kind == "features" and node.layer == 3).number
    page.run()

    def stopped(_recording: Any, _circuit: Any, _node: Any, progress: Any) -> None:
        progress("Taking members out", 0.5)
        st.stop()  # a click on *Stop* ends the run like this

    monkeypatch.setattr(feature_tracker.page.circuit.node, "measure_members", stopped)
    page.button(key="circuit_alone").click().run()
    page.button(key="circuit_stop").click().run()
    assert "circuit_stop" not in [button.key for button in page.button]
    assert session.inside == {}
    assert not errors(page)


def test_where_an_edge_acts_is_said_in_words_of_the_text() -> None:
    text = "Inflation rose. Inflation fell."
    tokens = TokenizedText(text, np.arange(4), np.array([[0, 4], [4, 9], [9, 14], [15, 25]]), window=64)
    acts = pd.DataFrame({"source_position": [0, 3], "target_position": [2, 1], "effect": [3.0, -1.0]})
    target = Node(1, 4, "features", (Feature(4, 7),), (), 0.5, 12.0)
    table = words_table(tokens, acts, target)
    assert table["Taken out on"].tolist() == ["Inflation", "Inflation"]
    assert table["Lost on"].tolist() == ["rose", "Inflation"]
    assert table["Without it"].tolist() == pytest.approx([0.25, -1 / 12])
    assert "Inflation rose" in table["Taken out in"][0]


def test_an_estimate_has_no_column_where_nothing_was_estimated() -> None:
    graph = nx.DiGraph()
    graph.add_node(1, label="rates", words="rate")
    measured = {"lost": 0.1, "effect": 2.0}
    assert "Estimate" not in edge_table(graph, [(1, measured)])
    assert "Estimate" in edge_table(graph, [(1, measured), (1, measured | {"attribution": 0.3})])


def test_questions_stay_while_other_views_are_open(page: AppTest) -> None:
    analyze(page, SHORT)
    open_tab(page, "Circuit")
    ask(page, NEXT)
    page.text_input(key="circuit_next_word").set_value("rate").run()
    open_tab(page, "Features")
    open_tab(page, "Circuit")
    assert page.text_input(key="circuit_next_word").value == "rate"
    assert set(KEPT) >= {"circuit_question", "circuit_next_word"}


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
    session.labels = LabelTable(tiny_labels(tiny_bundle, 40).frame.assign(label="=HYPERLINK(1)"))
    files = Tracker(tiny_bundle, tiny_model, tiny_saes, session.labels).circuit_files(session.traced())
    with zipfile.ZipFile(io.BytesIO(_zipped(files))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files
    edges = list(csv.DictReader(io.StringIO(files["edges.csv"].decode("utf-8-sig"))))
    assert list(edges[0]) == EDGE_COLUMNS
    graph = nx.read_graphml(io.BytesIO(files["graph.graphml"]))
    assert graph.number_of_edges() == len(edges)
    assert json.loads(files["attribution_graph.json"])["metadata"]["prompt"] == SHORT
    members = list(csv.DictReader(io.StringIO(files["members.csv"].decode("utf-8-sig"))))
    assert {row["label"] for row in members} == {"'=HYPERLINK(1)"}  # no formula in a spreadsheet
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
    recording = ref(session.recording)
    tracker = ref(feature_tracker.page.pool.tracker_pool().loading(tiny_bundle).outcome.result())
    assert tracker() is not None
    feature_tracker.page.pool.tracker_pool.clear()
    gc.collect()
    assert tracker() is None
    assert recording() is None
    with pytest.raises(TrackerError, match="to make room"):
        _ = session.recording


def test_a_circuit_outlives_the_tracker_whose_labels_were_changed(page: AppTest, tiny_bundle: Bundle) -> None:
    session = traced(page)
    node = next(node for node in session.circuit.nodes if node.kind == "features")
    pool = feature_tracker.page.pool.tracker_pool()
    old = pool.loading(tiny_bundle).outcome.result()
    frame = old.labels.frame.assign(label="called otherwise")
    pool.exchange(old, replace(old, labels=LabelTable(frame)))
    del old
    session.node = node.number
    page.run()
    gc.collect()
    page.run()
    assert not errors(page)
    assert set(page.dataframe[0].value["Label"]) == {"called otherwise"}


def test_a_recording_serves_all_questions_and_ends_with_the_text(page: AppTest) -> None:
    recording = ref(traced(page).recording)
    ask(page, FEEDS)
    assert trace(page).recording is recording()
    analyze(page, TEXT)
    gc.collect()
    assert recording() is None


@pytest.mark.browser
@pytest.mark.model
def test_stop_ends_a_trace_under_way_in_a_browser(served: str, tab: Any) -> None:
    tab.goto(served)
    tab.get_by_label("Text to analyze").fill("\n\n".join(list(SAMPLES.values())[:3]))
    tab.get_by_role("button", name="Analyze").click()
    tab.get_by_role("tab", name="Circuit").click(timeout=60_000)
    tab.get_by_role("button", name="Trace", exact=True).click()
    tab.get_by_text(re.compile(r"Taking parts out")).wait_for(timeout=120_000)
    tab.get_by_role("button", name="Stop").click(timeout=60_000)
    tab.get_by_text(re.compile(r"stopped with \d+ nodes")).wait_for(timeout=60_000)
    tab.locator("[role=tabpanel]:visible .js-plotly-plot").first.wait_for(timeout=60_000)  # drawn after the sentence
    assert tab.get_by_role("button", name="Trace", exact=True).is_enabled()
