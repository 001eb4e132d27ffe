"""What the commands that ask an archive print, and how they end."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from feature_tracker.cli import main
from feature_tracker.feature import Feature
from tests.archive.made import write_archive, write_bundle

LATENTS = {4: 20, 10: 20}
COMMANDS = ("groups", "trend", "nearest", "correlate", "alerts")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asked")
    write_bundle(folder, LATENTS)
    write_archive(
        folder / "archive", n_documents=200, n_latents=LATENTS, documents_a_part=80, n_companies=20, undated=0.05,
        lifted={Feature(4, 3): ("bank", 3.0)}, rising={Feature(10, 5): 4.0}, linked={Feature(10, 1): Feature(4, 2)},
        themes=[[Feature(4, 8), Feature(4, 9), Feature(10, 9)]], spread=0.3, tokens=(60, 100),
    )  # fmt: skip
    write_archive(
        folder / "calm", n_documents=60, n_latents=LATENTS, groups=["bank"], days=(date(2024, 1, 1), date(2024, 1, 31))
    )
    return folder


def ask(folder: Path, command: str, *arguments: str, archive: str = "archive") -> Result:
    return CliRunner().invoke(
        main, ["corpus", command, str(folder / archive), "--bundle", str(folder / "made.toml"), *arguments]
    )


def test_groups_are_told_apart_by_name_with_counts_and_chance(folder: Path, tmp_path: Path) -> None:
    result = ask(folder, "groups", "--first", "group=bank", "--csv", str(tmp_path / "all.csv"), "--top", "2")
    assert result.exit_code == 0, result.output
    assert " of 40 set" in result.output and "the first group (group=bank, 100 documents)" in result.output
    assert "L4/F3 “thing 3 of layer 4”" in result.output
    assert "(50 % by chance)" in result.output and "q at most 0.03" in result.output
    assert "counts companies instead, with --unit" in result.output
    table = pd.read_csv(tmp_path / "all.csv")
    assert len(table) == 40
    assert {"feature", "label", "f1", "index_low", "difference_high", "auc", "p", "q"} <= set(table.columns)
    assert table["feature"][0] == "L4/F3" and table["higher_in"][0] == "first"


@pytest.mark.parametrize(
    ("command", "of_form"),
    [(["groups", "--first", "group=bank"], Feature(4, 3)), (["trend"], Feature(10, 5))],
    ids=["groups", "trend"],
)
def test_features_of_form_are_named_on_request_only_and_always_written(
    folder: Path, tmp_path: Path, command: list[str], of_form: Feature
) -> None:
    labels = pd.read_csv(folder / "made.csv")
    is_it = (labels["layer"] == of_form.layer) & (labels["feature"] == of_form.index)
    labels.loc[is_it, "kind"] = "punctuation"
    labels.to_csv(tmp_path / "labels.csv", index=False)
    asking = [*command, "--labels", str(tmp_path / "labels.csv"), "--csv", str(tmp_path / "all.csv")]
    without, with_form = ask(folder, *asking), ask(folder, *asking, "--form")
    assert f"\n{of_form}" not in without.output
    assert "Left out: 1 row of numbers, punctuation, grammar and position. --form prints them." in without.output
    assert str(of_form) in pd.read_csv(tmp_path / "all.csv")["feature"].tolist()
    assert f"The surest is {of_form}" in with_form.output and "Left out" not in with_form.output.split("\n\n")[-1]


def test_groups_of_units_are_counted_as_such(folder: Path) -> None:
    result = ask(folder, "groups", "--first", "group=bank", "--second", "group=retail", "--unit", r"company-\d+")
    assert "documents of 10 units) and the second (group=retail, " in result.output
    assert "--unit" not in result.output.split("\n\n")[1]


def test_too_small_a_group_is_told_and_no_table_is_printed(folder: Path) -> None:
    result = ask(folder, "groups", "--first", "name=*00003")
    assert result.exit_code == 0
    assert "Nothing can be told of the first group (name=*00003, 1 document)" in result.output
    assert "A group of 1 document is too small to tell anything" in result.output
    assert "L4/F" not in result.output


def test_groups_that_differ_in_nothing_are_said_not_to(folder: Path) -> None:
    result = ask(folder, "groups", "--first", "name=*[02468]", archive="calm")
    assert "No feature sets the first group" in result.output
    assert "features are as sure on average" in result.output


def test_a_group_of_all_leaves_none_to_compare(folder: Path) -> None:
    result = ask(folder, "groups", "--first", "group=bank", archive="calm")
    assert result.exit_code == 1
    assert "no other group is left" in result.output


def test_trends_are_told_with_periods_and_left_out_documents(folder: Path) -> None:
    result = ask(folder, "trend", "--by", "quarter", "--top", "3")
    assert result.exit_code == 0, result.output
    assert "documents in 12 quarters, " in result.output
    assert "L10/F5 “thing 5 of layer 10”, which rises (tau +" in result.output
    assert "without a date are left out" in result.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--feature", "L10/F5", "--by", "quarter"], "It rises over 12 quarters (tau +"),
        (["--feature", "L4/F0", "--by", "quarter"], "It neither rises nor falls over 12 quarters beyond chance"),
        (["--words", "thing 5", "--by", "year"], "No trend can be told from 3 years"),
        (["--words", "thing 5", "--by", "month"], "“thing 5” is 2 features: L4/F5 “thing 5 of layer 4”, L10/F5"),
        (["--themes"], "1 theme in "),
        (["--between", "2022", "2024"], "(after, 2024, "),
    ],
)
def test_one_feature_a_theme_or_two_dates_can_be_asked_for(folder: Path, arguments: list[str], told: str) -> None:
    result = ask(folder, "trend", *arguments)
    assert result.exit_code == 0, result.output
    assert told in result.output


def test_what_rose_between_two_dates_comes_first(folder: Path) -> None:
    lines = ask(folder, "trend", "--between", "2022", "2024").output.splitlines()
    table = lines[next(number for number, line in enumerate(lines) if line.startswith("feature ")) :]
    assert table[1].startswith("L10/F5") and " first " in table[1]


def test_one_month_is_no_trend(folder: Path) -> None:
    result = ask(folder, "trend", archive="calm")
    assert "No trend can be told from 1 month" in result.output
    assert "L4/F" not in result.output


def test_the_nearest_documents_come_with_reasons_and_what_is_usual(folder: Path, tmp_path: Path) -> None:
    for arguments in (["--document", "*00012"], ["--feature", "L4/F3", "--feature", "L10/F9"]):
        result = ask(folder, "nearest", *arguments, "--top", "3", "--csv", str(tmp_path / "all.csv"))
        assert result.exit_code == 0, result.output
        assert "is the median document's, and one in a hundred is above" in result.output
        assert "“thing " in result.output.splitlines()[-3]
        assert len(pd.read_csv(tmp_path / "all.csv")) >= 199


def test_pairs_are_told_with_labels_and_chance(folder: Path) -> None:
    for arguments in ([], ["--feature", "L10/F1"]):
        result = ask(folder, "correlate", *arguments, "--top", "1")
        assert result.exit_code == 0, result.output
        assert "L4/F2 “thing 2 of layer 4” and L10/F1 “thing 1 of layer 10” correlate most: r = +0.9" in result.output
        assert "chance gives 0 pairs with as large an |r|" in result.output


def rules_file(tmp_path: Path, condition: str) -> str:
    path = tmp_path / "rules.toml"
    path.write_text(f"[rules]\n\"Deposits leave\" = '{condition}'\n")
    return str(path)


def test_alerts_end_with_3_where_a_rule_holds_and_alert_of_each_document_once(folder: Path, tmp_path: Path) -> None:
    rules, state, csv = rules_file(tmp_path, "L4/F3 > 4"), str(tmp_path / "state.json"), tmp_path / "alerts.csv"
    first = ask(folder, "alerts", rules, "--state", state)
    assert first.exit_code == 3
    assert first.stdout.startswith("rule,document,name,")
    assert "of 200 new documents" in first.stderr and "of ordinary passages as long, at most" in first.stderr
    again = ask(folder, "alerts", rules, "--state", state, "--csv", str(csv))
    assert again.exit_code == 0
    assert "of 0 new documents: 0 alerts" in again.stderr
    assert pd.read_csv(csv).empty
    assert ask(folder, "alerts", rules).exit_code == 3  # without a state all are looked at


def test_alerts_of_a_part_that_came_later_are_those_of_its_documents(folder: Path, tmp_path: Path) -> None:
    rules, state = rules_file(tmp_path, "L4/F3 max > 0"), str(tmp_path / "state.json")
    done = folder / "archive" / "parts" / "00002.json"
    content = done.read_bytes()
    done.unlink()  # the third part is not there yet
    try:
        assert ask(folder, "alerts", rules, "--state", state).exit_code == 3
    finally:
        done.write_bytes(content)
    result = ask(folder, "alerts", rules, "--state", state)
    assert result.exit_code == 3
    assert "of 40 new documents" in result.stderr
    assert all(int(line.split(",")[1]) >= 160 for line in result.stdout.splitlines()[1:])


def test_alerts_end_with_0_where_none_holds_and_1_for_an_error(folder: Path, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    assert ask(folder, "alerts", rules_file(tmp_path, "L4/F3 max > 99999")).exit_code == 0
    result = ask(folder, "alerts", rules_file(tmp_path, "L4/F3 >"), "--state", str(state))
    assert result.exit_code == 1
    assert "rule 'Deposits leave': expected a number" in result.output
    assert not state.exists()


def test_an_error_leaves_the_state_as_it_was(folder: Path, tmp_path: Path) -> None:
    rules, state = rules_file(tmp_path, "L4/F3 > 5"), tmp_path / "state.json"
    result = ask(folder, "alerts", rules, "--state", str(state), "--csv", str(tmp_path / "rules.toml" / "no" / "x.csv"))
    assert result.exit_code == 1
    assert not state.exists()


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("groups", ["--first", "group=x"], "The archive has bank, retail"),
        ("groups", ["--first", "bank"], "chooses no documents"),
        ("trend", ["--feature", "L5/F0"], "has no feature L5/F0"),
        ("trend", ["--words", "zebra"], "No feature's label holds"),
        ("trend", ["--between", "2022", "1999"], "No document has date=1999"),
        ("nearest", ["--document", "company*"], "documents are named company*"),
        ("nearest", ["--feature", "F3"], "names no feature"),
        ("correlate", ["--feature", "L4/F99"], "has no feature L4/F99"),
    ],
)
def test_what_cannot_be_asked_is_told_without_a_traceback(
    folder: Path, command: str, arguments: list[str], message: str
) -> None:
    result = ask(folder, command, *arguments)
    assert result.exit_code == 1
    assert message in result.output


@pytest.mark.parametrize(("command", "arguments"), [("nearest", []), ("trend", ["--themes", "--words", "thing"])])
def test_options_that_exclude_each_other_are_told(folder: Path, command: str, arguments: list[str]) -> None:
    assert ask(folder, command, *arguments).exit_code == 2


def test_a_folder_that_is_no_archive_is_told(folder: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["corpus", "correlate", str(tmp_path)])
    assert result.exit_code == 1
    assert "is no archive" in result.output


def test_questions_need_no_pytorch() -> None:
    modules = ", ".join(f"feature_tracker.cli.corpus_{name}" for name in COMMANDS)
    script = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
