"""Where a bundle's features fire on the text whose residual streams `feature-tracker sae` collected."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.corpus.harvest import load_harvest
from feature_tracker.corpus.origin import Origin
from feature_tracker.model.load import load_model
from feature_tracker.rule_labels.firings import encode_harvest
from feature_tracker.rule_labels.label_layer import LayerFirings
from feature_tracker.sae.load import load_saes

log = logging.getLogger(__name__)


class CorpusFirings(NamedTuple):
    """What labels are made from.

    Attributes:
        texts: (vocabulary,) what each token reads.
        bos_id: of BOS.
        layers: firings by layer.
    """

    texts: list[str]
    bos_id: int
    layers: dict[int, LayerFirings]


def load_corpus_firings(bundle: Bundle, work: Path, windows: int) -> CorpusFirings:
    """Encode the first `windows` windows of `train`, and all of `validation`.

    Raises:
        TrackerError: the residual streams have not been collected, or from another bundle.
    """
    train, held_out = load_harvest(work / "train"), load_harvest(work / "validation")
    language_model = load_model(bundle)
    saes = load_saes(bundle.sae_folder, bundle.layers, d_model=language_model.d_model)
    for harvest in (train, held_out):
        harvest.check_origin(Origin.from_bundle(bundle, language_model.d_model))
    layers = {}
    for layer, sae in saes.items():
        log.info("encoding layer %d", layer)
        firings = encode_harvest(train, layer, sae, windows=windows)
        layers[layer] = LayerFirings(firings, encode_harvest(held_out, layer, sae))
    tokenizer = language_model.tokenizer
    texts = [str(tokenizer.decode([token])) for token in range(len(tokenizer))]
    return CorpusFirings(texts, language_model.bos_id, layers)
