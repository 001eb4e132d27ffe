"""The commands that ask readers and judges, and take their answers, from text to table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from feature_tracker.cli.labels import main
from feature_tracker.labelling.answers import read_records, write_records
from feature_tracker.labelling.questions import ExplainQuestion, JudgeKey, JudgeQuestion
from feature_tracker.labels.csv_files import load_labels
from feature_tracker.labels.scores import JUDGED
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.load import save_sae
from tests.support import random_sae

N_LATENTS = {1: 12, 3: 10}
WORDS = [
    "rates",
    "rose",
    "sales",
    "fell",
    "bank",
    "loan",
    "spread",
    "policy",
    "inflation",
    "margin",
    "the",
    "of",
    "and",
]


@pytest.fixture
def folder(tiny_model: LanguageModel, tmp_path: Path) -> Path:
    """A folder with a model, SAEs, and text of both splits."""
    tiny_model.model.save_pretrained(tmp_path / "model")
    tiny_model.tokenizer.save_pretrained(tmp_path / "model")
    for layer, n_latents in N_LATENTS.items():
        sae = random_sae(tiny_model.d_model, n_latents=n_latents, k=4)
        save_sae(tmp_path / "saes", layer, sae, dtype=torch.float32)
    generator = np.random.default_rng(0)
    documents = [
        {"text": " ".join(generator.choice(WORDS, 900)), "split": split, "source": "made-up"}
        for split in ("train", "validation")
        for _ in range(4)
    ]
    (tmp_path / "text.jsonl").write_text("\n".join(map(json.dumps, documents)))
    return tmp_path


def run(folder: Path, command: str, *arguments: str, text: bool = True) -> Result:
    """A command with the folder's bundle, and where it reads text with the folder's text."""
    bundle = [
        "--bundle", "llama2-7b-finance", "--model", str(folder / "model"), "--saes", str(folder / "saes"),
        "--layers", "1 3", "--dtype", "float32", "--labels", str(folder / "t.csv"),
    ]  # fmt: skip
    texts = ["--finance", str(folder / "text.jsonl")] if text else []
    return CliRunner().invoke(main, [*command.split(), *arguments, *bundle, *texts])


def explain(folder: Path) -> list[ExplainQuestion]:
    done = run(folder, "questions explain", str(folder / "explain.jsonl"))
    assert done.exit_code == 0, done.output
    return read_records(folder / "explain.jsonl", ExplainQuestion)


def label(folder: Path, questions: list[ExplainQuestion], **change: str) -> Result:
    answers = [
        {"layer": q.layer, "feature": q.feature, "label": f"Label of L{q.layer}F{q.feature}", "detail": "What it is.",
         "kind": "word", "confidence": "high"} | change
        for q in questions
    ]  # fmt: skip
    (folder / "labels.jsonl").write_text("\n".join(map(json.dumps, answers)))
    return run(
        folder,
        "answers explain",
        str(folder / "labels.jsonl"),
        "--questions",
        str(folder / "explain.jsonl"),
        text=False,
    )


def ask_judge(folder: Path, *options: str) -> list[JudgeKey]:
    done = run(folder, "questions judge", str(folder / "judge.jsonl"), "--key", str(folder / "key.jsonl"), *options)
    assert done.exit_code == 0, done.output
    return read_records(folder / "key.jsonl", JudgeKey)


def judge(folder: Path, answers: list[dict[str, object]]) -> Result:
    (folder / "judged.jsonl").write_text("\n".join(map(json.dumps, answers)))
    return run(
        folder, "answers judge", str(folder / "judged.jsonl"), "--key", str(folder / "key.jsonl"),
        "--judge", "somebody",
        "--date", "2026-11-26", text=False,
    )  # fmt: skip


def right(key: JudgeKey) -> dict[str, object]:
    """What somebody answers who knows the key."""
    numbers = range(1, len(key.stratum) + 1)
    yes = [n for n in numbers if key.stratum[n - 1] >= 0]
    return {"question": key.question, "yes": yes, "no": [n for n in numbers if n not in yes]}


def table(folder: Path):
    return load_labels(folder / "t.csv", N_LATENTS).frame


def test_labels_go_from_question_to_table_and_are_scored(folder: Path) -> None:
    questions = explain(folder)
    assert {(q.layer, q.feature) for q in questions} <= {(n, i) for n, size in N_LATENTS.items() for i in range(size)}
    assert {excerpt.source for q in questions for excerpt in q.excerpts} == {"made-up"}
    labelled = label(folder, questions)
    assert labelled.exit_code == 0, labelled.output
    frame = table(folder)
    asked = [(q.layer, q.feature) for q in questions]
    assert set(frame.loc[asked, "kind"]) == {"word"}
    assert set(frame.drop(index=asked)["label"]) <= {"unlabelled"}
    assert set(frame.loc[asked, "bundle"]) == {"llama2-7b-finance"}

    keys = ask_judge(folder)
    assert sum(key.control for key in keys) == 0  # fewer than twenty labels a layer
    shown = read_records(folder / "judge.jsonl", JudgeQuestion)
    assert [question.question for question in shown] == [key.question for key in keys]
    assert {question.detail for question in shown} == {"What it is."}
    done = judge(folder, [right(key) for key in keys])
    assert done.exit_code == 0, done.output
    assert "| all | " in done.stdout
    frame = table(folder)
    judged = frame[frame["f1_method"] == JUDGED]
    assert len(judged) == len(keys)
    # Some of these features fire on every token, and without silent places there is no F1.
    assert set(judged["f1"].dropna()) == set(judged["f1_strong"].dropna()) == {1.0}
    assert judged["f1"].notna().sum() > 5
    assert set(judged["judge"]) == {"somebody"}
    assert set(judged["date"]) == {"2026-11-26"}


def test_a_new_label_loses_the_scores_of_the_old_one_and_old_answers(folder: Path) -> None:
    questions = explain(folder)
    label(folder, questions)
    keys = ask_judge(folder)
    answers = [right(key) for key in keys]
    judge(folder, answers)
    scored = table(folder)["f1"].dropna()
    changed = scored.index[0]
    label(folder, [q for q in questions if (q.layer, q.feature) == changed], label="Another label")
    frame = table(folder)
    assert np.isnan(frame.at[changed, "f1"])
    assert frame.at[changed, "judge"] == ""
    assert (frame["f1"] == 1).sum() == len(scored) - 1
    again = judge(folder, answers)
    assert "1 of these labels are not those of the table" in again.output
    assert np.isnan(table(folder).at[changed, "f1"])


def test_a_judge_who_says_yes_to_everything_is_scored_and_marked(folder: Path) -> None:
    label(folder, explain(folder))
    keys = ask_judge(folder)
    done = judge(folder, [{"question": k.question, "yes": list(range(1, len(k.stratum) + 1)), "no": []} for k in keys])
    assert done.exit_code == 0, done.output
    assert "said yes to everything" in done.output
    opened = load_labels(folder / "t.csv", N_LATENTS)
    judged = opened.frame["f1_method"] == JUDGED
    assert set(opened.frame.loc[judged, "f1"].dropna()) == {0.666667}
    assert not opened.reliable[judged].any()


def test_faults_are_told_and_cost_no_other_answer(folder: Path) -> None:
    questions = explain(folder)
    label(folder, questions)
    keys = ask_judge(folder)
    answers = [right(key) for key in keys]
    done = judge(
        folder, [*answers[1:], answers[1] | {"no": [], "yes": [1]}, {"question": "foreign", "yes": [], "no": [1]}]
    )
    assert done.exit_code == 0, done.output
    assert "nobody asked about foreign" in done.stderr
    assert f"{keys[1].question} has two answers that differ" in done.stderr
    assert "2 questions have no usable answer" in done.stderr
    assert (table(folder)["f1_method"] == JUDGED).sum() == len(keys) - 2
    before = (folder / "t.csv").read_bytes()
    useless = judge(folder, [{"question": "foreign", "yes": [], "no": [1]}])
    assert useless.exit_code == 1
    assert "the table stays as it was" in useless.output
    assert (folder / "t.csv").read_bytes() == before


def test_keys_and_questions_of_another_bundle_or_other_weights_are_refused(folder: Path) -> None:
    questions = explain(folder)
    label(folder, questions)
    keys = ask_judge(folder)
    answers = [right(key) for key in keys]
    for change, message in (
        ({"bundle": "other"}, "is about bundle other"),
        ({"saes": "other"}, "of other SAE weights"),
    ):
        write_records(folder / "key.jsonl", [replace(key, **change) for key in keys])
        refused = judge(folder, answers)
        assert refused.exit_code == 1
        assert message in refused.output
    write_records(folder / "explain.jsonl", [replace(question, bundle="other") for question in questions])
    assert "is about bundle other" in label(folder, questions).output


def test_only_the_features_that_are_named_are_asked_about(folder: Path) -> None:
    done = run(folder, "questions explain", str(folder / "explain.jsonl"), "--features", "L3/F2 L1/F0")
    assert done.exit_code == 0, done.output
    assert {(q.layer, q.feature) for q in read_records(folder / "explain.jsonl", ExplainQuestion)} <= {(1, 0), (3, 2)}
    assert "no feature L3/F10" in run(folder, "questions explain", "x", "--features", "L3/F10").output
    assert "one of them" in run(folder, "questions explain", "x", text=False).output
    assert "nothing" not in run(folder, "questions judge", str(folder / "j"), "--key", str(folder / "k")).output


def test_nothing_to_judge_is_told(folder: Path) -> None:
    refused = run(folder, "questions judge", str(folder / "j.jsonl"), "--key", str(folder / "k.jsonl"))
    assert refused.exit_code == 1
    assert "No feature has a label to judge" in refused.output
    assert not (folder / "k.jsonl").exists()
