from __future__ import annotations

import copy

import pytest
import torch

from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.recording import Recording, record
from feature_tracker.tracing.trace import Trace


def double(sae: Sae) -> Sae:
    return Sae(*(t.double() for t in (sae.encoder_weight, sae.encoder_bias, sae.decoder, sae.b_dec)), sae.k)


@pytest.fixture(scope="session")
def exact_model(tiny_model: LanguageModel) -> LanguageModel:
    """The tiny Llama in float64, including its norms: transformers' LlamaRMSNorm always computes in float32."""
    model = copy.deepcopy(tiny_model.model).double()
    for block in model.get_decoder().layers:
        for name in ("input_layernorm", "post_attention_layernorm"):
            old = getattr(block, name)
            norm = torch.nn.RMSNorm(len(old.weight), eps=old.variance_epsilon, dtype=torch.float64)
            norm.weight = old.weight
            setattr(block, name, norm)
    return LanguageModel(model.requires_grad_(False), tiny_model.tokenizer)


@pytest.fixture(scope="session")
def recording(tiny_trace: Trace, exact_model: LanguageModel, tiny_saes: dict[int, Sae]) -> Recording:
    """Several windows of 15 tokens in float64, which finite differences need."""
    return record(tiny_trace.tokens, exact_model, {layer: double(sae) for layer, sae in tiny_saes.items()})
