"""The command `feature-tracker`. A sub-command is imported when it is called, so `--help` needs no PyTorch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from feature_tracker import __version__


class LazyGroup(click.Group):
    """A group whose sub-commands are imported when they are looked up, but not to be listed.

    Args:
        package: what the names of their modules begin with; each is the function `main` of its module.
        summaries: what each sub-command does, by its name.
    """

    def __init__(self, *args: Any, package: str, summaries: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._package = package
        self._summaries = summaries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in order."""
        return list(self._summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The sub-command, imported; `None` if there is none of this name."""
        if cmd_name not in self._summaries:
            return None
        return importlib.import_module(f"{self._package}{cmd_name}").main

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of the help text."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._summaries.items()))


@click.group(
    cls=LazyGroup,
    package=f"{__name__}.",
    summaries={
        "page": "Open the page in a browser.",
        "trace": "Print the top features of a text as CSV.",
        "compare": "Print what changed from one text to another.",
        "steer": "Turn features up or down, and see what the model writes.",
        "find": "Find the features that tell sentences apart.",
        "circuit": "Trace which features of a text feed which.",
        "corpus": "Run folders of documents into an archive, and ask it.",
        "fetch": "Download a bundle's model ahead of time.",
        "sae": "Train, tune and measure sparse autoencoders.",
        "labels": "Import, check and measure label tables.",
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="feature-tracker")
def main() -> None:
    """See which features of a language model fire on a financial text, on which words, and how they connect."""
