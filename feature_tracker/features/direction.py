"""What a feature's decoder direction does: which next tokens it promotes, and which features point the same way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd
import torch
from torch import nn

from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.next_token import final_norm
from feature_tracker.sae.topk import Sae


class LogitLens(NamedTuple):
    """Next tokens that a direction makes more or less probable.

    Attributes:
        promoted: `token`, its text, and `logit`, above the mean of the vocabulary; largest first.
        suppressed: the same, smallest first.
    """

    promoted: pd.DataFrame
    suppressed: pd.DataFrame


def logit_lens(language_model: LanguageModel, direction: torch.Tensor, *, top: int = 10) -> LogitLens:
    """Read a decoder direction as if it were the whole stream after the last block.

    It passes through the final norm and the unembedding, in float32. Blocks between the SAE's layer and the end are
    skipped, so the reading is rough for early layers.

    Args:
        direction: (d_model,) a row of the SAE's decoder.
        top: tokens at each end.

    Raises:
        TrackerError: the model's final norm is not known.

    Source: nostalgebraist 2020, interpreting GPT: the logit lens.
    """
    logits = direction_logits(language_model, direction)
    logits = logits - logits.mean()
    ends = logits.topk(top), (-logits).topk(top)
    promoted, suppressed = (_tokens(language_model, logits, end.indices) for end in ends)
    return LogitLens(promoted, suppressed)


@torch.inference_mode()
def direction_logits(language_model: LanguageModel, direction: torch.Tensor) -> torch.Tensor:
    """(n_vocabulary,) float32 logits of a direction; see `logit_lens`."""
    norm, head = final_norm(language_model), language_model.model.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        raise TrackerError("This model's unembedding is not a linear layer, so directions can't be read as tokens.")
    weight = head.weight
    # The norm keeps its weights in the model's dtype, and gives float32 back where it is given float32.
    normed = norm(direction.to(weight.device, torch.float32)[None])[0].float()
    return (weight.float() @ normed).cpu()


def _tokens(language_model: LanguageModel, logits: torch.Tensor, ids: torch.Tensor) -> pd.DataFrame:
    texts = [str(language_model.tokenizer.decode([number])) for number in ids.tolist()]
    return pd.DataFrame({"token": texts, "logit": logits[ids].tolist()})


def nearest_features(saes: Mapping[int, Sae], feature: Feature, *, top: int = 3) -> pd.DataFrame:
    """The features of each layer whose decoder directions are most like this one's.

    Returns:
        `layer, feature, cosine`, the nearest of a layer first, without the feature itself.
    """
    direction = nn.functional.normalize(saes[feature.layer].decoder[feature.index].float().cpu(), dim=0)
    rows = []
    for layer in sorted(saes):
        cosine = nn.functional.normalize(saes[layer].decoder.float().cpu(), dim=1) @ direction
        if layer == feature.layer:
            cosine[feature.index] = -2.0  # below any cosine
        best = cosine.topk(min(top, len(cosine) - (layer == feature.layer)))
        rows += [
            (layer, index, value) for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
    return pd.DataFrame(rows, columns=["layer", "feature", "cosine"])
