"""`feature-tracker labels ask`: have a language model answer questions."""

from __future__ import annotations

import json
from pathlib import Path

import click

from feature_tracker.cli.options import telling_errors
from feature_tracker.cli.progress import terminal_progress
from feature_tracker.errors import TrackerError
from feature_tracker.files import numbered_lines, require_writable
from feature_tracker.labelling.answers import read_records
from feature_tracker.labelling.questions import ExplainQuestion, JudgeQuestion


@click.command()
@click.argument("questions", type=click.Path(path_type=Path))
@click.option(
    "--endpoint", required=True, help="Address of an OpenAI-compatible API, such as http://localhost:8000/v1."
)
@click.option("--model", required=True, help="Name of the model there.")
@click.option("--out", required=True, type=Path, help="File for the answers.")
@click.option("--concurrency", default=4, show_default=True, type=click.IntRange(1, 256), help="Requests at once.")
@click.option(
    "--timeout", default=120.0, show_default=True, type=click.FloatRange(min=0.1), help="Seconds for a reply."
)
@telling_errors
def ask(questions: Path, endpoint: str, model: str, out: Path, concurrency: int, timeout: float) -> None:
    """Have a language model answer questions.

    QUESTIONS is a file of `labels questions explain` or `judge`. Give the answers to `labels answers`. A run that was
    interrupted goes on where it stopped; OUT.replies.jsonl keeps every reply. The server's key is read from
    OPENAI_API_KEY. Excerpts of the text that the questions were made from are sent to the server.
    """
    try:
        from feature_tracker.labelling.endpoint import Reader, ask_all  # noqa: PLC0415  # openai may not be installed
    except ModuleNotFoundError:
        raise TrackerError(
            'This needs the openai package: pip install "feature-activation-tracker[label]", or pip install openai'
        ) from None
    require_writable(out.absolute().parent)
    asked = read_records(questions, _kind(questions))
    if not asked:
        raise TrackerError(f"{questions} holds no question.")
    with terminal_progress("Asking") as progress:
        result = ask_all(
            asked, Reader(endpoint, model, timeout=timeout), out, concurrency=concurrency, progress=progress
        )
    click.echo(f"Wrote {len(result.answers):,} answers to {out}.")
    if result.unanswered:
        click.echo(f"{len(result.unanswered):,} questions have no usable answer: {', '.join(result.unanswered[:20])}")


def _kind(questions: Path) -> type[ExplainQuestion] | type[JudgeQuestion]:
    """The kind of the first question."""
    for _, line in numbered_lines(questions):
        try:
            return JudgeQuestion if "question" in json.loads(line) else ExplainQuestion
        except (ValueError, TypeError, RecursionError):
            break
    return ExplainQuestion
