"""`feature-tracker corpus run`: the features of many documents, written to an archive."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import click

from feature_tracker.archive.inputs import Inputs
from feature_tracker.archive.metadata import NamePattern, SideTable
from feature_tracker.archive.run import RunReport, duration, run_corpus
from feature_tracker.archive.store import recorded_manifest
from feature_tracker.bundles.bundle import Bundle
from feature_tracker.cli.options import bundle_options
from feature_tracker.cli.progress import terminal_progress
from feature_tracker.errors import TrackerError
from feature_tracker.progress import Progress
from feature_tracker.tracker import Tracker

_MOST_REASONS = 10


class _Range(click.ParamType[tuple[int, int]]):
    name = "N or N-M"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", value)
        fewest, most = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= fewest <= most:
            self.fail(f"{value!r} is no number of workers. Expected one from 1, as 4, or fewest and most, as 1-16.")
        return fewest, most


@click.command()
@click.argument("paths", metavar="INPUT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the archive.")
@bundle_options
@click.option("--text-column", help="Column of the texts in .jsonl, .csv and .parquet. Default: text, content or body.")
@click.option("--name-column", help="Column of the documents' names. Default: name, id or title.")
@click.option("--date-column", help="Column of their dates. Default: date.")
@click.option("--group-column", help="Column of their groups. Default: group or source.")
@click.option(
    "--pattern",
    help="Regular expression for files' paths; its groups name, date and group are metadata, as in "
    r"“(?P<group>[A-Z]+)_(?P<date>\d{4}-\d{2}-\d{2})”.",
)
@click.option(
    "--metadata",
    type=click.Path(path_type=Path),
    help="CSV file with a row a document: name (its path, file name, or that without suffix), date, group.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Run in this process, or on Ray: on several processes or machines.",
)
@click.option("--address", help="With Ray: a cluster's head, host:6379, or auto on one of its machines.")
@click.option("--workers", type=_Range(), help="With Ray: workers, as 4, or 1-16 where the cluster grows.")
@click.option(
    "--gpus", type=click.IntRange(0), help="With Ray: GPUs that a worker holds. Default: one, where there are."
)
def main(
    paths: tuple[Path, ...], out: Path, bundle: Bundle, text_column: str | None, name_column: str | None,
    date_column: str | None, group_column: str | None, pattern: str | None, metadata: Path | None,
    engine: str, address: str | None, workers: tuple[int, int] | None, gpus: int | None,
) -> None:  # fmt: skip
    """Run documents into an archive.

    INPUT is a folder or a file: .txt, .md, .html, .pdf and .docx are a document each, .jsonl, .jsonl.gz, .csv and
    .parquet hold one a row. The archive holds every activation, and the documents' text.

    The same command goes on after an interruption, and adds documents that came since. What can't be read is listed
    with its reason.
    """
    inputs = Inputs(
        paths=paths,
        text_column=text_column,
        name_column=name_column,
        date_column=date_column,
        group_column=group_column,
        pattern=NamePattern(pattern) if pattern is not None else None,
        side_table=SideTable(metadata) if metadata is not None else None,
        leave_out=out,
    )
    # Faults in what was named show before gigabytes of a model are fetched.
    inputs.check()
    if engine == "local" and (address or workers or gpus is not None):
        raise TrackerError("--address, --workers and --gpus are Ray's. Add --engine ray, or leave them out.")
    recorded_manifest(out)
    with terminal_progress("Looking for the model") as progress:
        if engine == "ray":
            report = _run_on_ray(bundle, inputs, out, progress, address=address, workers=workers, gpus=gpus)
        else:
            report = run_corpus(Tracker.open(bundle, progress=progress), inputs, out, progress=progress)
    click.echo(run_summary(report, out))


def _run_on_ray(bundle: Bundle, inputs: Inputs, out: Path, progress: Progress, **cluster: Any) -> RunReport:
    try:
        # Ray may not be installed.
        from feature_tracker.archive.ray_cluster import Cluster  # noqa: PLC0415
        from feature_tracker.archive.ray_engine import run_on_ray  # noqa: PLC0415
    except ModuleNotFoundError:
        raise TrackerError(
            'This needs Ray Data: pip install "feature-activation-tracker[corpus]", or pip install "ray[data]"'
        ) from None
    return run_on_ray(partial(Tracker.open, bundle), inputs, out, Cluster(**cluster), progress=progress)


def run_summary(report: RunReport, out: Path) -> str:
    """What a run did, in sentences."""
    n_documents = report.n_before + report.n_documents
    lines = [
        f"{report.n_documents:,} documents were read, {report.n_tokens:,} tokens in {duration(report.seconds)} "
        f"({report.n_tokens / max(report.seconds, 1e-9):,.0f} a second).",
        f"{out} has {n_documents:,} documents now and takes {report.n_bytes / 1e6:,.1f} MB.",
    ]
    if report.unread:
        lines.append(f"{report.unread.total():,} could not be read; the table `unread` names them:")
        lines += [f"  {n:,}: {reason}" for reason, n in report.unread.most_common(_MOST_REASONS)]
        if len(report.unread) > _MOST_REASONS:
            lines.append(f"  and {len(report.unread) - _MOST_REASONS:,} reasons more.")
    return "\n".join(lines)
