from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from feature_tracker.errors import TrackerError
from feature_tracker.labelling.answers import (
    Judgement,
    LabelAnswer,
    label_columns,
    read_judgements,
    read_labels,
    read_records,
    score_columns,
    write_records,
)
from feature_tracker.labelling.questions import ExplainQuestion, JudgeKey, JudgeQuestion, MarkedToken
from feature_tracker.labels.judged import HARD_SILENT, RANDOM_SILENT, Stratum
from feature_tracker.labels.scores import JUDGED

STRATA = [Stratum(0.1, 0.4), Stratum(0.2, 0.3), Stratum(0.3, 0.2), Stratum(0.4, 0.1)]
QUESTIONS = [ExplainQuestion("tiny", 1, latent, False, 0.1, [], 0, 0.5, [], []) for latent in range(3)]
LABEL = {
    "layer": 1,
    "feature": 0,
    "label": "Court rulings",
    "detail": "Lawsuits.",
    "kind": "topic",
    "confidence": "low",
}


def key(name: str, *, feature: int = 0, control: bool = False) -> JudgeKey:
    places = [0, 1, 2, 3, RANDOM_SILENT, HARD_SILENT]
    return JudgeKey(name, "tiny", "abc", 1, feature, "Court rulings", control, STRATA, places)


def written(path: Path, *records: Any) -> Path:
    path.write_text("\n".join(record if isinstance(record, str) else json.dumps(record) for record in records))
    return path


def test_records_survive_a_round_trip(tmp_path: Path) -> None:
    question = JudgeQuestion("a", "tiny", "Label", "Detail", False, [MarkedToken("before ", "x", " after\n“é")])
    for kind, records in (
        (ExplainQuestion, QUESTIONS),
        (JudgeKey, [key("a")]),
        (JudgeQuestion, [question]),
        (LabelAnswer, [LabelAnswer(**LABEL)]),
    ):
        assert write_records(tmp_path / "r.jsonl", records) == len(records)
        assert read_records(tmp_path / "r.jsonl", kind) == records
    with pytest.raises(TrackerError, match=r"r\.jsonl, line 1: expected a judge key"):
        read_records(tmp_path / "r.jsonl", JudgeKey)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"label": "x" * 3000}, "more than 8 words or 100 characters"),
        ({"label": "one two three four five six seven eight nine"}, "more than 8 words"),
        ({"label": " "}, "its label or detail is empty"),
        ({"detail": ""}, "its label or detail is empty"),
        ({"label": "Explanation could not be parsed."}, "says that there is none"),
        ({"label": "string"}, "says that there is none"),
        ({"detail": "I'm sorry, but I can't help."}, "says that there is none"),
        ({"detail": "x" * 701}, "more than 700 characters"),
        ({"label": "Profits/losses"}, "a slash between two words"),
        ({"kind": "theme"}, "its kind must be one of topic, word"),
        ({"feature": 9}, "nobody asked about L1/F9"),
        ({"layer": 2}, "nobody asked about L2/F0"),
        ({"confidence": "certain"}, "not a label answer"),
        ({"feature": "first"}, "not a label answer"),
    ],
)
def test_a_label_that_cannot_be_used_is_named_and_left_out(tmp_path: Path, change: dict[str, Any], fault: str) -> None:
    good = LABEL | {"feature": 1}
    read = read_labels(QUESTIONS, [written(tmp_path / "a.jsonl", LABEL | change, good)])
    assert list(read.answers) == ["L1/F1"]
    assert read.missing == ["L1/F0", "L1/F2"]
    assert len(read.faults) == 1
    assert fault in read.faults[0]
    assert read.faults[0].startswith("a.jsonl, line 1")


@pytest.mark.parametrize("line", ["not JSON", "[1, 2]", "{}", '{"layer": 1}', "null", '{"layer": NaN'])
def test_a_malformed_line_costs_no_other_answer(tmp_path: Path, line: str) -> None:
    read = read_labels(QUESTIONS, [written(tmp_path / "a.jsonl", line, LABEL)])
    assert list(read.answers) == ["L1/F0"]
    assert len(read.faults) == 1
    assert "not a label answer" in read.faults[0]


def test_two_labels_for_one_feature_are_neither_used(tmp_path: Path) -> None:
    other = LABEL | {"label": "Something else"}
    files = [written(tmp_path / "a.jsonl", LABEL, LABEL | {"feature": 1}), written(tmp_path / "b.jsonl", other)]
    read = read_labels(QUESTIONS, files)
    assert list(read.answers) == ["L1/F1"]
    assert read.faults == ["L1/F0 has two answers that differ; keep one"]
    again = read_labels(QUESTIONS, [files[0], files[0]])
    assert list(again.answers) == ["L1/F0", "L1/F1"]
    assert again.faults == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match=r"none\.jsonl"):
        read_labels(QUESTIONS, [tmp_path / "none.jsonl"])


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ({"question": "b", "yes": [1], "no": [2]}, "nobody asked about b"),
        ({"question": "a", "yes": [1, 7], "no": [2]}, "an excerpt that is not among 1 to 6"),
        ({"question": "a", "yes": [0], "no": [2]}, "an excerpt that is not among 1 to 6"),
        ({"question": "a", "yes": [1, 2], "no": [2]}, "names an excerpt twice"),
        ({"question": "a", "yes": [], "no": []}, "answers nothing"),
        ({"question": "a", "yes": "all", "no": []}, "not a judgement"),
    ],
)
def test_a_judgement_that_cannot_be_used_is_named_and_left_out(
    tmp_path: Path, answer: dict[str, Any], fault: str
) -> None:
    read = read_judgements([key("a")], [written(tmp_path / "a.jsonl", answer)])
    assert read.answers == {}
    assert read.missing == ["a"]
    assert fault in read.faults[0]


def test_scores_follow_from_the_key_and_leave_controls_out() -> None:
    keys = [key("a"), key("b", feature=1, control=True), key("c", feature=2)]
    judgements = {"a": Judgement("a", [1, 2], [3, 4, 5]), "b": Judgement("b", [1], [2, 3, 4, 5, 6])}
    scores = score_columns(keys, judgements, judge="somebody", date="2026-11-26")
    assert scores.index.tolist() == [(1, 0)]
    row = scores.iloc[0]
    assert row["recall"] == pytest.approx(0.7)
    assert row["n_unanswered"] == 1
    assert row[["f1_method", "judge", "date"]].tolist() == [JUDGED, "somebody", "2026-11-26"]


def test_labels_become_columns() -> None:
    frame = label_columns([LabelAnswer(**LABEL)])
    assert frame.loc[(1, 0)].to_dict() == {
        "label": "Court rulings", "detail": "Lawsuits.", "kind": "topic", "confidence": "low",
    }  # fmt: skip
