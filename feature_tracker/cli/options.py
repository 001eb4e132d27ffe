"""The options that name a bundle on a command line and override its parts, and errors as commands show them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from feature_tracker.bundles.choice import command_bundle
from feature_tracker.bundles.settings import Overrides
from feature_tracker.errors import TrackerError

_OPTIONS = (
    click.option(
        "--bundle", "bundle_name", default="",
        help="Model, SAEs and labels: a shipped bundle's name or a TOML file. Default: your own where it is complete, "
        "else smollm2-135m.",
    ),
    click.option("--model", help="Instead of the bundle's: a Hugging Face hub id, or a folder."),
    click.option("--revision", help="Of the hub id: branch, tag or commit."),
    click.option("--dtype", help="auto, bfloat16, float16, float32, or int8 (needs bitsandbytes)."),
    click.option("--layers", help="Block indices with an SAE, such as “4 10 16”."),
    click.option("--saes", help="SAE folder, which holds layers.N for each layer."),
    click.option("--labels", help="Label table."),
)  # fmt: skip


def bundle_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a click command the bundle options; the command is called with the resulting `Bundle` as `bundle`.

    Errors end the command as `telling_errors` has it.
    """

    @telling_errors
    @functools.wraps(command)
    def with_bundle(*args: Any, bundle_name: str, **kwargs: Any) -> None:
        overrides = Overrides(**{name: kwargs.pop(name) for name in Overrides.model_fields})
        command(*args, bundle=command_bundle(bundle_name, overrides), **kwargs)

    for option in reversed(_OPTIONS):
        with_bundle = option(with_bundle)
    return with_bundle


def telling_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Let a `TrackerError` end a click command with its message and exit status 1, without a traceback."""

    @functools.wraps(command)
    def telling(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except TrackerError as error:
            raise click.ClickException(str(error)) from None

    return telling
