"""A sparse autoencoder (SAE) and its k largest activations, in every kind that the tracker reads.

All kinds share pre = relu(W_enc (x - b_dec) + b_enc) and x_hat = sum(activation * decoder direction) + b_dec; they
differ in which of a row's pre-activations are kept:

- `topk`: the k largest (Gao et al. 2024, Scaling and evaluating sparse autoencoders, eq. 1; sparsify and SAELens).
- `groupmax`: the largest of each of k equal groups of neighbouring latents (sparsify).
- `jumprelu`: those above their latent's threshold (Rajamanoharan et al. 2024, Jumping ahead, eq. 3): Gemma Scope, Llama
  Scope, SAELens's BatchTopK and Matryoshka SAEs as it saves them, and gated SAEs, which are the same.
- `relu`: all of them (SAELens's `standard`).

The last two have no k: every activation of a row is kept, up to `MAX_ACTIVE`, and more are refused.

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

Normalization = Literal["none", "layer_norm", "unit_norm"]
"""What is done to a row x before it is encoded, and undone after it is decoded; as SAELens does it.

- `layer_norm`: (x - mean(x)) / (sd(x) + 1e-5), with the sd of a sample.
- `unit_norm`: sqrt(d_model) x / |x| (SAELens's `constant_norm_rescale`).
"""

MAX_ACTIVE = 1024
"""Most activations stored a token for the kinds that have no k of their own; more are refused, never cut."""

_NORM_TOLERANCE = 2e-3
_LAYER_NORM_EPS = 1e-5  # SAELens divides by sd + eps, and multiplies by the sd alone


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
        normalization: of each row, before all else.
        bos: whether it was trained on windows that start with BOS; `None` where its files don't say.
        notes: what was folded into the weights or read in other words than the files', a sentence each.
    """

    encoder_weight: torch.Tensor
    encoder_bias: torch.Tensor
    decoder: torch.Tensor
    b_dec: torch.Tensor
    k: int
    activation: Activation = "topk"
    threshold: torch.Tensor | None = None
    selection: torch.Tensor | None = None
    normalization: Normalization = "none"
    bos: bool | None = None
    notes: tuple[str, ...] = ()

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
        if self.normalization == "none":
            centred = resid.to(self.b_dec, copy=True).sub_(self.b_dec)  # one copy of the stream, not two
        else:
            x, (mean, scale) = resid.to(self.b_dec), self._moments(resid)
            eps = _LAYER_NORM_EPS if self.normalization == "layer_norm" else 0
            centred = (x - mean) / (scale + eps) - self.b_dec
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
        return TopK(*acts.topk(self.k, dim=-1))

    def _largest(self, pre: torch.Tensor) -> TopK:
        if self.activation == "topk":
            return TopK(*pre.topk(self.k, dim=-1, sorted=False))
        values, within = pre.unflatten(-1, (self.k, -1)).max(dim=-1)
        return TopK(values, within + torch.arange(0, self.n_latents, self.n_latents // self.k, device=pre.device))

    def encode(self, resid: torch.Tensor) -> TopK:
        """The activations kept of each row of resid (..., d_model); see `keep`."""
        return self.keep(self.pre_activations(resid))

    def decode(self, top: TopK, resid: torch.Tensor | None = None) -> torch.Tensor:
        """sum(activation * decoder direction) + b_dec, (..., d_model), with the normalization undone.

        Args:
            resid: (..., d_model) that was encoded; an SAE with a `normalization` needs it.
        """
        dense = top.values.new_zeros(*top.values.shape[:-1], self.n_latents)
        dense.scatter_(-1, top.indices, top.values)
        if self.normalization == "none":
            return dense @ self.decoder + self.b_dec
        if resid is None:
            raise ValueError("a normalized stream is decoded beside the stream that it was")
        return (dense @ self.decoder) * self.scale(resid) + self.offset(resid)

    def scale(self, resid: torch.Tensor) -> torch.Tensor:
        """What an activation of 1 adds along its direction to the stream, (..., 1): 1 without a `normalization`."""
        return self._moments(resid).scale

    def offset(self, resid: torch.Tensor) -> torch.Tensor:
        """What is decoded from no activation at all, (..., d_model): b_dec without a `normalization`."""
        mean, scale = self._moments(resid)
        return self.b_dec * scale + mean

    def _check_active(self, acts: torch.Tensor) -> None:
        most = int((acts > 0).sum(dim=-1).max()) if acts.numel() else 0
        if most > self.k:
            raise TrackerError(
                f"A {self.activation} SAE has {most:,} of its {self.n_latents:,} latents active on one token; at most "
                f"{self.k:,} are stored, and none is left out silently. Use a sparser SAE, or raise MAX_ACTIVE in "
                "feature_tracker/sae/topk.py where memory allows."
            )

    def _moments(self, resid: torch.Tensor) -> _Moments:
        x = resid.to(self.b_dec)
        if self.normalization == "layer_norm":
            return _Moments(x.mean(dim=-1, keepdim=True), x.std(dim=-1, keepdim=True))
        zero = torch.zeros_like(x[..., :1])
        if self.normalization == "unit_norm":
            return _Moments(zero, x.norm(dim=-1, keepdim=True) / self.d_model**0.5)
        return _Moments(zero, torch.ones_like(zero))


class _Moments(NamedTuple):
    """What a normalization takes off each row and divides it by, (..., 1) each."""

    mean: torch.Tensor
    scale: torch.Tensor
