"""The top-k sparse autoencoder, as EleutherAI's sparsify defines it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn


class TopK(NamedTuple):
    """The k largest activations of each row; everything else is 0.

    Attributes:
        values: (..., k), in no order, never negative.
        indices: (..., k) int64 latent indices. Where a value is 0 its index says nothing.
    """

    values: torch.Tensor
    indices: torch.Tensor


@dataclass(frozen=True)
class Sae:
    """A top-k SAE whose arithmetic is its own weights' (float32 as loaded), whatever dtype the model has.

    Attributes:
        encoder_weight: (n_latents, d_model).
        encoder_bias: (n_latents,).
        decoder: (n_latents, d_model); row i is latent i's decoder direction.
        b_dec: (d_model,), taken off before encoding and added after decoding.
        k: activations kept a row.
    """

    encoder_weight: torch.Tensor
    encoder_bias: torch.Tensor
    decoder: torch.Tensor
    b_dec: torch.Tensor
    k: int

    @property
    def n_latents(self) -> int:
        """Latents, which is rows of the decoder."""
        return self.decoder.shape[0]

    @property
    def d_model(self) -> int:
        """Width of the residual stream it reads."""
        return self.decoder.shape[1]

    def pre_activations(self, resid: torch.Tensor) -> torch.Tensor:
        """relu(W_enc (x - b_dec) + b_enc), (..., n_latents), for resid (..., d_model) of any dtype."""
        centred = resid.to(self.b_dec.dtype) - self.b_dec
        return nn.functional.linear(centred, self.encoder_weight, self.encoder_bias).relu_()

    def encode(self, resid: torch.Tensor) -> TopK:
        """The k largest pre-activations of each row of resid (..., d_model).

        Source: Gao et al. 2024, Scaling and evaluating sparse autoencoders, eq. 1; sparsify's `SparseCoder.encode`.
        """
        values, indices = self.pre_activations(resid).topk(self.k, dim=-1, sorted=False)
        return TopK(values, indices)

    def decode(self, top: TopK) -> torch.Tensor:
        """sum(activation * decoder direction) + b_dec, (..., d_model)."""
        dense = top.values.new_zeros(*top.values.shape[:-1], self.n_latents)
        dense.scatter_(-1, top.indices, top.values)
        return dense @ self.decoder + self.b_dec
