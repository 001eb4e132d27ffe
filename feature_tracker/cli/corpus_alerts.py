"""`feature-tracker corpus alerts`: rules asked of an archive's new documents, for a nightly job."""

from __future__ import annotations

import math
from pathlib import Path

import click

from feature_tracker.archive.alerts import RuleCount, find_alerts
from feature_tracker.archive.archive import Archive
from feature_tracker.archive.rules import read_rules, read_state, save_state
from feature_tracker.cli.corpus_asking import archive_command, counted
from feature_tracker.files import replacing
from feature_tracker.labels.csv_files import to_csv
from feature_tracker.labels.table import LabelTable

FIRED = 3
"""Exit status where a rule fired; 0 where none did, 1 for an error, 2 for a wrong command line."""


@click.command("alerts")
@archive_command
@click.argument("rules", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that remembers which documents were looked at, so that each alerts once. Default: all are looked at.",
)
@click.pass_context
def main(
    ctx: click.Context, archive: Archive, labels: LabelTable, rules: Path, state: Path | None, csv_file: Path | None
) -> None:
    """Print as CSV which rules hold of which documents of an archive.

    RULES is a TOML file with conditions by name, such as

    \b
    [rules]
    "Deposits leave" = 'L16/F283 > 3 AND NOT "dividends" share > 0.1'

    Counts go to standard error. The exit status is 0 if no rule holds, 3 if one does, 1 for an error, and 2 for a wrong
    command line. With --state, only documents are looked at that came after the last run with the same file; it is
    written after the table is.
    """  # noqa: D301 - click takes the escape for "leave these lines as they are"
    asked = read_rules(rules)
    found = find_alerts(archive, asked, labels, since=0 if state is None else read_state(state, archive))
    new = "" if state is None else "new "
    empty = f" {counted(found.n_empty, 'document')} without tokens can't be asked." if found.n_empty else ""
    click.echo(
        f"Asked {counted(len(asked), 'rule')} of {counted(found.n_documents, new + 'document')}: "
        f"{counted(len(found.table), 'alert')} in {counted(found.table['document'].nunique(), 'document')}.{empty}",
        err=True,
    )
    for count in found.counts if found.n_documents else []:
        click.echo(_in_words(count, found.n_documents), err=True)
    if csv_file is None:
        click.echo(to_csv(found.table).decode("utf-8-sig"), nl=False)
    else:
        with replacing(csv_file) as beside:
            beside.write_bytes(to_csv(found.table))
    if state is not None:
        save_state(state, archive)
    if len(found.table):
        ctx.exit(FIRED)


def _in_words(count: RuleCount, n_documents: int) -> str:
    chance = ""
    if not math.isnan(count.by_chance):
        chance = f" (of ordinary passages as long, at most {count.by_chance:.2g} on average)"
    return f"“{count.rule.name}” holds of {count.n_fired:,} of {n_documents:,}{chance}."
