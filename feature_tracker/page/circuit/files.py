"""Downloads of a circuit: files that are made in memory when their button is pressed."""

from __future__ import annotations

import io
import zipfile
from functools import partial
from weakref import ref

import streamlit as st

from feature_tracker.circuits.export import table_files
from feature_tracker.errors import TrackerError
from feature_tracker.page.circuit.run import SessionCircuit
from feature_tracker.page.components.download import offer_download
from feature_tracker.page.pool import evicted_error
from feature_tracker.page.state import Scene
from feature_tracker.tracker import Tracker

_DESCRIPTIONS = {
    "nodes.csv": "The nodes, with labels, words and influence",
    "edges.csv": "Every measured link: effect, share lost, estimate",
    "members.csv": "The features of each node",
    "graph.graphml": "The graph for Gephi, Cytoscape and yEd",
    "graph.gexf": "The graph for Gephi",
    "graph.json": "The graph for D3 and NetworkX",
    "attribution_graph.json": "For circuit-tracer's viewer and Neuronpedia; contains your text",
    "figure.html": "The figure, to open in a browser",
}
_TABLES = ("nodes.csv", "edges.csv", "members.csv", "graph.graphml", "graph.gexf", "graph.json")
_MIMES = {"csv": "text/csv", "json": "application/json", "html": "text/html"}
_ALL_FILES = "circuit.zip"


def show_downloads(session: SessionCircuit, scene: Scene) -> None:
    """Offer each file, and all of them in one archive."""
    # Streamlit keeps what a button refers to, which must not keep a model or a recording in memory.
    weak_session, weak_tracker = ref(session), ref(scene.tracker)
    with st.popover("Download", icon=":material/download:"):
        for name, description in {_ALL_FILES: "All files", **_DESCRIPTIONS}.items():
            offer_download(
                f"{description} (:gray[{name}])",
                partial(_file, name, weak_session, weak_tracker),
                file_name=name,
                mime=_MIMES.get(name.rpartition(".")[2], "application/octet-stream"),
                key=f"circuit_download_{name}",
                icon=None,
                kind="tertiary",
            )


def _file(name: str, weak_session: ref[SessionCircuit], weak_tracker: ref[Tracker]) -> bytes:
    session, tracker = weak_session(), weak_tracker()
    if tracker is None:
        raise evicted_error()
    if session is None:
        raise TrackerError("This circuit is no longer on the page. Trace it again to download its files.")
    traced = session.traced()
    if name in _TABLES:  # made at once; the others need the model again
        return table_files(traced)[name]
    files = tracker.circuit_files(traced)
    return _zipped(files) if name == _ALL_FILES else files[name]


def _zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()
