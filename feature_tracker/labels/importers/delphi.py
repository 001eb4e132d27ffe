"""Import a run of Delphi, EleutherAI's tool for automatic interpretation.

A run is a folder with the labels in `explanations/<hookpoint>_latent<N>.txt` (a JSON string each) and the scores in
`scores/<scorer>/<hookpoint>_latent<N>.txt` (a JSON list each, one record an example). Older runs say `_feature`
instead of `_latent`. Scores are counted from the records and never read from a summary. The judge gave no answer where
a record's `prediction` is null, or -1 in runs before February 2025.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

from feature_tracker.bundles.hook_names import Stream, stream_of_hook
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.files import read_json
from feature_tracker.labels.importers.imported import Evidence, Imported, Tally
from feature_tracker.labels.importers.target import Target
from feature_tracker.labels.scores import Scores, counted_scores

KIND = "Delphi run"
SCORERS = ("fuzz", "detection")
"""Scorers whose F1 is taken first, the best first: `fuzz` asks about marked tokens, as F1 does here, `detection` about
whole passages."""
_NAME = re.compile(r"(?P<hookpoint>.+)_(?:latent|feature)(?P<index>\d{1,12})\.txt")
_LARGEST = 2**24  # bytes of a file


class _Unreadable(Exception):
    """A file isn't what it should be; the message says what that is."""


def is_delphi_run(folder: Path) -> bool:
    """Whether a folder is a Delphi run. Neuronpedia's bucket has folders `explanations` too, of other files."""
    return any((folder / "explanations").glob("*.txt"))


def read_delphi(folder: Path, target: Target, tally: Tally) -> Imported:
    """Yield a run's labels by layer and latent, each with the scores that its own records give.

    Raises:
        TrackerError: the run is about another model, or about a feature that the bundle doesn't have.
    """
    scorer = _scorer(folder, tally)
    explained = {path.name: path for path in (folder / "explanations").glob("*.txt")}
    scored = {} if scorer is None else {path.name: path for path in (folder / "scores" / scorer).glob("*.txt")}
    hookpoints = _check_config(folder, target, tally)
    for name in sorted(explained.keys() | scored.keys(), key=_order):
        tally.read += 1
        if name not in explained:
            tally.reject(f"{folder.name}/scores/{scorer}/{name}", "scores without an explanation")
            continue
        where = f"{folder.name}/explanations/{name}"
        feature = _feature(name, where, hookpoints, target, tally)
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


def _feature(name: str, where: str, hookpoints: list[str], target: Target, tally: Tally) -> Feature | None:
    """The feature that a file's name tells; `None`, and counted, where it is none of the target's.

    Raises:
        TrackerError: the bundle doesn't have it, or the run's configuration names other layers.
    """
    match, stream = _NAME.fullmatch(name), _stream(name)
    if match is None or stream is None:
        tally.reject(where, "the name must read layers.<layer>_latent<index>.txt")
        return None
    if stream.layer is None:
        tally.reject(where, "the hookpoint is not the residual stream after a layer", match["hookpoint"])
        return None
    configured = [stream_of_hook(hookpoint) for hookpoint in hookpoints]
    if None not in configured and configured and stream not in configured:
        raise TrackerError(
            f"{where} is about {match['hookpoint']}, but the run's run_config.json has the hookpoints "
            f"{', '.join(hookpoints)}. Take the file out, or correct its name. Nothing was written."
        )
    feature = target.feature(stream.layer, match["index"], where)
    tally.left_out += feature is None
    return feature


def _stream(name: str) -> Stream | None:
    match = _NAME.fullmatch(name)
    return None if match is None else stream_of_hook(match["hookpoint"])


def record_scores(records: Any) -> Scores:
    """Scores counted from a scorer's records: a list of objects with `activating` and `prediction`.

    Older runs say `ground_truth` instead of `activating`.

    Raises:
        _Unreadable: `activating` isn't true or false in a record, or `prediction` isn't true, false or null, or what
            else the record says, such as `correct`, contradicts them.
    """
    if not isinstance(records, list):
        raise _Unreadable("scores must be a JSON list of records")
    counts: Counter[tuple[bool, bool | None]] = Counter()
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            record = {}
        activating, prediction = record.get("activating", record.get("ground_truth")), record.get("prediction")
        if prediction == -1 or (isinstance(prediction, float) and math.isnan(prediction)):
            prediction = None
        # 0 and 1 count as false and true, as they do in Python.
        answered = activating in (True, False) and prediction in (True, False, None)
        if not answered or "prediction" not in record:
            raise _Unreadable(f"record {number} must say `activating` true or false, `prediction` true, false or null")
        others = [record.get("ground_truth"), None if prediction is None else record.get("correct")]
        stated = [activating, prediction == activating]
        if any(other in (True, False) and other != value for other, value in zip(others, stated, strict=True)):
            raise _Unreadable(f"record {number} contradicts itself on what was asked, answered or correct")
        counts[bool(activating), None if prediction is None else bool(prediction)] += 1
    return counted_scores(
        true_positive=counts[True, True],
        false_positive=counts[False, True],
        false_negative=counts[True, False],
        true_negative=counts[False, False],
        unanswered=counts[True, None] + counts[False, None],
    )


def _scorer(folder: Path, tally: Tally) -> str | None:
    """The scorer whose F1 counts: the first of `SCORERS` that ran, else the first by name whose records give one."""
    scores = folder / "scores"
    names = sorted(path.name for path in scores.iterdir() if path.is_dir()) if scores.is_dir() else []
    ran = [name for name in names if _gives_f1(scores / name)]
    scorer = min(ran, key=lambda name: (SCORERS.index(name) if name in SCORERS else len(SCORERS), name), default=None)
    others = [name for name in names if name != scorer]
    if scorer is None:
        without = f" but those of {', '.join(others)}, which have no yes or no" if others else ""
        tally.notes.append(f"the run has no scores{without}; its labels have no F1")
    else:
        order = f"; scores of {', '.join(others)} were left out (of several, {', then '.join(SCORERS)})"
        tally.notes.append(f"F1 is that of {scorer}{order if others else ''}")
    return scorer


def _gives_f1(folder: Path) -> bool:
    """Whether a scorer answers yes or no. Of a scorer not known here, the first file that can be read tells."""
    if folder.name in SCORERS:
        return any(folder.glob("*.txt"))
    for path in sorted(folder.glob("*.txt")):
        try:
            records = _json(path)
        except _Unreadable:
            continue
        if isinstance(records, list) and records:
            first = records[0] if isinstance(records[0], dict) else {}
            return "prediction" in first and ("activating" in first or "ground_truth" in first)
    return False


def _check_config(folder: Path, target: Target, tally: Tally) -> list[str]:
    """The hookpoints that the run's own configuration names.

    Raises:
        TrackerError: it names another model.
    """
    try:
        config = read_json(folder / "run_config.json", _LARGEST)
    except TrackerError:
        config = None
    config = config if isinstance(config, dict) else {}
    model, hookpoints = config.get("model"), config.get("hookpoints")
    if isinstance(model, str):
        target.check_model(model, f"{folder.name}/run_config.json")
        tally.notes.append(f"the run explains {config.get('sparse_model', 'SAEs')} of {model}")
    else:
        tally.notes.append("the run doesn't say which model it explains")
    return [name for name in hookpoints if isinstance(name, str)] if isinstance(hookpoints, list) else []


def _order(name: str) -> tuple[int, int, str]:
    match, stream = _NAME.fullmatch(name), _stream(name)
    return (stream.block, int(match["index"]), name) if match and stream else (-1, -1, name)


def _explanation(path: Path) -> str:
    explanation = _json(path)
    if not isinstance(explanation, str):
        raise _Unreadable("an explanation must be a JSON string")
    return explanation


def _json(path: Path) -> Any:
    try:
        return read_json(path, _LARGEST)
    except TrackerError:
        raise _Unreadable(
            f"the file must be JSON in UTF-8 of at most {_LARGEST:,} bytes; it may be cut short"
        ) from None
