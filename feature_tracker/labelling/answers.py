"""Read the answers of readers and judges, and put them into a label table.

Questions, keys and answers are files of JSON Lines, one record a line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.files import numbered_lines, replacing
from feature_tracker.labelling.questions import ExplainQuestion, JudgeKey
from feature_tracker.labels.columns import KEYS, KINDS
from feature_tracker.labels.importers.failures import is_failure
from feature_tracker.labels.judged import JudgedScores, judged_scores
from feature_tracker.labels.scores import JUDGED

MOST_WORDS = 8
_LONGEST_LABEL, _LONGEST_DETAIL = 100, 700
_SLASH = re.compile(r"\w/\w")

Record = TypeVar("Record")


@dataclass(frozen=True)
class LabelAnswer:
    """A reader's answer to an `ExplainQuestion`.

    Attributes:
        layer, feature: which feature.
        label: at most eight words.
        detail: one sentence with what somebody must know to predict where the feature fires.
        kind: see `labels.columns.KINDS`.
        confidence: of the reader.
    """

    layer: int
    feature: int
    label: str
    detail: str
    kind: str
    confidence: Literal["high", "medium", "low"]

    @property
    def name(self) -> str:
        """The feature's name, such as `L16/F283`."""
        return str(Feature(self.layer, self.feature))

    def fault(self) -> str:
        """Why this is no label; empty where it is one."""
        if not self.label.strip() or not self.detail.strip():
            return "its label or detail is empty"
        if is_failure(self.label) or is_failure(self.detail):
            return "its label or detail says that there is none"
        if len(self.label.split()) > MOST_WORDS or len(self.label) > _LONGEST_LABEL:
            return f"its label has more than {MOST_WORDS} words or {_LONGEST_LABEL} characters"
        if len(self.detail) > _LONGEST_DETAIL:
            return f"its detail has more than {_LONGEST_DETAIL} characters"
        if _SLASH.search(self.label):
            return "its label has a slash between two words; write “and” or “or”"
        if self.kind not in KINDS:
            return f"its kind must be one of {', '.join(KINDS)}"
        return ""


@dataclass(frozen=True)
class Judgement:
    """A judge's answer to a `JudgeQuestion`.

    Attributes:
        question: its name.
        yes: numbers of the excerpts, from 1, in which the judge expects the feature to fire.
        no: of those in which it doesn't. An excerpt in neither list is unanswered.
    """

    question: str
    yes: list[int]
    no: list[int]

    def fault(self, n_excerpts: int) -> str:
        """Why this is no answer; empty where it is one."""
        numbers = [*self.yes, *self.no]
        if len(set(numbers)) < len(numbers):
            return "it names an excerpt twice"
        if any(not 1 <= number <= n_excerpts for number in numbers):
            return f"it names an excerpt that is not among 1 to {n_excerpts}"
        return "" if numbers else "it answers nothing"

    def answers(self, n_excerpts: int) -> list[bool | None]:
        """Whether the feature fires, for each excerpt in order; `None` without an answer."""
        given = dict.fromkeys(self.yes, True) | dict.fromkeys(self.no, False)
        return [given.get(number) for number in range(1, n_excerpts + 1)]


class Read(NamedTuple):
    """What files of answers hold.

    Attributes:
        answers: by the question's name; those that are usable.
        faults: a line on each that isn't.
        missing: names of the questions without a usable answer.
    """

    answers: dict[str, Any]
    faults: list[str]
    missing: list[str]


def write_records(path: Path, records: Iterable[Any]) -> int:
    """Write dataclasses as JSON Lines, and say how many.

    Raises:
        TrackerError: the file can't be written.
    """
    n = 0
    with replacing(path) as beside, beside.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(asdict(record), ensure_ascii=False) + "\n")
            n += 1
    return n


def read_records(path: Path, kind: type[Record]) -> list[Record]:
    """Read what `write_records` wrote.

    Raises:
        TrackerError: a line is something else.
    """
    adapter = TypeAdapter(kind)
    records = []
    for number, line in numbered_lines(path):
        try:
            records.append(adapter.validate_json(line))
        except ValidationError as error:
            raise TrackerError(f"{path}, line {number}: expected a {_spoken(kind)} ({_first(error)}).") from None
    return records


def read_labels(questions: Sequence[ExplainQuestion], paths: Iterable[Path]) -> Read:
    """The labels that readers wrote.

    Raises:
        TrackerError: a file can't be read.
    """
    expected = {question.name for question in questions}
    return _read(paths, LabelAnswer, lambda answer: answer.name, lambda answer: answer.fault(), expected)


def read_judgements(keys: Sequence[JudgeKey], paths: Iterable[Path]) -> Read:
    """The answers that judges gave.

    Raises:
        TrackerError: a file can't be read.
    """
    n_excerpts = {key.question: len(key.stratum) for key in keys}
    return _read(
        paths,
        Judgement,
        lambda answer: answer.question,
        lambda answer: answer.fault(n_excerpts[answer.question]),
        set(n_excerpts),
    )


def _read(paths: Iterable[Path], kind: type[Any], name_of: Any, fault_of: Any, expected: set[str]) -> Read:
    """Read files of answers; one that is malformed, foreign or contradicted by another is a fault, and isn't used."""
    adapter = TypeAdapter(kind)
    answers: dict[str, Any] = {}
    faults: list[str] = []
    contradicted: set[str] = set()
    for path in paths:
        for number, line in numbered_lines(path):
            try:
                answer = adapter.validate_json(line)
            except ValidationError as error:
                faults.append(f"{path.name}, line {number}: not a {_spoken(kind)} ({_first(error)})")
                continue
            name = name_of(answer)
            if name not in expected:
                faults.append(f"{path.name}, line {number}: nobody asked about {name}")
            elif fault := fault_of(answer):
                faults.append(f"{path.name}, line {number}: {name} can't be used, {fault}")
            elif name in answers and answers[name] != answer:
                contradicted.add(name)
            else:
                answers[name] = answer
    for name in sorted(contradicted):
        del answers[name]
        faults.append(f"{name} has two answers that differ; keep one")
    return Read(answers, faults, sorted(expected - set(answers)))


def label_columns(answers: Iterable[LabelAnswer]) -> pd.DataFrame:
    """Labels as columns of the table, indexed by (layer, feature)."""
    return pd.DataFrame([asdict(answer) for answer in answers]).set_index(KEYS)


def score_columns(
    keys: Sequence[JudgeKey], judgements: Mapping[str, Judgement], *, judge: str, date: str
) -> pd.DataFrame:
    """Scores as columns of the table, indexed by (layer, feature); controls are left out.

    Args:
        judgements: by question.
        judge: who judged.
        date: when, as `2026-11-26`.
    """
    rows = {
        (key.layer, key.feature): scores_of(key, judgements[key.question])._asdict()
        for key in keys
        if key.question in judgements and not key.control
    }
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=JudgedScores._fields)
    frame.index = pd.MultiIndex.from_tuples(rows, names=KEYS)
    return frame.assign(f1_method=JUDGED, judge=judge, date=date)


def scores_of(key: JudgeKey, judgement: Judgement) -> JudgedScores:
    """The scores of one label."""
    return judged_scores(key.strata, key.stratum, judgement.answers(len(key.stratum)))


def _first(error: ValidationError) -> str:
    detail = error.errors()[0]
    where = ".".join(map(str, detail["loc"]))
    return f"{where}: {detail['msg']}" if where else str(detail["msg"])


def _spoken(kind: type[Any]) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__).lower()
