"""`python -m benchmarks.revisions REVISION`: whether a change left every number as it was, to the last bit.

Traces, rankings, correlations and circuits of five sample texts on the built-in model are recorded in this tree and in
a checkout of REVISION, by the same environment, and compared.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from feature_tracker.page.samples import SAMPLES

ROOT = Path(__file__).resolve().parent.parent

# Runs in either tree. Before 0.2.0 there was no Tracker, and the façade of circuit_tracer.py traced circuits.
_RECORD = """
import hashlib, json, sys
import numpy as np, pandas as pd

texts = json.load(sys.stdin)
digests = {}

def note(name, *values):
    digest = hashlib.sha256()
    for value in values:
        if isinstance(value, pd.DataFrame):  # peak words changed with the definition of a word
            for column in sorted(set(value.columns) - {"peak_word"}):
                cells = value[column].to_numpy()
                digest.update(column.encode())
                digest.update(repr(cells.tolist()).encode() if cells.dtype.kind in "OTU" else cells.tobytes())
        else:
            digest.update(np.ascontiguousarray(value).tobytes())
    digests[name] = digest.hexdigest()

def note_trace(name, trace):
    note(name, *(part for layer in trace.layers.values() for part in (layer.values, layer.indices)))

try:
    from feature_tracker import Tracker
except ImportError:
    import circuit_tracer
    from bundles.bundle import load_bundle
    from circuits.correlation import correlate
    from tracing.parts import load_parts
    from tracing.rank import rank_features
    from tracing.rows import features_of
    from tracing.run import trace_text

    parts = load_parts(load_bundle())
    trace_of = lambda text: trace_text(text, parts.language_model, parts.saes, parts.bundle)
    rank = lambda trace, by: rank_features(trace, parts.labels, layers=parts.bundle.layers, top=10, by=by)

    def circuit_of(text):
        analysis = circuit_tracer.trace(text)
        correlations = circuit_tracer.correlate(analysis)
        circuit, _ = circuit_tracer.circuit(analysis, effects=len(text) < 100, correlations=correlations)
        return analysis.trace, circuit, correlations
else:
    from feature_tracker.circuits.correlation import correlate
    from feature_tracker.tracing.rows import features_of

    tracker = Tracker.open()
    trace_of = tracker.trace
    rank = lambda trace, by: tracker.rank(trace, by=by)

    def circuit_of(text):
        traced = tracker.circuit(text, effects=len(text) < 100)
        return traced.recording.trace, traced.circuit, traced.correlations

for place, text in enumerate(texts):
    trace = trace_of(text)
    note_trace(f"trace {place}", trace)
    for by in ("activation", "rarity"):
        note(f"ranking {place} by {by}", rank(trace, by))
    correlations = correlate(trace, features_of(rank(trace, "rarity")))
    note(f"correlations {place}", correlations.pairs, correlations.null_r)
    if len(text) < 2000:  # a circuit of a long text takes minutes
        recorded, circuit, correlations = circuit_of(text)
        note_trace(f"float32 trace {place}", recorded)
        incoming = (circuit.incoming[column] for column in circuit.incoming)  # whatever its columns are called
        note(f"circuit {place}", circuit.edges, *incoming, correlations.pairs)
json.dump(digests, sys.stdout)
"""


@click.command()
@click.argument("revision")
def main(revision: str) -> None:
    """Compare this tree with REVISION, and end with status 1 where a number differs."""
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "checkout"
        subprocess.run(
            ["git", "-C", str(ROOT), "worktree", "add", "--detach", "-q", str(checkout), revision], check=True
        )
        try:
            before, now = record(checkout), record(ROOT)
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(checkout)], check=True)
    different = sorted(name for name in before | now if before.get(name) != now.get(name))
    click.echo(json.dumps({"revision": revision, "compared": len(now), "different": different}))
    sys.exit(bool(different))


def record(tree: Path) -> dict[str, str]:
    """Digests of everything that is compared, by name, as the code in `tree` computes it."""
    command = [sys.executable, "-c", _RECORD]
    done = subprocess.run(command, cwd=tree, input=json.dumps(_texts()), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _texts() -> list[str]:
    samples = list(SAMPLES.values())
    return [samples[0], samples[2], "\n\n".join(samples[4:9]), "Net sales rose 5.4% to $1,234 million.", samples[-2]]


if __name__ == "__main__":
    main()
