"""Import Neuronpedia's explanations: its export (`.jsonl` or `.jsonl.gz`, one explanation a line) and its API's JSON.

An explanation in the export has `modelId`, `layer` (an SAE's name that begins with a block, such as
`20-gemmascope-res-16k`), `index` and `description`. The API nests them: a feature has `explanations`, lists have
`neurons`, searches `results`. Author, scores and embedding are not read. See
https://docs.neuronpedia.org/api-and-data/exports and https://www.neuronpedia.org/api-doc.

Several places may say which model, source and index it is, and all have to agree. `bundles.hook_names` tells the layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from feature_tracker.bundles.hook_names import Stream, stream_of_hook, stream_of_source
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.files import numbered_lines, parse_json, read_json
from feature_tracker.labels.importers.imported import Imported, Tally
from feature_tracker.labels.importers.target import Target

KIND = "Neuronpedia export"
_KEYS = ("modelId", "layer", "index", "description")
_NESTED = ("results", "neurons", "features", "neuron", "explanations")
_TELLING = {*_KEYS, *_NESTED}
_DEEPEST = 8  # a list of entries with a feature each that has explanations is nested six deep
_LONGEST_LINE = 2**24  # characters
# Where each thing is said, in an explanation, the feature or list entry around it, or the feature's source.
_MODELS = (("modelId",), ("model",), ("model", "id"), ("source", "modelId"))
_SOURCES = (("layer",), ("source", "id"))
_SETS = (("sourceSetName",), ("source", "setName"))
_HOOKS = (
    ("hookName",), ("source", "saelensSaeId"), ("source", "saelensConfig", "hook_name"),
    ("source", "saelensConfig", "hook_point"), ("source", "saelensConfig", "metadata", "hook_name"),
)  # fmt: skip


class _Explanation(NamedTuple):
    """An explanation, and the objects around it from the outermost to its own."""

    where: str
    objects: tuple[dict[str, Any], ...]

    @property
    def description(self) -> str:
        text = self.objects[-1].get("description")
        return text if isinstance(text, str) else ""

    def said(self, *paths: tuple[str, ...]) -> dict[str, str]:
        """What is said at these places, by the place; places that hold no text or number are left out."""
        said: dict[str, str] = {}
        for thing in self.objects:
            for path in paths:
                value: Any = thing
                for key in path:
                    value = value.get(key) if isinstance(value, dict) else None
                if isinstance(value, str | int) and str(value) != said.setdefault(".".join(path), str(value)):
                    self.refuse(".".join(path), str(value), f"around it {'.'.join(path)}", said[".".join(path)])
        return said

    def agreed(self, *paths: tuple[str, ...]) -> str:
        """What these places agree on; empty where they say nothing.

        Raises:
            TrackerError: they contradict each other.
        """
        said = list(self.said(*paths).items())
        for place, value in said[1:]:
            if value.casefold() != said[0][1].casefold():
                self.refuse(place, value, *said[0])
        return said[0][1] if said else ""

    def refuse(self, place: str, value: str, other_place: str, other: str) -> None:
        raise TrackerError(
            f"{self.where}: {place} says {value}, and {other_place} says {other}. Take the explanation out, or correct "
            "it. Nothing was written."
        )


def is_neuronpedia(path: Path) -> bool:
    """Whether a file holds explanations: the first line of an export, or the API's answer.

    Raises:
        TrackerError: a `.json` file can't be read, is too large or is no JSON.
    """
    if path.suffix.lower() == ".json":
        return next(_explanations(read_json(path), ""), None) is not None
    if not path.name.lower().endswith((".jsonl", ".jsonl.gz")):
        return False
    try:
        return any(_in_line(next(numbered_lines(path), (1, ""))[1], ""))
    except TrackerError:
        return False


def read_neuronpedia(path: Path, target: Target, tally: Tally) -> Imported:
    """Yield a file's labels in order; of several explanations of one feature the first that is one counts.

    Raises:
        TrackerError: an explanation is about another model or about a feature that the bundle doesn't have, places that
            say which feature it is contradict each other, or the file mixes several SAEs of one layer.
    """
    folders = [name for name in path.absolute().parts[-4:-1] if _names_residual(name)]
    first: dict[Feature, str] = {}
    sources: dict[int, str] = {}
    for explanation in _read(path, tally):
        tally.read += 1
        where = explanation.where
        source, index = explanation.agreed(*_SOURCES), explanation.agreed(("index",))
        model = explanation.agreed(*_MODELS)
        stream = _stream(explanation, source, model, folders)
        if stream is None or not index.isdecimal():
            tally.reject(where, "layer must begin with a number and index be one", f"{source}, {index}")
            continue
        if stream.layer is None:
            tally.reject(where, "the SAE does not read the residual stream after a layer", source)
            continue
        target.check_model(model, where)
        try:
            feature = target.feature(stream.layer, index, f"{where} ({source})")
        except ValueError:
            tally.reject(where, "index must be a whole number", index)
            continue
        if feature is None:
            tally.left_out += 1
            continue
        if feature.layer not in sources and stream.place == "before":
            tally.notes.append(
                f"{source} reads the stream before block {stream.block}, which is layer {stream.layer} here"
            )
        if sources.setdefault(feature.layer, source) != source:
            raise TrackerError(
                f"{where}: {source} and {sources[feature.layer]} are different SAEs of layer {feature.layer}. Import "
                "the export of one of them. Nothing was written."
            )
        if feature in first:
            tally.reject(f"{where}, first on {first[feature]}", "the feature has an explanation already")
            continue
        for label in tally.label(feature, explanation.description, where):
            first[feature] = where.removeprefix(f"{path.name}, ")
            yield label


def _names_residual(folder: str) -> bool:
    """Whether a folder is named as a source of residual streams is, as in the bucket of exports."""
    stream = stream_of_source(folder)
    return stream is not None and stream.place != "elsewhere"


def _stream(explanation: _Explanation, source: str, model: str, folders: list[str]) -> Stream | None:
    """The stream that an explanation's SAE reads, by its source's name and, where given, its hook.

    Args:
        folders: those around the file that are named as sources are.

    Raises:
        TrackerError: source, set, hook and the file's folders contradict each other.
    """
    stream = stream_of_source(source, model)
    if stream is None:
        return None
    for folder in folders:
        if folder != source:
            explanation.refuse("layer", source, "the folder", folder)
    set_name = source.partition("-")[2].partition("__")[0] or "neurons"
    for place, name in explanation.said(*_SETS).items():
        if name != set_name:
            explanation.refuse(place, name, "layer", source)
    for place, name in explanation.said(*_HOOKS).items():
        hook = stream_of_hook(name)
        if hook is None or hook.layer == stream.layer:
            continue
        if stream.certain or hook.block != stream.block:
            explanation.refuse(place, name, "layer", source)
        stream = hook
    return stream


def _read(path: Path, tally: Tally) -> Iterator[_Explanation]:
    """Yield a file's explanations; lines that hold none are counted as rejected."""
    if path.suffix.lower() == ".json":
        for number, explanation in enumerate(_explanations(read_json(path), ""), start=1):
            yield explanation._replace(where=f"{path.name}, explanation {number}")
        return
    for line, text in numbered_lines(path):
        where, found = f"{path.name}, line {line}", False
        for explanation in _in_line(text, where):
            found = True
            yield explanation
        if not found:
            tally.read += 1
            tally.reject(where, f"a line must be an object with {', '.join(_KEYS)}", text)


def _in_line(text: str, where: str) -> Iterator[_Explanation]:
    if len(text) <= _LONGEST_LINE:
        try:
            yield from _explanations(parse_json(text), where)
        except ValueError:
            return


def _explanations(
    value: Any, where: str, around: tuple[dict[str, Any], ...] = (), depth: int = 0
) -> Iterator[_Explanation]:
    """Yield what an answer explains, in order: every object with model, layer and index, its own or those around it."""
    if isinstance(value, list) and depth < _DEEPEST:
        for item in value:
            if isinstance(item, list) or (isinstance(item, dict) and not _TELLING.isdisjoint(item)):
                yield from _explanations(item, where, around, depth + 1)
    if not isinstance(value, dict) or depth >= _DEEPEST:
        return
    here = (*around, value)
    nested = [value[key] for key in _NESTED if isinstance(value.get(key), dict | list) and value[key]]
    described = isinstance(value.get("description"), str) and bool(value["description"].strip())
    if _is_placed(here) and (described or not nested) and ("description" in value or "explanations" in value):
        yield _Explanation(where, here)
    for part in nested:
        yield from _explanations(part, where, here if "layer" in value else around, depth + 1)


def _is_placed(objects: Iterable[dict[str, Any]]) -> bool:
    return set(_KEYS[:3]) <= {key for thing in objects for key in thing}
