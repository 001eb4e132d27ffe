"""The options by which every command line names a bundle and what to take in place of its own parts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from feature_tracker.bundles.choice import command_bundle
from feature_tracker.bundles.overrides import Overrides
from feature_tracker.errors import TrackerError

_OPTIONS = (
    click.option(
        "--bundle", "bundle_name", default="",
        help="Model, SAEs and labels: a name in bundles/ or a TOML file. Default: your own where it is complete, else "
        "smollm2-135m.",
    ),
    click.option("--model", default="", help="Instead of the bundle's: a Hugging Face hub id, or a folder."),
    click.option("--revision", default="", help="Of the hub id: branch, tag or commit."),
    click.option("--dtype", default="", help="auto, bfloat16, float16, float32, or int8 (needs bitsandbytes)."),
    click.option("--layers", default="", help="Block indices with an SAE, such as “4 10 16”."),
    click.option("--saes", default="", help="SAE folder, which holds layers.N for each layer."),
    click.option("--labels", default="", help="Label table."),
)  # fmt: skip


def bundle_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a click command the bundle options; it is called with what they come to as `bundle`, a `Bundle`.

    What goes wrong in it is told as `telling_errors` does.
    """

    @telling_errors
    @functools.wraps(command)
    def with_bundle(*args: Any, bundle_name: str, **kwargs: Any) -> None:
        given = {name: kwargs.pop(name) for name in Overrides.__dataclass_fields__}
        command(*args, bundle=command_bundle(bundle_name, Overrides(**given)), **kwargs)

    for option in reversed(_OPTIONS):
        with_bundle = option(with_bundle)
    return with_bundle


def telling_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Let a click command end with a TrackerError's own sentence and exit status 1, without a traceback."""

    @functools.wraps(command)
    def telling(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except TrackerError as error:
            raise click.ClickException(str(error)) from None

    return telling
