"""`python -m tracing`: the top features of a text in a terminal, as CSV."""

from __future__ import annotations

from typing import get_args

import click

from bundles.bundle import BUILT_IN, load_bundle
from bundles.errors import TrackerError
from labels.table import load_labels
from model.load import load_model
from sae.files import load_saes
from tracing.rank import Aggregation, RankBy, rank_features
from tracing.run import trace_text
from tracing.text import text_or_file


@click.command()
@click.argument("text")
@click.option("--bundle", "bundle_name", default=BUILT_IN, show_default=True, help="Which model, SAEs and labels.")
@click.option("--top", default=10, show_default=True, help="Features a layer.")
@click.option("--by", type=click.Choice(get_args(RankBy)), default="percentile", show_default=True, help="Rank by.")
@click.option(
    "--aggregation", type=click.Choice(get_args(Aggregation)), default="max", show_default=True, help="Over the tokens."
)
@click.option("--min-f1", default=0.0, show_default=True, help="Leave out labels that score less.")
def main(text: str, bundle_name: str, top: int, by: RankBy, aggregation: Aggregation, min_f1: float) -> None:
    """Trace TEXT, or the UTF-8 file that TEXT is a path to, and print each layer's top features as CSV."""
    try:
        bundle = load_bundle(bundle_name)
        language_model = load_model(bundle)
        saes = load_saes(bundle.sae_folder, bundle.layers, d_model=language_model.d_model)
        labels = load_labels(bundle.labels, layers=bundle.layers, n_latents=saes[bundle.layers[0]].n_latents)
        trace = trace_text(text_or_file(text), language_model, saes, bundle)
        ranked = rank_features(
            trace, labels, layers=bundle.layers, top=top, by=by, aggregation=aggregation, min_f1=min_f1
        )
    except TrackerError as error:
        raise click.ClickException(str(error)) from None
    click.echo(ranked.to_csv(index=False, float_format="%.4g"), nl=False)


if __name__ == "__main__":
    main()
