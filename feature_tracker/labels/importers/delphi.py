"""Import a run of Delphi, EleutherAI's tool for automatic interpretation.

A run is a folder with the labels in `explanations/<hookpoint>_latent<N>.txt` (a JSON string each) and the scores in
`scores/<scorer>/<hookpoint>_latent<N>.txt` (a JSON list each, one record an example). Scores are counted from the
records and never read from a summary. The judge gave no answer where a record's `prediction` is null.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from feature_tracker.feature import Feature
from feature_tracker.labels.importers.imported import Evidence, Imported, Tally
from feature_tracker.labels.importers.target import Target
from feature_tracker.labels.scores import Scores, counted_scores

KIND = "Delphi run"
_NAME = re.compile(r"(?P<hookpoint>(?:.*\.)?(?:layers|h)\.(?P<layer>\d+)(?P<part>\..+)?)_latent(?P<index>\d+)\.txt")


class _Unreadable(Exception):
    """A file isn't what it should be; the message says what that is."""


def is_delphi_run(folder: Path) -> bool:
    """Whether a folder is a Delphi run."""
    return (folder / "explanations").is_dir()


def read_delphi(folder: Path, target: Target, tally: Tally) -> Imported:
    """Yield a run's labels by layer and latent, each with the scores that its own records give.

    Raises:
        TrackerError: the run is about another model, or about a feature that the bundle doesn't have.
    """
    scorer = _scorer(folder, tally)
    explained = {path.name: path for path in (folder / "explanations").glob("*.txt")}
    scored = {} if scorer is None else {path.name: path for path in (folder / "scores" / scorer).glob("*.txt")}
    config = _config(folder)
    if isinstance(config.get("model"), str):
        target.check_model(config["model"], f"{folder.name}/run_config.json")
        tally.notes.append(f"the run explains {config.get('sparse_model', 'SAEs')} of {config['model']}")
    for name in sorted(explained.keys() | scored.keys(), key=_order):
        tally.read += 1
        if name not in explained:
            tally.reject(f"{folder.name}/scores/{scorer}/{name}", "scores without an explanation")
            continue
        where = f"{folder.name}/explanations/{name}"
        feature = _feature(name, where, target, tally)
        if feature is None:
            continue
        try:
            original = _explanation(explained[name])
        except _Unreadable as error:
            tally.reject(where, str(error))
            continue
        if name not in scored:
            yield from tally.label(feature, original, where)
            continue
        try:
            scores = record_scores(_json(scored[name]))
        except _Unreadable as error:
            tally.reject(f"{folder.name}/scores/{scorer}/{name}", str(error))
            continue
        yield from tally.label(feature, original, where, scores=scores, method=scorer or "", evidence=Evidence.RECORDS)


def _feature(name: str, where: str, target: Target, tally: Tally) -> Feature | None:
    """The feature that a file's name tells; `None`, and counted, where it is none of the target's."""
    match = _NAME.fullmatch(name)
    if match is None:
        tally.reject(where, "the name must read layers.<layer>_latent<index>.txt")
        return None
    if match["part"]:
        tally.reject(where, "the hookpoint is not the residual stream after a layer", match["hookpoint"])
        return None
    feature = target.feature(match["layer"], match["index"], where)
    tally.left_out += feature is None
    return feature


def record_scores(records: Any) -> Scores:
    """Scores counted from a scorer's records: a list of objects with `activating` and `prediction`.

    Older runs say `ground_truth` instead of `activating`.

    Raises:
        _Unreadable: `activating` isn't true or false in a record, or `prediction` isn't true, false or null.
    """
    if not isinstance(records, list):
        raise _Unreadable("scores must be a JSON list of records")
    counts: Counter[tuple[bool, bool | None]] = Counter()
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            record = {}
        activating, prediction = record.get("activating", record.get("ground_truth")), record.get("prediction")
        # 0 and 1 count as false and true, as they do in Python.
        answered = activating in (True, False) and prediction in (True, False, None)
        if not answered or "prediction" not in record:
            raise _Unreadable(f"record {number} must say `activating` true or false, `prediction` true, false or null")
        counts[bool(activating), None if prediction is None else bool(prediction)] += 1
    return counted_scores(
        true_positive=counts[True, True],
        false_positive=counts[False, True],
        false_negative=counts[True, False],
        true_negative=counts[False, False],
        unanswered=counts[True, None] + counts[False, None],
    )


def _scorer(folder: Path, tally: Tally) -> str | None:
    """The scorer whose F1 counts: `detection` if it ran, else the first by name."""
    scores = folder / "scores"
    names = sorted(path.name for path in scores.iterdir() if path.is_dir()) if scores.is_dir() else []
    if not names:
        tally.notes.append("the run has no scores; its labels have no F1")
        return None
    scorer = "detection" if "detection" in names else names[0]
    if others := [name for name in names if name != scorer]:
        tally.notes.append(f"F1 is that of {scorer}; scores of {', '.join(others)} were left out")
    return scorer


def _config(folder: Path) -> dict[str, Any]:
    """The run's own configuration, which names its model and SAEs; empty where there is none."""
    try:
        config = json.loads((folder / "run_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def _order(name: str) -> tuple[int, int, str]:
    match = _NAME.fullmatch(name)
    return (int(match["layer"]), int(match["index"]), name) if match else (-1, -1, name)


def _explanation(path: Path) -> str:
    explanation = _json(path)
    if not isinstance(explanation, str):
        raise _Unreadable("an explanation must be a JSON string")
    return explanation


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise _Unreadable("the file must be JSON in UTF-8; it may be cut short") from None
    except OSError as error:
        raise _Unreadable(f"the file can't be read ({error.strerror})") from None
