"""`feature-tracker steer`: what the model writes when features are turned up or down."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.cli.options import bundle_options
from feature_tracker.cli.progress import terminal_progress
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.files import replacing
from feature_tracker.steering.generate import (
    HOTTEST,
    LARGEST_SEED,
    MOST_TOKENS,
    Sampling,
    SideBySide,
    surprise_in_words,
)
from feature_tracker.steering.recipe import LARGEST_FILE, parse_feature
from feature_tracker.tracker import Tracker


@click.command("steer")
@click.argument("prompt")
@bundle_options
@click.option(
    "--feature", "features", multiple=True, metavar="L16/F11=1.0", help="A feature and its strength; up to three."
)
@click.option(
    "--only-where", metavar="L16/F11", help="Steer only where this feature of the same or a lower layer fires."
)
@click.option(
    "--tokens", default=40, show_default=True, type=click.IntRange(1, MOST_TOKENS), help="Tokens to write at most."
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, LARGEST_SEED), help="Of the random choices."
)
@click.option(
    "--temperature",
    default=0.8,
    show_default=True,
    type=click.FloatRange(0, HOTTEST),
    help="0 takes the most probable token, 1 draws from the model's probabilities.",
)
@click.option(
    "--recipe",
    "recipe_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Features, strengths and condition from a file, instead of --feature and --only-where.",
)
@click.option("--save-recipe", type=click.Path(dir_okay=False, path_type=Path), help="File to write them to, as JSON.")
def main(
    prompt: str,
    bundle: Bundle,
    features: tuple[str, ...],
    only_where: str | None,
    tokens: int,
    seed: int,
    temperature: float,
    recipe_file: Path | None,
    save_recipe: Path | None,
) -> None:
    """Continue PROMPT as the model writes it, and as it writes it while features are turned up or down.

    A strength of 1 adds as much of a feature as its strongest firing in a large body of text; -10 to 10 are taken.
    Steering shows what a direction does, not what the model believes, and a small model writes poor text either way.
    """
    sampling = Sampling(tokens, seed, temperature)
    if recipe_file is not None and (features or only_where):
        raise TrackerError("A recipe names features and condition itself: leave --feature and --only-where out.")
    strengths = [_parse_strength(feature) for feature in features]
    condition = None if only_where is None else parse_feature(only_where)
    with terminal_progress("Looking for the model") as progress:
        tracker = Tracker.open(bundle, progress=progress)
        if recipe_file is None:
            recipe = tracker.recipe(strengths, only_where=condition)
        else:
            with recipe_file.open("rb") as file:
                recipe = tracker.read_recipe(file.read(LARGEST_FILE + 1))  # more is refused
        written = SideBySide()
        with contextlib.closing(tracker.steer(prompt, recipe, sampling)) as steps:
            for written in steps:
                progress("Writing", max(len(continuation.ids) for continuation in written) / tokens)
        perplexities = [tracker.perplexity(prompt, continuation) for continuation in written]
    click.echo(f"Unsteered (perplexity {perplexities[0]:.1f}):\n{prompt.rstrip(' ')}{written.unsteered.text}\n")
    click.echo(f"Steered by {recipe} (perplexity {perplexities[1]:.1f}):\n{prompt.rstrip(' ')}{written.steered.text}\n")
    click.echo(surprise_in_words(*perplexities))
    if save_recipe is not None:
        with replacing(save_recipe) as beside:
            beside.write_text(recipe.to_json(), encoding="utf-8")


def _parse_strength(text: str) -> tuple[Feature, float]:
    name, separator, strength = text.partition("=")
    with contextlib.suppress(ValueError):
        if separator:
            return parse_feature(name), float(strength)
    raise TrackerError(f"{text!r} names no feature with a strength. Write them such as L16/F11=1.0.")
