"""The commands `compare` and `find`, on the tiny model."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

import feature_tracker.cli.compare
import feature_tracker.cli.find
from feature_tracker.tracker import Tracker


@pytest.fixture(autouse=True)
def opens_the_tiny_model(monkeypatch: pytest.MonkeyPatch, tiny_tracker: Tracker) -> None:
    monkeypatch.setattr(Tracker, "open", lambda *_, **__: replace(tiny_tracker))


def run(command: str, *arguments: str) -> Result:
    module = {"compare": feature_tracker.cli.compare, "find": feature_tracker.cli.find}[command]
    return CliRunner().invoke(module.main, arguments)


def test_changes_are_a_table_and_features_another(tmp_path: Path) -> None:
    out = tmp_path / "features.csv"
    result = run("compare", "Net sales rose.", "Net sales fell. =1+1 is new.", "--features", str(out))
    assert result.exit_code == 0, result.output
    assert "0 sentences the same, 1 reworded, 1 new, 0 gone." in result.stderr
    table = pd.read_csv(io.StringIO(result.stdout), keep_default_na=False)
    assert table[["before", "after"]].to_numpy().tolist() == [["rose", "fell"], ["", "'=1+1 is new."]]
    assert {"difference", "low", "high", "label"} <= set(pd.read_csv(out).columns)


def test_two_models_are_compared_on_one_text() -> None:
    result = run("compare", "Net sales rose.", "--with-model", "another")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(io.StringIO(result.stdout))
    assert (table["difference"].abs() < 1e-5).all()  # both are the tiny model


@pytest.mark.parametrize("arguments", [("one text",), ("one text", "another", "--with-model", "x")])
def test_a_second_text_or_another_model_is_asked_for(arguments: tuple[str, ...]) -> None:
    result = run("compare", *arguments)
    assert result.exit_code == 2
    assert "Give a second text, or another model" in result.output


def test_examples_a_probe_and_its_application(tmp_path: Path) -> None:
    sentences = [f"{word} rose again." for word in ("Rates", "Prices", "Sales", "Wages", "Costs")]
    others = [f"The board of {word} met." for word in ("Rates", "Prices", "Sales", "Wages", "Costs")]
    for name, lines in (("with", sentences), ("without", others)):
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    found = run("find", "--with", str(tmp_path / "with.txt"), "--without", str(tmp_path / "without.txt"))
    assert found.exit_code == 0, found.output
    assert {"auc", "p", "words"} <= set(pd.read_csv(io.StringIO(found.stdout)).columns)

    table = pd.DataFrame({"text": sentences + others, "label": ["up"] * 5 + ["met"] * 5})
    table.to_csv(tmp_path / "examples.csv", index=False)
    probe = tmp_path / "probe.json"
    fitted = run("find", "--examples", str(tmp_path / "examples.csv"), "--features", "4", "--save", str(probe))
    assert fitted.exit_code == 0, fitted.output
    assert len(pd.read_csv(io.StringIO(fitted.stdout))) == 4
    applied = run("find", "--probe", str(probe), "--to", str(tmp_path))
    assert applied.exit_code == 0, applied.output
    assert len(pd.read_csv(io.StringIO(applied.stdout))) == 10


@pytest.mark.parametrize("arguments", [(), ("--to", "."), ("--with", __file__)])
def test_something_to_find_is_asked_for(arguments: tuple[str, ...]) -> None:
    result = run("find", *arguments)
    assert result.exit_code == 2
    assert "Give --with and --without, or --examples, or --probe and --to." in result.output


def test_a_table_without_labels_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    result = run("find", "--examples", str(tmp_path / "x.csv"))
    assert result.exit_code == 1
    assert "should have the columns text (or sentence) and label; it has a, b" in result.output
