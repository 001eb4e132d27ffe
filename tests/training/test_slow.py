from __future__ import annotations

import torch

from feature_tracker.training.slow import slow_target


def naive_target(rows: torch.Tensor, counted: torch.Tensor, n: int, reach: int) -> torch.Tensor:
    target = torch.zeros_like(rows)
    for row in range(len(rows)):
        start = row // n * n
        around = range(max(start, row - reach), min(start + n, row + reach + 1))
        near = [rows[i] for i in around if counted[i]]
        if near:
            target[row] = torch.stack(near).mean(dim=0)
    return target


def test_the_slow_target_is_the_mean_of_the_counted_tokens_around_in_the_same_window() -> None:
    rows, counted = torch.randn(5 * 11, 6), torch.rand(5 * 11) > 0.2
    counted[:5] = False  # none of the first window's first five, so that its first token has none within reach
    got = slow_target(rows, counted, tokens_per_window=11, reach=3)
    torch.testing.assert_close(got, naive_target(rows, counted, 11, 3), rtol=1e-4, atol=1e-5)
    assert (got[0] == 0).all()


def test_the_slow_target_keeps_the_dtype() -> None:
    rows = torch.randn(22, 6).bfloat16()
    got = slow_target(rows, torch.ones(22, dtype=torch.bool), tokens_per_window=11, reach=3)
    assert got.dtype == torch.bfloat16
