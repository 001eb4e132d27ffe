"""A circuit as files, made in memory when one is asked for."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from functools import partial
from weakref import ref

import streamlit as st

from feature_tracker.charts.network import circuit_page
from feature_tracker.circuits.export import attribution_graph, export_files
from feature_tracker.page.circuit_run import TracedCircuit
from feature_tracker.page.engine import Engine, evicted_error
from feature_tracker.page.state import Scene
from feature_tracker.tracing.rank import rank_features

_WHAT = {
    "features.csv": "Every feature that fires, with its label, measures and peak word",
    "correlations.csv": "Every pair of the circuit's features, with r, p and q",
    "edges.csv": "The links: r, q, attribution, effect",
    "graph.graphml": "The graph for Gephi, Cytoscape and yEd",
    "graph.gexf": "The graph for Gephi",
    "graph.json": "The graph for D3 and NetworkX",
    "attribution_graph.json": "For circuit-tracer's viewer and Neuronpedia; holds your text",
    "figure.html": "The figure, to be opened in a browser",
}
_MIMES = {"csv": "text/csv", "json": "application/json", "html": "text/html"}
_ALL = "circuit.zip"


def show_downloads(kept: TracedCircuit, scene: Scene) -> None:
    """Offer every file, and all of them at once."""
    engine = ref(scene.engine)  # Streamlit keeps what a button may need, and must not keep a model with it
    with st.popover("Download", icon=":material/download:"):
        for name, what in {_ALL: "All of them", **_WHAT}.items():
            st.download_button(
                f"{what} (:gray[{name}])",
                data=partial(_file, name, kept, engine, scene.colours),
                file_name=name,
                mime=_MIMES.get(name.rpartition(".")[2], "application/octet-stream"),
                key=f"circuit_download_{name}",
                on_click="ignore",
                type="tertiary",
            )


def circuit_files(kept: TracedCircuit, engine: Engine, colours: Mapping[int, str]) -> dict[str, bytes]:
    """Every file by name."""
    trace, graph = kept.recording.trace, kept.graph()
    bundle, language_model = engine.bundle, engine.language_model
    fired = rank_features(trace, engine.labels, layers=bundle.layers, top=None, hide_always_on=False)
    viewer = attribution_graph(
        graph,
        trace,
        slug="circuit",
        scan=bundle.name,
        bos=str(language_model.tokenizer.decode([language_model.bos_id])),
        n_layers=language_model.n_layers,
        expected=kept.expected,
    )
    files = export_files(kept.found, graph, kept.correlations, fired, viewer)
    return files | {"figure.html": circuit_page(graph, colours=colours)}


def _file(name: str, kept: TracedCircuit, engine_ref: ref[Engine], colours: Mapping[int, str]) -> bytes:
    engine = engine_ref()
    if engine is None:
        raise evicted_error()
    files = circuit_files(kept, engine, colours)
    return _zipped(files) if name == _ALL else files[name]


def _zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()
