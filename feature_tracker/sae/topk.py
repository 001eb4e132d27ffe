"""A sparse autoencoder (SAE) and its k largest activations, in every kind that the tracker reads.

All kinds share pre = relu(W_enc (x - b_dec) + b_enc) and x_hat = sum(activation * decoder direction) + b_dec; they
differ in which of a row's pre-activations are kept:

- `topk`: the k largest (Gao et al. 2024, Scaling and evaluating sparse autoencoders, eq. 1; sparsify and SAELens).
- `groupmax`: the largest of each of k equal groups of neighbouring latents (sparsify).
- `jumprelu`: those above their latent's threshold (Rajamanoharan et al. 2024, Jumping ahead, eq. 3). SAELens saves its
  BatchTopK SAEs as such, with one threshold for all latents.
- `relu`: all of them (SAELens's `standard`).

Decoder rows have unit norm here, so that an activation says how much of the residual stream its feature holds, and
activations of one layer compare. Files may hold rows of other norms: these are folded into the encoder, as SAELens's
`fold_W_dec_norm` does. Where the k largest are chosen, `selection` keeps the choice that the files' weights make.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import nn

from feature_tracker.errors import TrackerError

Activation = Literal["topk", "groupmax", "jumprelu", "relu"]

MAX_ACTIVE = 1024
"""Most activations stored a token for the kinds that have no k of their own; more are refused, never cut."""


_NORM_TOLERANCE = 2e-3


class TopK(NamedTuple):
    """The activations kept of each row; everything else is 0.

    Attributes:
        values: (..., k), never negative. For `jumprelu` and `relu` the largest come first, else they are in no order.
        indices: (..., k) int64 latent indices. Where a value is 0 its index says nothing.
    """

    values: torch.Tensor
    indices: torch.Tensor


@dataclass(frozen=True)
class Sae:
    """An SAE whose arithmetic is its own weights' (float32 as loaded), whatever dtype the model has.

    Attributes:
        encoder_weight: (n_latents, d_model).
        encoder_bias: (n_latents,).
        decoder: (n_latents, d_model); row i is latent i's decoder direction, of unit norm (see `with_unit_decoder`).
        b_dec: (d_model,), taken off before encoding and added after decoding.
        k: activations kept a row: exactly for `topk` and `groupmax`, at most for the others.
        activation: which pre-activations are kept.
        threshold: (n_latents,), for `jumprelu` alone.
        selection: (n_latents,) factor of each pre-activation in the choice of the k largest, where the files' decoder
            rows are not of one norm; `None` where they are.
    """

    encoder_weight: torch.Tensor
    encoder_bias: torch.Tensor
    decoder: torch.Tensor
    b_dec: torch.Tensor
    k: int
    activation: Activation = "topk"
    threshold: torch.Tensor | None = None
    selection: torch.Tensor | None = None

    @property
    def n_latents(self) -> int:
        """Latents, which is rows of the decoder."""
        return self.decoder.shape[0]

    @property
    def d_model(self) -> int:
        """Width of the residual stream it reads."""
        return self.decoder.shape[1]

    def to(self, device: torch.device) -> Sae:
        """The same SAE with its weights on a device."""
        return replace(
            self,
            encoder_weight=self.encoder_weight.to(device),
            encoder_bias=self.encoder_bias.to(device),
            decoder=self.decoder.to(device),
            b_dec=self.b_dec.to(device),
            threshold=None if self.threshold is None else self.threshold.to(device),
            selection=None if self.selection is None else self.selection.to(device),
        )

    def with_unit_decoder(self) -> Sae:
        """The same SAE with decoder rows of unit norm: it chooses the same latents and decodes to the same stream.

        Its activations are this one's times their rows' norms. Norms that differ by less than rounding to 16 bits does
        are left as they are. `as_stored` is the inverse.
        """
        norms = self.decoder.norm(dim=1)
        norms = torch.where(norms > 0, norms, 1)  # the row of a latent that decodes to nothing
        if ((norms - 1).abs() < _NORM_TOLERANCE).all():
            return self
        chooses = self.activation in ("topk", "groupmax")
        return replace(
            self,
            encoder_weight=self.encoder_weight * norms[:, None],
            encoder_bias=self.encoder_bias * norms,
            decoder=self.decoder / norms[:, None],
            threshold=None if self.threshold is None else self.threshold * norms,
            selection=1 / norms if chooses else None,
        )

    def as_stored(self) -> Sae:
        """The weights as a file of sparsify's format holds them, with `selection` in the norms of the decoder rows."""
        if self.selection is None:
            return self
        return replace(
            self,
            encoder_weight=self.encoder_weight * self.selection[:, None],
            encoder_bias=self.encoder_bias * self.selection,
            decoder=self.decoder / self.selection[:, None],
            selection=None,
        )

    def pre_activations(self, resid: torch.Tensor) -> torch.Tensor:
        """relu(W_enc (x - b_dec) + b_enc), (..., n_latents), for resid (..., d_model) of any dtype on any device."""
        centred = resid.to(self.b_dec, copy=True).sub_(self.b_dec)  # one copy of the stream, not two
        return nn.functional.linear(centred, self.encoder_weight, self.encoder_bias).relu_()

    def keep(self, pre: torch.Tensor) -> TopK:
        """Those of the pre-activations (..., n_latents) that this kind of SAE keeps.

        Raises:
            TrackerError: a row of a kind without k has more than `k` activations.
        """
        if self.activation in ("topk", "groupmax"):
            values, indices = self._largest(pre if self.selection is None else pre * self.selection)
            return TopK(values if self.selection is None else pre.gather(-1, indices), indices)
        acts = pre if self.threshold is None else torch.where(pre > self.threshold, pre, 0)
        if self.k < self.n_latents:
            self._check_active(acts)
        values, indices = acts.topk(self.k, dim=-1)
        return TopK(values, indices)

    def _largest(self, pre: torch.Tensor) -> TopK:
        if self.activation == "topk":
            return TopK(*pre.topk(self.k, dim=-1, sorted=False))
        values, within = pre.unflatten(-1, (self.k, -1)).max(dim=-1)
        return TopK(values, within + torch.arange(0, self.n_latents, self.n_latents // self.k, device=pre.device))

    def encode(self, resid: torch.Tensor) -> TopK:
        """The activations kept of each row of resid (..., d_model); see `keep`."""
        return self.keep(self.pre_activations(resid))

    def decode(self, top: TopK) -> torch.Tensor:
        """sum(activation * decoder direction) + b_dec, (..., d_model)."""
        dense = top.values.new_zeros(*top.values.shape[:-1], self.n_latents)
        dense.scatter_(-1, top.indices, top.values)
        return dense @ self.decoder + self.b_dec

    def _check_active(self, acts: torch.Tensor) -> None:
        most = int((acts > 0).sum(dim=-1).max()) if acts.numel() else 0
        if most > self.k:
            raise TrackerError(
                f"A {self.activation} SAE has {most:,} of its {self.n_latents:,} latents active on one token; at most "
                f"{self.k:,} are stored, and none is left out silently. Use a sparser SAE, or raise MAX_ACTIVE in "
                "feature_tracker/sae/topk.py where memory allows."
            )
