"""The command `feature-tracker`. A sub-command is imported when it is called, so `--help` needs no PyTorch."""

from __future__ import annotations

import importlib

import click

from feature_tracker import __version__

_SUMMARIES = {
    "page": "Open the page in a browser.",
    "trace": "Print the top features of a text as CSV.",
    "compare": "Print what changed from one text to another.",
    "steer": "Turn features up or down, and see what the model writes.",
    "find": "Find the features that tell sentences apart.",
    "circuit": "Trace which features of a text feed which.",
    "fetch": "Download a bundle's model ahead of time.",
    "sae": "Train, tune and measure sparse autoencoders.",
    "labels": "Import, check and measure label tables.",
    "corpus": "Run many documents into an archive.",
}
"""By command; each is the function `main` of the module of its name in this package."""


class _LazyGroup(click.Group):
    """A group whose sub-commands are imported when they are looked up, but not to be listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _SUMMARIES:
            return None
        return importlib.import_module(f"{__name__}.{cmd_name}").main

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_SUMMARIES.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="feature-tracker")
def main() -> None:
    """See which features of a language model fire on a financial text, on which words, and how they connect."""
