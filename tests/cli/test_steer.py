from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.cli import main
from feature_tracker.tracker import Tracker
from tests.support import tiny_labels

PROMPT = "The central bank raised "


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch, tiny_tracker: Tracker, tiny_bundle: Bundle) -> None:
    tracker = replace(tiny_tracker, bundle=replace(tiny_bundle, window=64), labels=tiny_labels(tiny_bundle, 40))
    monkeypatch.setattr(Tracker, "open", lambda *_, **__: tracker)


def steer(*arguments: str, prompt: str = PROMPT) -> Result:
    return CliRunner().invoke(main, ["steer", prompt, "--bundle", "smollm2-135m", "--tokens", "8", *arguments])


def test_both_continuations_are_printed_with_their_perplexities() -> None:
    result = steer("--feature", "L1/F5=1.0", "--feature", "L3/F2=-0.5", "--only-where", "L1/F5")
    assert result.exit_code == 0, result.output
    assert "Unsteered (perplexity " in result.stdout
    assert "Steered by L1/F5 “<b>label</b> $x$ **1** 5” at 1 and L3/F2" in result.stdout
    assert "only where L1/F5" in result.stdout
    assert result.stdout.count(PROMPT.rstrip()) == 2
    assert "The unsteered model finds this" in result.stdout
    again = steer("--feature", "L1/F5=1.0", "--feature", "L3/F2=-0.5", "--only-where", "L1/F5")
    assert again.stdout == result.stdout


def test_a_saved_recipe_steers_as_its_options_did(tmp_path: Path) -> None:
    options = steer("--feature", "L1/F5=1.0", "--only-where", "L1/F2", "--save-recipe", str(tmp_path / "a.json"))
    assert json.loads((tmp_path / "a.json").read_text())["features"][0]["strength"] == 1.0
    assert PROMPT.rstrip() not in (tmp_path / "a.json").read_text()
    assert steer("--recipe", str(tmp_path / "a.json")).stdout == options.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "1 to 3 features are steered at once; found 0"),
        (("--feature", "L1/F5"), "names no feature with a strength"),
        (("--feature", "L1/F5=much"), "names no feature with a strength"),
        (("--feature", "F5=1"), "'F5' names no feature"),
        (("--feature", "L1/F5=1e9"), "must be a number from -10 to 10; found 1000000000.0"),
        (("--feature", "L1/F5=nan"), "must be a number from -10 to 10; found nan"),
        (("--feature", "L1/F40=1"), "There is no L1/F40"),
        (("--feature", "L1/F5=1", "--feature", "L1/F5=1"), "named twice"),
        (tuple(f"--feature=L1/F{i}=1" for i in range(4)), "found 4"),
        (("--feature", "L1/F5=1", "--only-where", "L3/F1"), "lies above L1/F5"),
        (("--feature", "L1/F5=1", "--only-where", "everywhere"), "names no feature"),
    ],
)
def test_what_cant_be_steered_is_one_sentence(arguments: tuple[str, ...], said: str) -> None:
    result = steer(*arguments)
    assert result.exit_code == 1
    assert said in result.stderr and "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(("prompt", "said"), [(" ", "There is no prompt yet"), ("rate " * 100, "Shorten the prompt")])
def test_a_prompt_that_cant_be_continued_is_refused(prompt: str, said: str) -> None:
    assert said in steer("--feature", "L1/F5=1", prompt=prompt).stderr


@pytest.mark.parametrize("option", [("--tokens", "0"), ("--temperature", "nan"), ("--seed", "-1")])
def test_sampling_out_of_range_is_refused(option: tuple[str, str]) -> None:
    result = steer("--feature", "L1/F5=1", *option)
    assert result.exit_code in (1, 2) and option[0].lstrip("-") in result.stderr


def test_a_recipe_comes_alone_and_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    assert (
        "leave --feature and --only-where out"
        in steer("--recipe", str(tmp_path / "a.json"), "--feature", "L1/F5=1").stderr
    )
    assert "key 'bundle' is missing" in steer("--recipe", str(tmp_path / "a.json")).stderr
    (tmp_path / "b.json").write_text(" " * 200_000)
    assert "at most 100,000 bytes" in steer("--recipe", str(tmp_path / "b.json")).stderr
    assert steer("--recipe", str(tmp_path / "c.json")).exit_code == 2
