"""Import Neuronpedia's explanation export: `.jsonl` or `.jsonl.gz`, one explanation a line.

Each line has `modelId`, `layer` (an SAE's name that begins with the layer, as `20-gemmascope-res-16k`), `index` and
`description`. Author and embedding are not read. See https://docs.neuronpedia.org/api-and-data/exports.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.files import numbered_lines
from feature_tracker.labels.importers.imported import Imported, Tally
from feature_tracker.labels.importers.target import Target

KIND = "Neuronpedia export"
_KEYS = ("modelId", "layer", "index", "description")
_SOURCE = re.compile(r"(?P<layer>\d+)(?:-(?P<set>.+))?")
_NOT_RESIDUAL = re.compile(r"(?:^|[-_])(?:att|attn|mlp|transcoder|clt|hook_z)(?:$|[-_])")


def is_neuronpedia(path: Path) -> bool:
    """Whether the file's first line is an explanation."""
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        return False
    try:
        first = next(numbered_lines(path), (1, ""))[1]
    except TrackerError:
        return False
    return _record(first) is not None


def read_neuronpedia(path: Path, target: Target, tally: Tally) -> Imported:
    """Yield an export's labels, line by line; of several explanations of one feature the first counts.

    Raises:
        TrackerError: a line is about another model or about a feature that the bundle doesn't have, or the file mixes
            several SAEs of one layer.
    """
    first_lines: dict[Feature, int] = {}
    sources: dict[int, str] = {}
    for line, text in numbered_lines(path):
        tally.read += 1
        where = f"{path.name}, line {line}"
        record = _record(text)
        if record is None:
            tally.reject(where, f"a line must be an object with {', '.join(_KEYS)}", text)
            continue
        source, index, description = str(record["layer"]), str(record["index"]), record["description"]
        match = _SOURCE.fullmatch(source)
        if match is None or not index.isdecimal():
            tally.reject(where, "layer must begin with a number and index be one", f"{source}, {index}")
            continue
        if _NOT_RESIDUAL.search(match["set"] or ""):
            tally.reject(where, "the SAE does not read the residual stream after a layer", source)
            continue
        target.check_model(str(record["modelId"]), where)
        feature = target.feature(match["layer"], index, where)
        if feature is None:
            tally.left_out += 1
            continue
        if sources.setdefault(feature.layer, source) != source:
            raise TrackerError(
                f"{where}: {source} and {sources[feature.layer]} are different SAEs of layer {feature.layer}. Import "
                "the export of one of them. Nothing was written."
            )
        if feature in first_lines:
            tally.reject(f"{where}, first on line {first_lines[feature]}", "the feature has an explanation already")
            continue
        first_lines[feature] = line
        yield from tally.label(feature, description if isinstance(description, str) else "", where)


def _record(text: str) -> dict[str, Any] | None:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and all(key in record for key in _KEYS) else None
