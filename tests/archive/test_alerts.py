from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from feature_tracker.archive.alerts import find_alerts
from feature_tracker.archive.archive import Archive
from feature_tracker.archive.conditions import parse_condition
from feature_tracker.archive.rules import Rule, read_rules, read_state, save_state
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.table import LabelTable, unlabelled_table
from feature_tracker.model.tokens import TokenizedText
from feature_tracker.tracing.rank import rank_features
from feature_tracker.tracing.trace import LayerTrace, Trace
from tests.archive.made import made_labels, write_archive

LATENTS = {4: 20, 10: 20}
LABELS = made_labels(LATENTS)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("alerts") / "archive"
    return write_archive(folder, n_documents=80, documents_a_part=30, n_latents=LATENTS, sinks=0.1)


def fired(archive: Archive, condition: str, *, labels: LabelTable = LABELS, since: int = 0) -> list[int]:
    rule = Rule("rule", condition, parse_condition(condition))
    return find_alerts(archive, [rule], labels, since=since).table["document"].tolist()


def trace_of(archive: Archive, document: int) -> Trace:
    """A document's tokens and activations as a trace has them."""
    tokens = archive.dataset("tokens").to_table().to_pandas()
    tokens = tokens[tokens["document"] == document]
    layers = {}
    for layer, n in archive.manifest.n_latents.items():
        activations = archive.activations(layer).to_table().to_pandas()
        activations = activations[activations["document"] == document]
        dense = np.zeros((len(tokens), n), np.float32)
        dense[activations["token"] - tokens["token"].iloc[0], activations["feature"]] = activations["activation"]
        layers[layer] = LayerTrace(layer, dense, np.tile(np.arange(n, dtype=np.int32), (len(tokens), 1)), n)
    text = TokenizedText(
        archive.texts([document])[document], tokens["token_id"].to_numpy(), tokens[["start", "end"]].to_numpy(), 512
    )
    return Trace(text, layers, tokens["attention_sink"].to_numpy())


@pytest.mark.parametrize("document", [0, 35, 79])
def test_distinctiveness_is_that_of_a_ranking_of_the_same_text(archive: Archive, document: int) -> None:
    trace = trace_of(archive, document)
    assert trace.attention_sink.any()
    ranked = rank_features(trace, LABELS, layers=list(LATENTS), top=None, hide_always_on=False)
    for row in ranked.sample(6, random_state=0).itertuples():
        feature, z = Feature(row.layer, row.feature), float(row.distinctiveness)
        assert document in fired(archive, f"{feature} > {z - 1e-3:.6f}")
        assert document not in fired(archive, f"{feature} > {z + 1e-3:.6f}")


@pytest.mark.parametrize("measure", ["max", "mean", "share"])
def test_other_measures_are_those_of_the_table(archive: Archive, measure: str) -> None:
    column = archive.matrix(measure)[:, archive.features.index(Feature(10, 4))]
    threshold = float(np.median(column))
    assert (
        fired(archive, f"L10/F4 {measure} > {threshold:.6f}") == np.flatnonzero(column > round(threshold, 6)).tolist()
    )
    assert fired(archive, f"NOT L10/F4 {measure} > 0") == np.flatnonzero(column == 0).tolist()


def test_words_stand_for_the_highest_of_their_features(archive: Archive) -> None:
    both = archive.matrix("max")[:, [archive.features.index(Feature(layer, 7)) for layer in LATENTS]].max(axis=1)
    assert fired(archive, '"thing 7" max >= 1.5') == np.flatnonzero(both >= 1.5).tolist()


def test_only_documents_from_a_number_on_are_looked_at(archive: Archive) -> None:
    every = fired(archive, "L4/F1 > 0")
    assert any(number < 40 for number in every)
    assert fired(archive, "L4/F1 > 0", since=40) == [number for number in every if number >= 40]
    assert fired(archive, "L4/F1 > 0", since=80) == []


def test_an_alert_says_why_and_where(archive: Archive) -> None:
    rule = Rule(
        "Deposits", "", parse_condition('L4/F1 max > 1 AND ("thing 7" share > 0 OR L10/F3 > 99) AND NOT L10/F2 > 99')
    )
    alerts = find_alerts(archive, [rule], LABELS)
    row = alerts.table.iloc[0]
    assert row["rule"] == "Deposits" and row["name"] == archive.documents["name"][row["document"]]
    assert "L4/F1 “thing 1 of layer 4” max" in row["because"] and "“thing 7 of layer" in row["because"]
    assert "L10/F3" not in row["because"] and "L10/F2" not in row["because"]
    peak = archive.dataset("features").to_table().to_pandas().set_index(["document", "layer", "feature"])["peak"]
    at = peak[row["document"], 4, 1]
    tokens = archive.dataset("tokens").to_table().to_pandas().set_index("token")
    start, end = tokens.loc[at, ["start", "end"]]
    word = archive.texts([row["document"]])[row["document"]][start:end].strip()
    assert f"[{word}]" in row["where"]


def test_what_ordinary_text_would_give_is_told_for_thresholds_of_distinctiveness(archive: Archive) -> None:
    conditions = {
        "L4/F1 > 2": True,
        "L4/F1 > 2 AND L4/F2 max > 1": True,
        "L4/F1 > 2 OR L4/F2 > 3": True,
        "L4/F2 max > 1": False,
        "L4/F1 > 2 OR L4/F2 max > 1": False,
        "NOT L4/F1 > 2": False,
        "L4/F1 < 2": False,
    }
    rules = [Rule(text, text, parse_condition(text)) for text in conditions]
    counts = {count.rule.name: count.by_chance for count in find_alerts(archive, rules, LABELS).counts}
    assert {text: not np.isnan(chance) for text, chance in counts.items()} == conditions
    assert 0 < counts["L4/F1 > 2"] == counts["L4/F1 > 2 AND L4/F2 max > 1"] < counts["L4/F1 > 2 OR L4/F2 > 3"] < 80


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("L4/F20 > 1", "no feature L4/F20. Its layers are 4 \\(F0 to F19\\)"),
        ("L5/F1 > 1", "no feature L5/F1"),
        ('"zebra" > 1', "No feature's label holds"),
    ],
)
def test_a_rule_about_what_is_not_there_is_refused_by_name(archive: Archive, condition: str, message: str) -> None:
    with pytest.raises(TrackerError, match=f"Rule 'rule': .*{message}"):
        fired(archive, condition)


def test_without_measures_of_ordinary_text_only_other_measures_can_be_compared(archive: Archive) -> None:
    labels = unlabelled_table(LATENTS)
    with pytest.raises(TrackerError, match="has no distinctiveness"):
        fired(archive, "L4/F1 > 2", labels=labels)
    assert fired(archive, "L4/F1 max > 1", labels=labels)


def test_of_several_rules_each_is_counted(archive: Archive) -> None:
    conditions = {"all": "L4/F1 max >= 0", "none": "L4/F1 max > 999999"}
    rules = [Rule(name, text, parse_condition(text)) for name, text in conditions.items()]
    alerts = find_alerts(archive, rules, LABELS)
    assert [count.n_fired for count in alerts.counts] == [80, 0]
    assert len(alerts.table) == alerts.n_documents == 80


def test_rules_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("[rules]\n\"Deposits leave\" = 'L4/F1 > 3'\nother = 'NOT \"thing\" max > 2'\n")
    assert [(rule.name, rule.text) for rule in read_rules(path)] == [
        ("Deposits leave", "L4/F1 > 3"),
        ("other", 'NOT "thing" max > 2'),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules", "can't be read as TOML"),
        ("", "must have a table \\[rules\\]"),
        ("[rules]\n", "must have a table"),
        ("rules = 3", "must have a table"),
        ("[rules]\na = 'L1/F1 > 1'\n[more]\n", "and nothing else"),
        ("[rules]\na = 3\n", "rule 'a': a condition is text"),
        ("[rules]\na = 'L1/F1 >'\n", "rule 'a': expected a number"),
        ("[rules]\na = 'L1/F1 > 1'\na = 'L1/F1 > 2'\n", "can't be read as TOML"),
        ("#" * 1_000_001, "no file of rules"),
    ],
)
def test_a_file_that_holds_no_rules_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(TrackerError, match=message):
        read_rules(path)


def test_a_state_remembers_how_far_a_run_looked(archive: Archive, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert read_state(path, archive) == 0
    two_parts = Archive(archive.folder, archive.manifest, 2)
    save_state(path, two_parts)
    assert read_state(path, archive) == len(two_parts.documents) == 60
    save_state(path, archive)
    assert read_state(path, archive) == 80


def test_a_state_of_another_archive_is_refused(archive: Archive, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    save_state(path, archive)
    other = write_archive(tmp_path / "other", n_documents=80, seed=5)
    shorter = Archive(archive.folder, archive.manifest, 1)
    for wrong in (other, shorter):
        with pytest.raises(TrackerError, match="belongs to another archive"):
            read_state(path, wrong)
    for text in ("{}", "[]", '{"documents": "many", "last": ""}', '{"documents": -1, "last": ""}'):
        path.write_text(text)
        with pytest.raises(TrackerError, match=r"no state file|another archive"):
            read_state(path, archive)
