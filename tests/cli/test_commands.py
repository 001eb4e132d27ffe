from __future__ import annotations

import subprocess
import sys

import click
from click.testing import CliRunner

from feature_tracker.cli import main


def test_help_lists_every_command_and_imports_none() -> None:
    names = main.list_commands(click.Context(main))
    lines = CliRunner().invoke(main, ["--help"]).output.partition("Commands:\n")[2].splitlines()
    assert [line.split(maxsplit=1)[0] for line in lines] == names
    script = (
        "import sys; from click.testing import CliRunner; from feature_tracker.cli import main; "
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0; "
        "sys.exit(', '.join({'torch', 'pandas', 'pydantic'} & sys.modules.keys()) or 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_an_unknown_command_is_told() -> None:
    result = CliRunner().invoke(main, ["tarce"])
    assert result.exit_code == 2
    assert "No such command 'tarce'" in result.output
