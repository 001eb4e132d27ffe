"""Steps of a person on the page, and what the page shows them."""

from __future__ import annotations

from typing import Any

from streamlit.testing.v1 import AppTest

TEXT = "The central bank raised its policy rate. Net sales rose 5.4% to $1,234 million."


def analyze(page: AppTest, text: str) -> AppTest:
    page.text_area(key="text").set_value(text).run()
    return next(button for button in page.button if button.label == "Analyze").click().run()


def open_tab(page: AppTest, title: str) -> AppTest:
    page.session_state["view"] = title
    return page.run()


def errors(page: AppTest) -> list[str]:
    return [error.value for error in page.error]


def slider(page: AppTest, label: str) -> Any:
    return next(slider for slider in page.slider if slider.label == label)
