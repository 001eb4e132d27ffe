"""The view that turns features up or down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from streamlit.runtime.scriptrunner_utils.exceptions import StopException
from streamlit.testing.v1 import AppTest

import feature_tracker.page.pool
from feature_tracker.model.load import LanguageModel
from feature_tracker.tracker import Tracker
from tests.page.driving import analyze, errors, open_tab
from tests.support import SENTENCES

PROMPT = "Rates <b>rose</b>"


@pytest.fixture
def view(page: AppTest, monkeypatch: pytest.MonkeyPatch, tiny_model: LanguageModel) -> AppTest:
    """The opened view, with a prompt and few tokens to write."""
    opened = Tracker.open

    def with_room(*_: Any, **__: Any) -> Tracker:
        tracker = opened()
        return replace(tracker, bundle=replace(tracker.bundle, window=64))

    monkeypatch.setattr(Tracker, "open", with_room)
    monkeypatch.setattr(tiny_model.model.generation_config, "eos_token_id", None)
    feature_tracker.page.pool.tracker_pool.clear()
    page.query_params["feature"] = "L3/F17"
    analyze(page, SENTENCES)
    open_tab(page, "Steer")
    page.text_area(key="steer_prompt").set_value(PROMPT)
    page.number_input(key="steer_tokens").set_value(6)
    return page.run()


def press(view: AppTest) -> AppTest:
    return view.button(key="steer_run").click().run()


def markdown(view: AppTest) -> str:
    return "\n".join(text.value for text in view.markdown)


def captions(view: AppTest) -> str:
    return "\n".join(text.value for text in view.caption)


def choose(view: AppTest, key: str, typed: str) -> None:
    box = view.selectbox(key=key)
    box.options.append(typed)  # AppTest knows no options that are typed
    box.set_value(typed)


def upload(view: AppTest, raw: bytes) -> AppTest:
    return view.file_uploader(key="steer_recipe").set_value(("r.json", raw, "application/json")).run()


def test_the_prompt_is_the_texts_first_sentence_until_it_is_changed(page: AppTest) -> None:
    analyze(page, "Sales rose. Costs fell.")
    open_tab(page, "Steer")
    assert page.text_area(key="steer_prompt").value == "Sales rose."
    analyze(page, "Costs fell. Sales rose.")
    assert page.text_area(key="steer_prompt").value == "Costs fell."
    page.text_area(key="steer_prompt").set_value("My own").run()
    open_tab(page, "Features")
    analyze(page, "Sales rose. Costs fell.")
    open_tab(page, "Steer")
    assert page.text_area(key="steer_prompt").value == "My own"


def test_two_texts_are_written_side_by_side_and_put_into_words(view: AppTest) -> None:
    press(view)
    assert not errors(view)
    shown = markdown(view)
    assert "**Unsteered**\n\nRates \\<b\\>rose\\</b\\>:blue[" in shown
    assert "**Steered by L3/F17" in shown
    assert "Perplexity" in captions(view) and "the unsteered model finds this" in captions(view).lower()
    assert "Stopped after" not in captions(view)
    assert not any(button.key == "steer_stop" for button in view.button)
    table = next(frame.value for frame in view.dataframe if "Next word" in frame.value)
    assert table.columns.tolist() == ["Next word", "0", "0.25", "0.5", "1", "2"]
    assert "not what the model believes" in captions(view)


def test_more_features_and_a_condition_may_be_chosen_or_typed(view: AppTest) -> None:
    second = view.selectbox(key="steer_second")
    second.set_value(second.options[0])
    choose(view, "steer_third", "L4/F39")
    view.slider(key="steer_strength_3").set_value(-2.0)
    choose(view, "steer_only_where", "L1/F3")
    press(view)
    assert not errors(view)
    assert "L4/F39" in markdown(view) and "at \\-2, only where L1/F3" in markdown(view)


@pytest.mark.parametrize(
    ("key", "typed", "said"),
    [
        ("steer_second", "nonsense", "names no feature"),
        ("steer_second", "L3/F40", "There is no L3/F40"),
        ("steer_second", "L3/F17", "named twice"),
        ("steer_only_where", "L4/F1", "lies above L3/F17"),
    ],
)
def test_what_cant_be_steered_is_said_and_the_button_is_off(view: AppTest, key: str, typed: str, said: str) -> None:
    choose(view, key, typed)
    view.run()
    assert any(said in info.value.replace("\\", "") for info in view.info)
    assert view.button(key="steer_run").disabled
    view.selectbox(key=key).set_value(None).run()
    assert not view.button(key="steer_run").disabled


@pytest.mark.parametrize(("prompt", "said"), [(" ", "There is no prompt yet"), ("rate " * 100, "Shorten the prompt")])
def test_a_prompt_that_cant_be_continued_is_refused_and_stays(view: AppTest, prompt: str, said: str) -> None:
    view.text_area(key="steer_prompt").set_value(prompt).run()
    press(view)
    assert said in errors(view)[0]
    assert view.text_area(key="steer_prompt").value == prompt


def test_what_was_written_stays_when_settings_change_and_says_so(view: AppTest) -> None:
    press(view)
    before = next(text.value for text in view.markdown if "**Steered by" in text.value)
    view.number_input(key="steer_seed").set_value(5).run()
    assert any("settings have changed" in info.value for info in view.info)
    open_tab(view, "Features")
    open_tab(view, "Steer")
    assert next(text.value for text in view.markdown if "**Steered by" in text.value) == before
    assert view.number_input(key="steer_seed").value == 5


def test_a_stop_keeps_what_was_written_and_steers_nothing_else(view: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    works, closed = Tracker.steer, []

    def stopped(*args: Any) -> Iterator[Any]:
        try:
            for number, step in enumerate(works(*args)):
                if number == 4:
                    raise StopException  # as Streamlit ends a run, by a click or a closed tab
                yield step
        finally:
            closed.append(True)

    monkeypatch.setattr(Tracker, "steer", stopped)
    press(view)
    assert closed == [True]
    view.run()
    assert "Stopped after 3 tokens." in captions(view)
    assert ":blue[" in markdown(view)
    assert not errors(view)
    monkeypatch.setattr(Tracker, "steer", works)
    press(view)
    assert "Stopped after" not in captions(view)


def test_a_reply_is_read_after_its_prompt(view: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    press(view)
    traced: list[str] = []
    works = Tracker.trace
    monkeypatch.setattr(
        Tracker, "trace", lambda self, text, **options: traced.append(text) or works(self, text, **options)
    )
    view.button(key="steer_reply_Steered").click().run()
    assert not errors(view)
    written = view.session_state["session_steering"].written
    assert traced == [PROMPT + written.steered.text]
    replies = [button for button in view.button if button.key.startswith("reply_Steered_")]
    assert replies
    replies[0].click().run()
    assert not errors(view)
    assert view.query_params["feature"] == replies[0].key.removeprefix("reply_Steered_")


def test_chosen_words_are_followed_and_too_many_refused(view: AppTest) -> None:
    press(view)
    view.text_input(key="steer_words").set_value("its, net sales,,").run()
    assert not errors(view)
    table = next(frame.value for frame in view.dataframe if "Next word" in frame.value)
    assert table["Next word"].tolist() == ["its", "net sales"]
    view.text_input(key="steer_words").set_value(",".join("abcdefghi")).run()
    assert "At most 8 words" in errors(view)[0]


def test_a_recipe_is_loaded_into_the_controls(view: AppTest) -> None:
    recipe = {"bundle": "tiny", "saes": view_fingerprint(view), "only_where": {"layer": 1, "latent": 2}}
    features = [
        {"layer": 4, "latent": 9, "strength": 0.3, "max_activation": 4.0},
        {"layer": 3, "latent": 8, "strength": -1, "max_activation": 4.0},
    ]
    upload(view, json.dumps(recipe | {"features": features}).encode())
    assert not errors(view)
    assert view.query_params["feature"] == "L4/F9"
    assert view.slider(key="steer_strength_1").value == 0.3
    assert view.selectbox(key="steer_second").value == "L3/F8"
    assert view.selectbox(key="steer_third").value is None
    assert view.selectbox(key="steer_only_where").value == "L1/F2"
    press(view)
    assert not errors(view)
    steered = view.session_state["session_steering"].request.recipe
    assert [one.strength for one in steered.features] == [0.3, -1.0]


def view_fingerprint(view: AppTest) -> str:
    press(view)
    return view.session_state["session_steering"].request.recipe.saes


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"{", "Invalid JSON"),
        (b'{"saes": "0", "bundle": "b", "x": 1, "features": []}', "unknown key 'x'"),
        (
            b'{"saes": "0", "bundle": "b", "features": '
            b'[{"layer": 3, "latent": 1, "strength": 1, "max_activation": 4}]}',
            "made for other weights",
        ),
        (b" " * 100_001, "at most 100,000 bytes"),
    ],
)
def test_a_recipe_that_is_none_is_refused_and_nothing_changes(view: AppTest, raw: bytes, said: str) -> None:
    upload(view, raw)
    (error,) = errors(view)
    assert said in error.replace("\\", "") and "settings are unchanged" in error
    assert view.query_params["feature"] == "L3/F17"
    assert view.slider(key="steer_strength_1").value == 1.0
    assert view.text_area(key="steer_prompt").value == PROMPT


def test_no_text_reaches_the_address(view: AppTest) -> None:
    press(view)
    assert not any("Rates" in str(value) for value in view.query_params.values())


@pytest.mark.browser
@pytest.mark.model
def test_stop_ends_writing_in_a_browser_and_keeps_what_was_written(served: str, tab: Any) -> None:
    tab.goto(served)
    tab.get_by_label("Text to analyze").fill(SENTENCES)
    tab.get_by_role("button", name="Analyze").click()
    tab.locator(".js-plotly-plot").first.wait_for(timeout=120_000)
    tab.get_by_role("tab", name="Steer", exact=True).click()
    tab.get_by_label("New tokens").fill("200")
    tab.get_by_label("New tokens").press("Enter")
    tab.get_by_role("button", name="Steer", exact=True).click()
    tab.locator("[role=tabpanel]:visible .stMarkdownColoredText").nth(1).wait_for(timeout=60_000)
    tab.get_by_role("button", name="Stop", exact=True).click()
    tab.get_by_text("Stopped after").wait_for(timeout=60_000)
    assert not tab.get_by_role("button", name="Stop", exact=True).count()
    tab.get_by_text("Perplexity").nth(1).wait_for(timeout=60_000)
