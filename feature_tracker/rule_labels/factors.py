"""Non-negative matrix factorization."""

from __future__ import annotations

import torch
from torch import Tensor

_TINY = 1e-9


def factorize(x: Tensor, n_factors: int, *, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """Non-negative a (rows, n_factors) with columns of length 1 and b (n_factors, columns), whose product is near x.

    Multiplicative updates of the squared error (Lee and Seung 2000, https://papers.nips.cc/paper/1861).

    Args:
        x: (rows, columns) float32, nowhere negative.
    """
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(x.shape[0], n_factors, generator=generator)
    b = torch.rand(n_factors, x.shape[1], generator=generator)
    a *= x.mean() / (a.mean() * b.mean() * n_factors)
    for _ in range(steps):
        b *= (a.T @ x) / (a.T @ a @ b + _TINY)
        a *= (x @ b.T) / (a @ (b @ b.T) + _TINY)
        lengths = a.norm(dim=0).clamp(min=_TINY)
        a /= lengths
        b *= lengths[:, None]
    return a, b
