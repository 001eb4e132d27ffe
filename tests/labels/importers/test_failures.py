from __future__ import annotations

import pytest

from feature_tracker.labels.importers.failures import is_failure


@pytest.mark.parametrize(
    "text",
    [
        "", " ", '""', "None", "null", "NaN", "N/A", "undefined", "string", "(none)", "TODO", "unlabelled", "unclear",
        "?", "...", "-", "Error", "**Error**", "[ERROR]", "Error: 429", "Error code: 429 - {'error'",
        "RateLimitError(...)",
        "openai.RateLimitError: quota", "HTTP 500", "Request timed out.", "Traceback (most recent call last):",
        "Explanation could not be parsed.", "The explanation could not be parsed.", "No explanation found",
        "No Explanation", "No explanation available.", "Explanation parsing failed", "Parsing failed",
        "Failed to parse response", "Unable to determine", "Could not parse explanation", "No response",
        "I'm sorry", "I’m sorry, but I can't help with that.", "I am sorry.", "Sorry, I cannot", "I apologize, but I",
        "My apologies, but", "I cannot identify a pattern", "I don't have enough information", "I'm unable to provide",
        "As an AI language model, I",
    ],
)  # fmt: skip
def test_what_tools_and_models_write_where_they_made_no_label_is_a_failure(text: str) -> None:
    assert is_failure(text)


@pytest.mark.parametrize(
    "text",
    [
        "Error messages in logs", "errors and exceptions", "error bars", "exception handling", "error-prone processes",
        "apologies and regrets", "Sorry as a polite word", "negation such as can't and cannot",
        "I can't and other contractions", "None of the above", "no (negation)", "string formatting in code",
        "labels of axes", "null hypotheses", "missing data", "unknown persons", "unclear or vague expressions",
        "explanation of results", "HTTP requests", "timeouts and delays", "net interest income", "%", "$", "=", "-5%",
    ],
)  # fmt: skip
def test_a_label_about_failures_is_a_label(text: str) -> None:
    assert not is_failure(text)
