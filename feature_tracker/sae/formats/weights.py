"""Weights as files have them, and what is folded into them so that every `Sae` has one formula."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from feature_tracker.errors import TrackerError
from feature_tracker.sae.topk import MAX_ACTIVE, Activation, Normalization, Sae


@dataclass(frozen=True)
class Weights:
    """An SAE whose pre-activations are W_enc (x - b_dec) + b_enc, in float64 while options are folded in.

    Attributes:
        encoder: (n_latents, d_model).
        bias: (n_latents,).
        decoder: (n_latents, d_model).
        b_dec: (d_model,).
        threshold: (n_latents,) or a scalar, which a pre-activation must exceed; `None` where there is none.
    """

    encoder: torch.Tensor
    bias: torch.Tensor
    decoder: torch.Tensor
    b_dec: torch.Tensor
    threshold: torch.Tensor | None = None

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor], threshold: str = "threshold") -> Weights:
        """From tensors as SAELens names them, W_enc (d_model, n_latents); without `b_enc` there is no bias yet."""
        double = {name: tensor.double() for name, tensor in tensors.items()}
        encoder = double["W_enc"].T
        bias = double.get("b_enc", encoder.new_zeros(len(encoder)))
        return cls(encoder, bias, double["W_dec"], double["b_dec"], double.get(threshold))

    def gated(self, r_mag: torch.Tensor, b_mag: torch.Tensor, b_gate: torch.Tensor) -> Weights:
        """With a gate (Rajamanoharan et al. 2024, Improving dictionary learning with gated SAEs, eq. 6 to 8).

        Latent i is on where z_i + b_gate_i > 0, and then relu(exp(r_mag_i) z_i + b_mag_i), with z = W_enc (x - b_dec).
        So it is on where that magnitude exceeds b_mag_i - exp(r_mag_i) b_gate_i.
        """
        gain = r_mag.double().exp()
        threshold = b_mag.double() - gain * b_gate.double()
        return replace(self, encoder=self.encoder * gain[:, None], bias=b_mag.double(), threshold=threshold)

    def rescaled(self) -> Weights:
        """With pre-activations times the norms of the decoder rows, and rows of unit norm."""
        norms = self.decoder.norm(dim=1)
        return replace(
            self,
            encoder=self.encoder * norms[:, None],
            bias=self.bias * norms,
            decoder=self.decoder / norms.clamp(min=1e-8)[:, None],  # SAELens's own bound
        )

    def without_centre(self) -> Weights:
        """For files whose pre-activations are W_enc x + b_enc."""
        return replace(self, bias=self.bias + self.encoder @ self.b_dec)

    def scaled(self, factor: float) -> Weights:
        """For a stream that is multiplied by a constant before it is encoded, and divided by it afterwards."""
        return replace(self, encoder=self.encoder * factor, decoder=self.decoder / factor, b_dec=self.b_dec / factor)

    def mean_free(self) -> Weights:
        """For a stream whose mean over its dimensions is taken off before it is encoded; it is not given back.

        To a model with LayerNorm this mean is nothing: every block takes it off as well.
        """
        encoder = self.encoder - self.encoder.mean(dim=1, keepdim=True)
        return replace(self, encoder=encoder, bias=self.bias + (encoder - self.encoder) @ self.b_dec)

    def sae(
        self,
        where: object,
        *,
        k: int | None = None,
        activation: Activation = "topk",
        normalization: Normalization = "none",
        bos: bool | None = None,
        notes: tuple[str, ...] = (),
    ) -> Sae:
        """The `Sae`, in float32 and with decoder rows of unit norm.

        Args:
            where: the file, for messages.
            k: of the kinds that have one.

        Raises:
            TrackerError: what was folded in leaves no finite numbers.
        """
        n_latents = len(self.bias)
        threshold = None if self.threshold is None else self.threshold.expand(n_latents).float().contiguous()
        sae = Sae(
            self.encoder.float().contiguous(),
            self.bias.float(),
            self.decoder.float().contiguous(),
            self.b_dec.float(),
            k=min(n_latents, MAX_ACTIVE) if k is None else k,
            activation=activation,
            threshold=threshold,
            normalization=normalization,
            bos=bos,
            notes=notes,
        ).with_unit_decoder()
        parts = (sae.encoder_weight, sae.encoder_bias, sae.decoder, sae.b_dec, sae.threshold, sae.selection)
        if not all(part is None or part.isfinite().all() for part in parts):
            raise TrackerError(
                f"{where}: folding its settings into its weights gives numbers that are not finite. The file or a "
                "setting is damaged: copy or train it again."
            )
        return sae
