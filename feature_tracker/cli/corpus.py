"""`feature-tracker corpus`: many documents into an archive, and questions to it, which need no model."""

from __future__ import annotations

import click

from feature_tracker.cli import LazyGroup


@click.group(
    cls=LazyGroup,
    package="feature_tracker.cli.corpus_",
    summaries={
        "run": "Run folders of documents into an archive.",
        "groups": "Tell what sets two groups of documents apart.",
        "trend": "Tell what rises and falls over the documents' dates.",
        "nearest": "Find the documents nearest to one, or to features.",
        "correlate": "Tell which features of different layers fire together.",
        "alerts": "Ask rules of new documents, for a nightly job.",
    },
)
def main() -> None:
    """Run folders of documents into an archive, and ask it."""
