"""The made-up archives agree with themselves, or tests of questions to them would prove nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from feature_tracker.archive.archive import Archive
from feature_tracker.feature import Feature
from tests.archive.made import write_archive


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return write_archive(tmp_path_factory.mktemp("made") / "archive", n_documents=30, documents_a_part=12)


def test_the_table_of_features_is_that_of_the_activations_on_counted_tokens(archive: Archive) -> None:
    tokens = archive.dataset("tokens").to_table().to_pandas().set_index("token")["attention_sink"]
    for layer in archive.manifest.layers:
        activations = archive.activations(layer).to_table().to_pandas().join(tokens, on="token")
        counted = activations[~activations["attention_sink"]]
        assert len(counted) < len(activations)  # there are sinks to leave out
        columns = [at for at, feature in enumerate(archive.features) if feature.layer == layer]
        for measure, expected in (
            ("max", counted.groupby(["document", "feature"])["activation"].max()),
            ("root_mean", np.sqrt(counted["activation"]).groupby([counted["document"], counted["feature"]]).sum()),
        ):
            dense = expected.unstack(fill_value=0).reindex(index=range(30), columns=range(20), fill_value=0).to_numpy()
            n = archive.documents["n_counted"].to_numpy()[:, None] if measure == "root_mean" else 1
            np.testing.assert_allclose(archive.matrix(measure)[:, columns], dense / n, rtol=1e-5)


def test_tokens_lie_in_their_documents_text(archive: Archive) -> None:
    tokens = archive.dataset("tokens").to_table().to_pandas()
    for document, text in archive.texts([0, 29]).items():
        spans = tokens[tokens["document"] == document][["start", "end"]].to_numpy()
        assert "".join(text[start:end] for start, end in spans) == text.replace(". ", ".")
        assert archive.documents["n_tokens"][document] == len(spans)


def test_what_is_lifted_fires_more(tmp_path: Path) -> None:
    feature = Feature(10, 3)
    archive = write_archive(tmp_path / "archive", n_documents=200, lifted={feature: ("bank", 3.0)})
    share = archive.matrix("share")[:, archive.features.index(feature)]
    bank = (archive.documents["group"] == "bank").to_numpy()
    assert share[bank].mean() > 2 * share[~bank].mean()
