"""The command `feature-tracker`. Each sub-command is imported when it is asked for: `--version` needs no PyTorch."""

from __future__ import annotations

import importlib

import click

from feature_tracker import __version__

_COMMANDS = {
    "page": "feature_tracker.cli.page:main",
    "trace": "feature_tracker.cli.trace:main",
    "circuit": "feature_tracker.cli.circuit:main",
    "fetch": "feature_tracker.cli.fetch:main",
    "sae": "feature_tracker.cli.sae:main",
    "labels": "feature_tracker.cli.labels:main",
}


class _LazyGroup(click.Group):
    """A group whose sub-commands are imported when they are looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        return getattr(importlib.import_module(module), name)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="feature-tracker")
def main() -> None:
    """See which features of a language model fire on a financial text, on which words, and how they hang together."""
