from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from feature_tracker.errors import TrackerError
from feature_tracker.labels.table import LabelTable
from feature_tracker.model.tokens import TokenizedText
from feature_tracker.tracing.rank import ALWAYS_ON, rank_features, rarity
from feature_tracker.tracing.trace import LayerTrace, Trace

WORDS = ["Rates", " rose", " again", "."]


def trace_of(dense_by_layer: dict[int, list[list[float]]]) -> Trace:
    """A trace with the given dense activations (n_tokens, n_latents) a layer."""
    layers = {}
    for layer, rows in dense_by_layer.items():
        dense = np.asarray(rows, np.float32)
        indices = np.argsort(-dense, axis=1, kind="stable").astype(np.int32)
        values = np.take_along_axis(dense, indices.astype(np.int64), axis=1)
        layers[layer] = LayerTrace(layer, values, indices, dense.shape[1])
    ends = np.cumsum([len(word) for word in WORDS])
    offsets = np.stack([ends - [len(word) for word in WORDS], ends], axis=1)
    return Trace(TokenizedText("".join(WORDS), np.arange(4), offsets, 16), layers)


def table_of(**changes: dict[tuple[int, int], object]) -> LabelTable:
    """Labels for layers 1 and 3, three features each, in an order that is not the index order."""
    keys = [(3, 2), (1, 0), (3, 0), (1, 2), (1, 1), (3, 1)]
    frame = pd.DataFrame(index=pd.MultiIndex.from_tuples(keys, names=["layer", "feature"]))
    frame["label"] = [f"label of {layer}/{index}" for layer, index in keys]
    for column, value in {
        "f1": 0.9, "precision": 0.9, "recall": 0.9, "balanced_accuracy": 0.9, "specialization": 0.1,
        "specialization_index": 0.1, "density": 0.1, "q50": 1.0, "q90": 2.0, "q99": 3.0, "max_activation": 4.0,
        "n_positive": 50, "n_negative": 50, "finance_tokens": 6000, "general_tokens": 4000,
    }.items():  # fmt: skip
        frame[column] = value
    for column, values in changes.items():
        for key, value in values.items():
            frame.loc[key, column] = value
    return LabelTable(frame)


DENSE = {
    1: [[1.0, 0, 0], [0, 2.0, 0], [0, 3.0, 0], [0.5, 0, 0]],
    3: [[0, 0, 4.0], [9.0, 0, 4.0], [0, 0, 4.0], [0, 0, 4.0]],
}


def rank(**options: object) -> pd.DataFrame:
    table = options.pop("table", table_of())
    options = {"by": "activation"} | options
    return rank_features(trace_of(DENSE), table, layers=[1, 3], top=10, **options)  # pyright: ignore[reportArgumentType]


def pairs(frame: pd.DataFrame) -> list[tuple[int, int]]:
    return list(zip(frame["layer"], frame["feature"], strict=True))


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        ("max", {(1, 1): 3.0, (1, 0): 1.0, (3, 0): 9.0, (3, 2): 4.0}),
        ("mean", {(1, 1): 1.25, (1, 0): 0.375, (3, 2): 4.0, (3, 0): 2.25}),
        ("sum", {(1, 1): 5.0, (1, 0): 1.5, (3, 2): 16.0, (3, 0): 9.0}),
        ("share", {(1, 0): 0.5, (1, 1): 0.5, (3, 2): 1.0, (3, 0): 0.25}),
    ],
)
def test_features_are_ranked_by_their_aggregate(aggregation: str, expected: dict[tuple[int, int], float]) -> None:
    ranked = rank(aggregation=aggregation)
    assert pairs(ranked) == list(expected)
    assert ranked["activation"].tolist() == pytest.approx(list(expected.values()))


def test_labels_are_joined_by_layer_and_index_whatever_the_row_order() -> None:
    ranked = rank()
    assert [f"label of {layer}/{index}" for layer, index in pairs(ranked)] == ranked["label"].tolist()


def test_a_feature_without_a_label_stays_and_is_not_reliable() -> None:
    frame = table_of().frame.drop(index=(3, 0))
    ranked = rank(table=LabelTable(frame)).set_index(["layer", "feature"])
    assert ranked.loc[(3, 0), "label"] == "unlabelled"
    assert not ranked.loc[(3, 0), "reliable"]


def test_peak_is_the_word_of_the_largest_activation() -> None:
    ranked = rank().set_index(["layer", "feature"])
    assert ranked.loc[(3, 0), "peak_word"] == "rose"
    assert ranked.loc[(1, 1), "peak_word"] == "again"


def test_always_on_is_hidden_by_the_features_own_density_in_its_own_layer() -> None:
    table = table_of(density={(3, 2): ALWAYS_ON + 0.1, (1, 2): 0.99})
    assert pairs(rank(table=table, hide_always_on=True)) == [(1, 1), (1, 0), (3, 0)]
    assert pairs(rank(table=table, hide_always_on=False)) == [(1, 1), (1, 0), (3, 0), (3, 2)]


def test_minimum_f1_leaves_out_weak_and_unscored_labels() -> None:
    table = table_of(f1={(1, 1): 0.5, (3, 0): np.nan})
    assert pairs(rank(table=table, min_f1=0.7)) == [(1, 0), (3, 2)]
    assert len(rank(table=table, min_f1=0.0)) == 4


def test_a_label_at_the_always_yes_score_is_not_reliable() -> None:
    ranked = rank(table=table_of(f1={(1, 1): 2 / 3, (3, 0): 0.67})).set_index(["layer", "feature"])
    assert not ranked.loc[(1, 1), "reliable"]
    assert ranked.loc[(3, 0), "reliable"]


def test_chosen_words_rank_by_the_activation_there() -> None:
    ranked = rank(positions=np.array([0, 3]))
    assert pairs(ranked) == [(1, 0), (3, 2)]
    assert ranked["peak_position"].tolist() == [0, 0]


def test_a_token_at_a_cut_counts_only_where_it_is_chosen() -> None:
    tokens = trace_of(DENSE).tokens
    trace = Trace(TokenizedText(tokens.text, tokens.ids, tokens.offsets, 3), trace_of(DENSE).layers)  # windows of two
    assert trace.counted.tolist() == [0, 1, 3]
    whole = rank_features(trace, table_of(), layers=[1], top=3, by="activation").set_index("feature")
    assert whole.loc[1, ["activation", "peak_position"]].tolist() == [2.0, 1]
    chosen = rank_features(trace, table_of(), layers=[1], top=3, by="activation", positions=np.array([2])).set_index(
        "feature"
    )
    assert chosen.loc[1, ["activation", "peak_position"]].tolist() == [3.0, 2]


def test_rarity_puts_an_unusual_activation_before_a_larger_usual_one() -> None:
    table = table_of(
        q50={(3, 0): 10.0}, q90={(3, 0): 20.0}, q99={(3, 0): 30.0}, max_activation={(3, 0): 40.0},
        density={(3, 0): 0.6},
    )  # fmt: skip
    assert pairs(rank(table=table, by="activation"))[2:] == [(3, 0), (3, 2)]
    assert pairs(rank(table=table, by="rarity"))[2:] == [(3, 2), (3, 0)]


def test_rarity_is_that_of_a_passage_and_a_lower_limit_at_the_corpus_maximum() -> None:
    labels = table_of().frame.loc[[(1, 0)] * 4]
    some = rarity(np.array([1.0, 2.0, 4.0, 5.0]), labels, 1)
    assert some.one_in.tolist() == pytest.approx([1 / (0.1 * 0.5), 1 / (0.1 * 0.1), 10_000, 10_000])
    assert some.at_least.tolist() == [False, False, True, True]
    passage = rarity(np.array([1.0, 2.0]), labels[:2], 20)
    assert passage.one_in.tolist() == pytest.approx([1 / (1 - 0.95**20), 1 / (1 - 0.99**20)])


def test_rarity_between_two_quantiles_is_interpolated_in_its_logarithm() -> None:
    labels = table_of().frame.loc[[(1, 0)]]
    assert rarity(np.array([1.5]), labels, 1).one_in.item() == pytest.approx(10 / np.sqrt(0.5 * 0.1))


def test_rarity_of_what_was_not_measured_is_unknown() -> None:
    labels = table_of(q99={(1, 0): np.nan}).frame.loc[[(1, 0)]]
    assert np.isnan(rarity(np.array([1.5]), labels, 1).one_in).all()


def test_distinctiveness_ranks_by_what_ordinary_passages_do() -> None:
    usual = dict.fromkeys([(1, 0), (1, 1), (1, 2), (3, 0), (3, 1), (3, 2)], 0.5)
    columns = {"window_mean": usual | {(3, 2): 2.0}, "window_sd": usual, "window_sd_64": usual}
    ranked = rank(table=table_of(**columns), by="distinctiveness")
    assert pairs(ranked) == [(1, 1), (1, 0), (3, 0), (3, 2)]
    assert ranked["distinctiveness"].iloc[2:].tolist() == pytest.approx([(3 / 4 - 0.5) / 0.5, 0.0])
    assert (ranked["chance"] >= ranked["chance_alone"]).all()
    assert ranked.groupby("layer")["chance"].is_monotonic_increasing.all()


def test_top_limits_each_layer() -> None:
    ranked = rank_features(trace_of(DENSE), table_of(), layers=[1, 3], top=1, by="activation")
    assert pairs(ranked) == [(1, 1), (3, 0)]


@pytest.mark.parametrize("options", [{"layers": []}, {"positions": np.array([], dtype=int)}, {"by": "luck"}])
def test_an_empty_or_unknown_choice_is_refused(options: dict[str, object]) -> None:
    chosen = {"layers": [1, 3], "top": 5} | options
    with pytest.raises(TrackerError):
        rank_features(trace_of(DENSE), table_of(), **chosen)  # pyright: ignore[reportArgumentType]
