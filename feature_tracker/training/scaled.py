"""An SAE's parameters while it is trained, on a stream that is centred and scaled."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import linear, normalize

from feature_tracker.sae.topk import Sae

_SAMPLE = 65_536  # rows from which centre and scale are estimated


class StreamScale(NamedTuple):
    """What centres and scales a residual stream.

    Attributes:
        centre: (d_model,) mean of the tokens.
        scale: square root of the median token's variance; the mean would follow a few outliers.
    """

    centre: torch.Tensor
    scale: float

    def scaled(self, resid: torch.Tensor) -> torch.Tensor:
        """The stream (..., d_model) in float32, centred and scaled."""
        return (resid.float() - self.centre) / self.scale


def stream_scale(resid: torch.Tensor, counted: torch.Tensor, *, seed: int) -> StreamScale:
    """Centre and scale of the counted rows of resid (n_tokens, d_model), estimated on a sample."""
    rows = counted.nonzero().flatten()
    chosen = torch.randint(len(rows), (min(len(rows), _SAMPLE),), generator=torch.Generator().manual_seed(seed))
    sample = resid[rows[chosen]].float()
    centre = sample.mean(dim=0)
    return StreamScale(centre, float((sample - centre).pow(2).mean(dim=1).median().sqrt()))


class ScaledSae(nn.Module):
    """An SAE's parameters in training.

    Args:
        sae: what to start from, on the scaled stream, as stored: the norms of its decoder rows stay as they are.
        scale: of the stream.
    """

    def __init__(self, sae: Sae, scale: StreamScale) -> None:
        super().__init__()
        self.scale = scale
        self.norms = sae.decoder.norm(dim=1, keepdim=True)
        self.decoder = nn.Parameter(sae.decoder.clone())
        self.encoder = nn.Parameter(sae.encoder_weight.clone())
        self.encoder_bias = nn.Parameter(sae.encoder_bias.clone())
        self.b_dec = nn.Parameter(sae.b_dec.clone())

    @classmethod
    def random(cls, norms: torch.Tensor, d_model: int, k: int, scale: StreamScale, *, seed: int) -> ScaledSae:
        """Random directions, the same for encoder and decoder, with decoder rows of the given norms (n_latents,)."""
        generator = torch.Generator().manual_seed(seed)
        directions = normalize(torch.randn(len(norms), d_model, generator=generator), dim=1)
        bias, b_dec = torch.zeros(len(norms)), torch.zeros(d_model)
        return cls(Sae(directions / norms[:, None], bias, directions * norms[:, None], b_dec, k), scale)

    @classmethod
    def from_sae(cls, sae: Sae, scale: float) -> ScaledSae:
        """The parameters of a trained SAE; `folded` gives it back."""
        stored = sae.as_stored()
        start = Sae(
            stored.encoder_weight, stored.encoder_bias / scale, stored.decoder, torch.zeros_like(sae.b_dec), sae.k
        )
        return cls(start, StreamScale(sae.b_dec.clone(), scale))

    def forward(self, x: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Reconstruct x (batch, d_model): (reconstruction (batch, d_model), activations (batch, n_latents))."""
        # W (x - b_dec) + b_enc, with both biases folded into one: a product less in the backward pass.
        pre = linear(x, self.encoder, self.encoder_bias - self.encoder @ self.b_dec)
        values, indices = pre.topk(k, dim=-1, sorted=False)
        acts = torch.zeros_like(pre).scatter(-1, indices, values.relu())
        return acts @ self.decoder + self.b_dec, acts

    @torch.no_grad()
    def normalize_decoder(self) -> None:
        """Give every decoder row its norm again, which a step of the optimizer changes."""
        self.decoder.copy_(normalize(self.decoder, dim=1) * self.norms)

    @torch.no_grad()
    def folded(self, k: int) -> Sae:
        """The SAE of the unscaled stream, with activations in that stream's units."""
        centre, scale = self.scale
        return Sae(
            encoder_weight=self.encoder.detach().clone(),
            encoder_bias=self.encoder_bias.detach() * scale,
            decoder=self.decoder.detach().clone(),
            b_dec=centre + self.b_dec.detach() * scale,
            k=k,
        ).with_unit_decoder()
