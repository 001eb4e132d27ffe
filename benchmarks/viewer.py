"""`python -m benchmarks.viewer`: open an attribution graph in circuit-tracer's own viewer and take a screenshot.

The viewer isn't ours and isn't kept here. Its files, and the libraries that it loads from the internet:

    git clone https://github.com/decoderesearch/circuit-tracer
    npm install --prefix circuit-tracer d3@7 d3-collection@1 d3-jetpack@2.3 dagre@0.8 pako@2
    python -m benchmarks.viewer --viewer circuit-tracer --graph attribution_graph.json --screenshot out.png

The viewer asks for d3 and a fork of jetpack at transformer-circuits.pub, and for dagre and pako at unpkg.com. The
browser gets npm's copies instead and nothing from the internet, so that no feature has examples. Last tried with commit
4bb8c0e (April 2026); its frontend draws as that of circuit-tracer 0.5.0.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import tempfile
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from benchmarks.page import CHROMIUM_ARGUMENTS, find_chromium
from feature_tracker.circuits.attribution_graph import graph_index, supernodes_query

# Ends of the addresses that the viewer's index.html names, and npm's files; a graph needs no other.
_LIBRARIES = {
    "/lib/d3.js": ["d3/dist/d3.min.js"],
    "/lib/jetpack_2024-07-20.js": ["d3-collection/dist/d3-collection.js", "d3-jetpack/build/d3-jetpack.cjs"],
    "/dagre.min.js": ["dagre/dist/dagre.min.js"],
    "/pako.min.js": ["pako/dist/pako.min.js"],
}

# npm has jetpack for `require` alone. The viewer's fork doesn't need d3-collection, and its charts draw their own axes.
_JETPACK = """{{
    const asModule = (load) => {{ const exports = {{}}; load(exports, {{}}); return exports }};
    const collection = asModule((exports, module) => {{ {} }});
    const require = (name) => name === 'd3-collection' ? collection : d3;
    const jetpack = asModule((exports, module) => {{ {} }});
    const conventions = (options) => {{
        const chart = jetpack.conventions(options);
        return Object.assign(chart, {{drawAxis: (svg) => jetpack.drawAxis({{...chart, svg: svg || chart.svg}})}});
    }};
    Object.assign(d3, jetpack, {{conventions}});
}}"""

# What the open viewer shows, by the classes of its page; nodes without a place are those that it can't draw.
_SHOWN = """() => {
    const all = (selector) => [...document.querySelectorAll(selector)];
    const texts = (selector) => all(selector).map((place) => place.textContent);
    const nodes = all('.link-graph text.node').map((place) => place.__data__);
    return {
        by_type: Object.fromEntries(d3.rollups(nodes, (some) => some.length, (node) => node.feature_type)),
        unplaced: nodes.filter((node) => !node.pos.every(Number.isFinite)).map((node) => node.node_id),
        below: texts('.link-graph .prompt-token text'),
        above: texts('.link-graph .axis:not(.y) text'),
        subgraph: texts('.subgraph .supernode-container .node-text-container'),
        groups: all('.subgraph .supernode-container').filter((place) => place.__data__.node.isSuperNode)
            .map((place) => place.querySelectorAll('.member-circle').length),
        inputs: texts('.node-connections .input .feature-row .label'),
        outputs: texts('.node-connections .output .feature-row .label'),
        detail: texts('.feature-detail .feature-header').join(' '),
    };
}"""


@click.command()
@click.option("--viewer", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--graph", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--screenshot", required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--clicked", default="", help="Id of a node to click: its links and its label are shown.")
def main(viewer: Path, graph: Path, screenshot: Path, clicked: str) -> None:
    """Print what circuit-tracer's viewer shows of a graph, as JSON, and write a screenshot."""
    for part in ("circuit_tracer/frontend/assets/index.html", "node_modules/d3-jetpack"):
        if not (viewer / part).exists():
            raise click.ClickException(f"{viewer} has no {part}. The head of benchmarks/viewer.py says how to get it.")
    click.echo(json.dumps(shown(viewer, json.loads(graph.read_text("utf-8")), screenshot, clicked)))


def shown(viewer: Path, graph: dict[str, Any], screenshot: Path, clicked: str = "") -> dict[str, Any]:
    """What the viewer shows, as `_SHOWN` reads it, and the errors of its scripts under `errors`."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - the other benchmarks run without it

    errors: list[str] = []
    with _served(viewer / "circuit_tracer" / "frontend" / "assets", graph) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_ARGUMENTS)
        tab = browser.new_page(viewport={"width": 1500, "height": 1000})
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.route(lambda url: not url.startswith(address), lambda route: _answer(route, viewer / "node_modules"))
        tab.goto(f"{address}/index.html?slug={graph['metadata']['slug']}&{supernodes_query(graph)}")
        tab.locator(".subgraph svg").first.wait_for(timeout=20_000)
        if clicked:
            _click(tab, clicked)
        tab.screenshot(path=screenshot, full_page=True)
        seen = tab.evaluate(_SHOWN)
        browser.close()
    return {**seen, "errors": errors}


def _click(tab: Any, node_id: str) -> None:
    place = tab.evaluate(
        """(id) => {
            const node = [...document.querySelectorAll('.link-graph text.node')].find((n) => n.__data__.node_id === id);
            const box = node?.getBoundingClientRect();
            return box && [box.x + box.width / 2, box.y + box.height / 2];
        }""",
        node_id,
    )
    if place is None:
        raise click.ClickException(f"The viewer shows no node {node_id}.")
    tab.mouse.click(*place)
    tab.locator(".node-connections .feature-title").first.wait_for()


def _answer(route: Any, libraries: Path) -> None:
    path = urlsplit(route.request.url).path
    names = next((names for end, names in _LIBRARIES.items() if path.endswith(end)), [])
    scripts = [(libraries / name).read_text("utf-8") for name in names]
    if path.endswith(".js"):
        body = _JETPACK.format(*scripts) if len(scripts) > 1 else "".join(scripts)
        route.fulfill(body=body, content_type="text/javascript")
    elif path.endswith(".json"):
        route.fulfill(json={"examples_quantiles": []})  # a feature without examples
    else:
        route.fulfill(status=404)


@contextlib.contextmanager
def _served(viewer: Path, graph: dict[str, Any]) -> Generator[str]:
    """Serve the viewer's files, and the graph where the viewer looks for it: the address."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        (data / "graph-metadata.json").write_text(json.dumps(graph_index([graph])), "utf-8")
        (data / f"{graph['metadata']['slug']}.json").write_text(json.dumps(graph), "utf-8")
        handler = functools.partial(_Handler, data=data, directory=str(viewer))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()


class _Handler(http.server.SimpleHTTPRequestHandler):
    """As circuit-tracer's `local_server.py`: /data/ and /graph_data/ are the graphs' folder."""

    def __init__(self, *arguments: Any, data: Path, **options: Any) -> None:
        self._data = data
        super().__init__(*arguments, **options)

    def translate_path(self, path: str) -> str:
        name = urlsplit(path).path
        for folder in ("/data/", "/graph_data/"):
            if name.startswith(folder):
                return str(self._data / Path(name).name)
        return super().translate_path(path)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


if __name__ == "__main__":
    main()
