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
        "As an AI language model, I", "<think> Okay, the user wants", "Too many requests", "Explanation not found",
        "No clear pattern", "There is no discernible pattern in these examples.", "Here is the explanation:",
        "The text does not show a clear pattern.", "The examples don't share any pattern", "Not enough information.",
        "N/A - insufficient data to determine", "maximum context length is 4096 tokens", "No examples provided",
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
        "no clear winner", "patterns in fabrics", "clear pattern of rising prices", "insufficient funds",
        "insufficient evidence", "think tanks", "context length of models", "texts that don't show prices",
        "explanation of results", "HTTP requests", "timeouts and delays", "net interest income", "%", "$", "=", "-5%",
    ],
)  # fmt: skip
def test_a_label_about_failures_is_a_label(text: str) -> None:
    assert not is_failure(text)
