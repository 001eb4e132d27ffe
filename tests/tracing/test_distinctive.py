from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from feature_tracker.tracing.distinctive import distinctiveness, expected_by_chance, share_above


def table(**columns: float) -> pd.DataFrame:
    return pd.DataFrame([{"window_mean": 1.0, "window_sd": 0.5, "window_sd_64": 0.5} | columns])


@pytest.mark.parametrize(("n_tokens", "power"), [(256, 0.25), (64, 0.25), (1024, 0.25), (1024, 0.0), (64, 0.5)])
def test_a_text_is_compared_with_passages_of_its_own_length(n_tokens: int, power: float) -> None:
    """Standard deviations of 0.5 over 256 tokens that fall with this power of the length."""
    dense = np.zeros((n_tokens, 1), np.float32)
    dense[::2] = 16.0  # a mean of sqrt of 2
    labels = table(window_sd_64=0.5 * 4**power)
    assert distinctiveness(dense, labels).item() == pytest.approx(1 / (0.5 * (256 / n_tokens) ** power), rel=1e-6)


@pytest.mark.parametrize(("sd_64", "power"), [(0.3, 0.0), (1.5, 0.5)])
def test_length_matters_neither_less_than_nothing_nor_more_than_for_independent_tokens(
    sd_64: float, power: float
) -> None:
    dense = np.full((64, 1), 4.0, np.float32)
    assert distinctiveness(dense, table(window_sd_64=sd_64)).item() == pytest.approx(2 / 4**power)


def test_a_feature_that_was_not_measured_or_never_fired_has_none() -> None:
    dense = np.ones((10, 1), np.float32)
    unmeasured = table().drop(columns=["window_mean", "window_sd", "window_sd_64"])
    for labels in (unmeasured, table(window_sd=np.nan), table(window_mean=0.0, window_sd=0.0, window_sd_64=0.0)):
        assert np.isnan(distinctiveness(dense, labels)).all()
    assert np.isnan(distinctiveness(dense[:0], table())).all()


def test_many_weak_firings_count_more_than_one_strong_one() -> None:
    dense = np.zeros((100, 2), np.float32)
    dense[:, 0], dense[0, 1] = 1.0, 100.0
    weak, strong = distinctiveness(dense, pd.concat([table(), table()]))
    assert weak > strong


def test_the_share_of_passages_above_is_that_of_a_gamma_distribution() -> None:
    labels = table(window_mean=1.0, window_sd=0.5, window_sd_64=1.0)
    sd = 0.5 * 2  # at 64 tokens, where independent tokens double it
    drawn = np.random.default_rng(0).gamma(shape=(1 / sd) ** 2, scale=sd**2, size=1_000_000)
    for z in (-0.5, 0.0, 1.0, 3.0):
        assert share_above(np.array([z]), labels, 64).item() == pytest.approx((drawn >= 1 + z * sd).mean(), rel=0.02)


def test_what_chance_gives_is_the_sum_over_all_features_that_were_measured() -> None:
    labels = pd.concat([table(), table(window_mean=0.2), table(window_sd=np.nan), table(window_mean=0, window_sd=0)])
    z = np.array([2.0, np.nan])
    alone = sum(share_above(z[:1], labels.iloc[[row]], 100).item() for row in (0, 1))
    expected = expected_by_chance(z, labels, 100)
    assert expected[0] == pytest.approx(alone)
    assert np.isnan(expected[1])


def test_every_passage_is_above_a_feature_as_far_below_as_it_can_be() -> None:
    assert share_above(np.array([-10.0]), table(), 256).item() == 1.0
