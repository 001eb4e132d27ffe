"""The front door: open a bundle once, then ask it about texts.

    tracker = Tracker.open("smollm2-135m")
    tracker.rank(tracker.trace("Net sales rose 5.4% to $1,234 million."))

Importing this module loads neither PyTorch nor transformers: each method imports what it needs when it is called.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from feature_tracker.bundles.bundle import BUILT_IN, Bundle, load_bundle
from feature_tracker.bundles.missing import require_parts
from feature_tracker.errors import TrackerError
from feature_tracker.files import replacing
from feature_tracker.progress import Progress, silent

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from feature_tracker.circuits.correlation import Correlations
    from feature_tracker.circuits.question import NextWord, Question, WhatFeeds
    from feature_tracker.circuits.traced import TracedCircuit
    from feature_tracker.compare.examples import Found
    from feature_tracker.compare.kinds import Kind
    from feature_tracker.compare.probe import Probe, Probed
    from feature_tracker.compare.strengths import SpanReader
    from feature_tracker.compare.texts import Comparison
    from feature_tracker.feature import Feature
    from feature_tracker.labels.table import LabelTable
    from feature_tracker.model.load import LanguageModel
    from feature_tracker.model.tokens import TokenizedText
    from feature_tracker.sae.topk import Sae
    from feature_tracker.steering.generate import Continuation, Sampling, SideBySide
    from feature_tracker.steering.recipe import Recipe, Weights
    from feature_tracker.tracing.rank import Aggregation, RankBy
    from feature_tracker.tracing.recording import Recording
    from feature_tracker.tracing.trace import Trace

_DEEPEST_FEATURES = 8
"""Of the deepest layer, which stand for a whole text in a circuit."""
_LARGEST_COPY = 500_000_000
"""Parameters of the largest model that is loaded a second time in float32, which takes 2 GB."""


@dataclass(frozen=True, eq=False)
class Tracker:
    """An opened bundle: model, SAEs and labels in memory, checked against each other.

    Several threads may ask one tracker at once.

    Attributes:
        bundle: its window is no longer than the model's, and it says whether windows start with BOS.
        language_model: in the bundle's dtype.
        saes: by layer, each on the device of its layer's residual stream.
        labels: the bundle's label table with the user's own labels in it, or one in which every feature is unlabelled.
    """

    bundle: Bundle
    language_model: LanguageModel
    saes: dict[int, Sae]
    labels: LabelTable
    _exact: list[LanguageModel] = field(default_factory=list, repr=False)
    _exact_lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _kinds: list[tuple[SpanReader, list[Kind]]] = field(default_factory=list, repr=False)
    _kinds_lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def open(cls, bundle: str | Bundle = BUILT_IN, *, progress: Progress = silent) -> Tracker:
        """Load a bundle; its model is fetched if it isn't on this machine.

        SAEs and labels are checked against the model's configuration before its gigabytes are read.

        Args:
            bundle: the name of a shipped bundle, a TOML file's path, or what `load_bundle` gives.

        Raises:
            TrackerError: a part is missing, damaged or belongs to another bundle.
        """
        from feature_tracker.model.fetching import ensure_model_folder
        from feature_tracker.model.load import has_layer_norm, load_model_folder, model_width
        from feature_tracker.sae.load import load_bundle_saes, starts_with_bos

        bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
        require_parts(bundle)
        folder = ensure_model_folder(bundle, progress)
        width = model_width(folder, bundle.layers)
        saes = load_bundle_saes(bundle, d_model=width, layer_norm=has_layer_norm(folder))
        bundle = replace(bundle, prepend_bos=starts_with_bos(bundle, saes))
        labels = _read_labels(bundle, saes)
        progress("Loading the model", 0.0)
        source = bundle.model
        language_model = load_model_folder(
            folder, bundle.dtype, name=source.name, bos=source.bos, prepend_bos=bundle.prepend_bos is not False
        )
        placed = {layer: sae.to(language_model.layer_device(layer)) for layer, sae in saes.items()}
        return cls(replace(bundle, window=language_model.window(bundle.window)), language_model, placed, labels)

    def relabel(self, feature: Feature, label: str) -> Tracker:
        """The same tracker with a label of the user's own, which is kept in the user's own file, see `own_labels_path`.

        Args:
            label: at most 100 characters; empty to have the bundle's label back.

        Raises:
            TrackerError: the label is too long, or the file can't be read or written.
        """
        from feature_tracker.labels.own import own_labels_path, save_own_label

        save_own_label(own_labels_path(self.bundle.name), self.fingerprint, feature, label)
        return replace(self, labels=_read_labels(self.bundle, self.saes))

    @property
    def sae_notes(self) -> list[str]:
        """What was read in other words than the SAEs' files have, and whether windows start without BOS: sentences."""
        noted: dict[str, list[str]] = {}
        for layer, sae in sorted(self.saes.items()):
            for note in sae.notes:
                noted.setdefault(note, []).append(str(layer))
        notes = [f"SAE of layer {', '.join(layers)}: {note}." for note, layers in noted.items()]
        without = "The SAEs were trained without BOS, so windows start with the text."
        return [*notes, *([] if self.language_model.prepend_bos else [without])]

    def trace(self, text: str, *, progress: Progress = silent) -> Trace:
        """Run a text through the model and keep each layer's top-k activations.

        Raises:
            TrackerError: the text is blank, or longer than the bundle's `max_tokens`.
        """
        from feature_tracker.tracing.run import trace_tokens

        return trace_tokens(self.tokenize(text), self.language_model, self.saes, progress)

    def tokenize(self, text: str) -> TokenizedText:
        """A text's tokens, cut into the model's windows; see `trace` for what is refused."""
        from feature_tracker.model.tokens import tokenize

        bundle = self.bundle
        return tokenize(text, self.language_model.tokenizer, window=bundle.window, max_tokens=bundle.max_tokens)

    def rank(
        self,
        trace: Trace,
        *,
        layers: Sequence[int] | None = None,
        top: int | None = 10,
        by: RankBy = "distinctiveness",
        aggregation: Aggregation = "max",
        hide_always_on: bool = True,
        min_f1: float = 0.0,
        hide_form: bool = False,
        positions: np.ndarray | None = None,
    ) -> pd.DataFrame:
        """The `top` features of each layer with labels and measures; see `tracing.rank.rank_features`.

        Args:
            layers: all of the bundle's where `None`.
        """
        from feature_tracker.tracing.rank import rank_features

        return rank_features(
            trace,
            self.labels,
            layers=self.bundle.layers if layers is None else layers,
            top=top,
            by=by,
            aggregation=aggregation,
            hide_always_on=hide_always_on,
            min_f1=min_f1,
            hide_form=hide_form,
            positions=positions,
        )

    def correlate(self, trace: Trace, features: Sequence[Feature] | None = None, *, top: int = 10) -> Correlations:
        """Correlations between features of different layers: these, or the `top` of each layer by activation."""
        from feature_tracker.circuits.correlation import correlate
        from feature_tracker.tracing.rows import features_of

        chosen = features_of(self.rank(trace, top=top, by="activation")) if features is None else features
        return correlate(trace, chosen)

    def compare(self, before: str, after: str, *, progress: Progress = silent) -> Comparison:
        """What changed from one text to another, of what kind it is, and which features rose and fell.

        Raises:
            TrackerError: a text has no words.
        """
        from feature_tracker.compare.texts import compare_texts

        reader, kinds = self.kinds_of_change(progress=progress)
        return compare_texts(before, after, reader, kinds, self.labels, progress=progress)

    def compare_model(self, other: Tracker, text: str, *, progress: Progress = silent) -> pd.DataFrame:
        """How much more each feature fires on a text in another model, such as a finetuned one, read by the same SAEs.

        Args:
            other: a tracker of the other model.

        Returns:
            See `compare.models.compare_models`.

        Raises:
            TrackerError: the text has no words, or the trackers' SAEs differ.
        """
        from feature_tracker.compare.models import compare_models

        if self.fingerprint != other.fingerprint:
            raise TrackerError(
                f"Two models are compared by the same SAEs; {self.bundle.name} has {self.fingerprint} and "
                f"{other.bundle.name} {other.fingerprint}. Set the SAE folder of one for both."
            )
        reader = self._scaled_reader(progress)
        with_other = replace(reader, language_model=other.language_model, saes=other.saes)
        return compare_models(text, reader, with_other, progress=progress)

    def find(self, with_it: Sequence[str], without_it: Sequence[str], *, progress: Progress = silent) -> Found:
        """The features that tell sentences with something in them from sentences without it, tested against chance.

        Raises:
            TrackerError: fewer than four examples of either side, or the same example on both.
        """
        from feature_tracker.compare.examples import find_features

        reader = self._scaled_reader(progress)
        return find_features(with_it, without_it, reader, self.labels, progress=progress)

    def probe(
        self, sentences: Sequence[str], classes: Sequence[str], *, n_features: int = 20, progress: Progress = silent
    ) -> Probed:
        """A probe of up to `n_features` readable features that tells labelled sentences apart, beside other ways.

        Raises:
            TrackerError: one class alone, or too few sentences of one.
        """
        from feature_tracker.compare.probe import fit_probe

        return fit_probe(
            sentences, classes, self._scaled_reader(progress), self.labels,
            bundle=self.bundle.name, saes=self.fingerprint, n_features=n_features, progress=progress,
        )  # fmt: skip

    def apply(self, probe: Probe, sentences: Sequence[str], *, progress: Progress = silent) -> pd.DataFrame:
        """What a probe says of sentences: `text, class`, and a column of probabilities for each class.

        Raises:
            TrackerError: the probe was fitted on other weights.
        """
        from feature_tracker.compare.probe import apply_probe

        return apply_probe(probe, sentences, self._scaled_reader(progress), saes=self.fingerprint, progress=progress)

    def kinds_of_change(self, *, progress: Progress = silent) -> tuple[SpanReader, list[Kind]]:
        """The kinds of change that this bundle's features tell, with their AUC; learnt once, in some seconds."""
        from feature_tracker.compare.texts import learn_kinds

        with self._kinds_lock:
            if not self._kinds:
                self._kinds.append(learn_kinds(self._span_reader(), progress))
        return self._kinds[0]

    def _span_reader(self) -> SpanReader:
        from feature_tracker.compare.strengths import SpanReader

        return SpanReader.open(self.language_model, self.saes, self.labels, self.bundle.window)

    def _scaled_reader(self, progress: Progress) -> SpanReader:
        """A reader with a scale for every feature; where the table has none, it comes from `kinds_of_change`."""
        reader = self._span_reader()
        return reader if reader.is_scaled else self.kinds_of_change(progress=progress)[0]

    @cached_property
    def fingerprint(self) -> str:
        """A short digest of the SAEs' weights; see `corpus.origin.fingerprint`."""
        from feature_tracker.corpus.origin import fingerprint

        return fingerprint(self.saes)

    def recipe(self, features: Sequence[tuple[Feature, float]], *, only_where: Feature | None = None) -> Recipe:
        """What `steer` adds to the residual stream: features with their strengths; see `steering.recipe.make_recipe`.

        Args:
            features: up to three. Strength 1 adds as much of a feature as it ever fired with in the corpus.
            only_where: steer only positions on which this feature of the same or a lower layer fires.
        """
        from feature_tracker.steering.recipe import make_recipe

        return make_recipe(features, only_where, self._weights())

    def read_recipe(self, raw: bytes) -> Recipe:
        """A recipe that `Recipe.to_json` wrote for these weights; see `steering.recipe.read_recipe`."""
        from feature_tracker.steering.recipe import read_recipe

        return read_recipe(raw, self._weights())

    def steer(self, prompt: str, recipe: Recipe, sampling: Sampling | None = None) -> Generator[SideBySide]:
        """Continue a text as the model writes it, and as it writes it under a recipe, a token of each at a time.

        Runs in float32 where that is cheap. The generator may be closed at any time.

        Args:
            sampling: 40 tokens with seed 0 at temperature 0.8 where `None`.

        Raises:
            TrackerError: the prompt is blank or too long.
        """
        from feature_tracker.steering.generate import Sampling, Steering, read_prompt, side_by_side

        sampling = sampling or Sampling()
        model = self.exact_model()
        tokens = read_prompt(prompt, model, window=self.bundle.window, n_tokens=sampling.n_tokens)
        return side_by_side(model, tokens, Steering(recipe, self.saes), sampling)

    def perplexity(self, prompt: str, continuation: Continuation) -> float:
        """How surprising the unsteered model finds a token of a continuation; see `steering.generate.perplexity`."""
        from feature_tracker.steering.generate import perplexity, read_prompt

        model = self.exact_model()
        tokens = read_prompt(prompt, model, window=self.bundle.window, n_tokens=len(continuation.ids))
        return perplexity(model, tokens, continuation.ids)

    def sweep(self, prompt: str, recipe: Recipe, words: Sequence[str] = ()) -> pd.DataFrame:
        """The probability that a prompt goes on with each word, by strength; see `steering.sweep.sweep`."""
        from feature_tracker.steering.generate import Steering, read_prompt
        from feature_tracker.steering.sweep import sweep

        model = self.exact_model()
        tokens = read_prompt(prompt, model, window=self.bundle.window, n_tokens=1)
        return sweep(model, tokens, Steering(recipe, self.saes), words)

    def trace_continuation(self, prompt: str, continuation: str) -> tuple[Trace, np.ndarray]:
        """Trace a continuation in the context of its prompt, unsteered: what the model makes of what was written.

        Returns:
            The trace of both together, and the positions that belong to the continuation.
        """
        from feature_tracker.steering.generate import continuation_positions

        before = prompt.rstrip(" ")  # as `steer` reads it
        trace = self.trace(before + continuation)
        return trace, continuation_positions(trace, len(before))

    def _weights(self) -> Weights:
        from feature_tracker.steering.recipe import Weights

        return Weights(self.bundle.name, self.fingerprint, self.saes, self.labels)

    def record(self, text: str | TokenizedText, *, progress: Progress = silent) -> Recording:
        """Run a text and keep its residual streams, from which circuits are traced, in float32 where that is cheap.

        Raises:
            TrackerError: the text is blank or too long.
        """
        from feature_tracker.tracing.recording import record

        tokens = self.tokenize(text) if isinstance(text, str) else text
        return record(tokens, self.exact_model(), self.saes, progress)

    def circuit(
        self,
        text: str | Recording,
        question: Question | None = None,
        *,
        share: float = 0.8,
        progress: Progress = silent,
    ) -> TracedCircuit:
        """What the answer to a question passes through, every edge measured; see `trace_circuit`."""
        recording = self.record(text, progress=progress) if isinstance(text, str) else text
        *_, traced = self.trace_circuit(recording, question, share=share, progress=progress)
        return traced

    def trace_circuit(
        self,
        recording: Recording,
        question: Question | None = None,
        *,
        share: float = 0.8,
        progress: Progress = silent,
    ) -> Generator[TracedCircuit]:
        """Answer a question about a text, and yield the circuit each time that more of it is measured.

        Args:
            recording: what `record` gives.
            question: `WhatFeeds`, `WhatItFeeds` or `NextWord` of `circuits.question`; what feeds the deepest layer's
                most distinctive features where `None`.
            share: of each layer's influence that the circuit's features hold.

        Raises:
            TrackerError: the text can't answer the question.
        """
        from feature_tracker.circuits.faithfulness import mean_activations
        from feature_tracker.circuits.trace import trace_circuit
        from feature_tracker.circuits.traced import TracedCircuit

        means = mean_activations(self.labels, self.saes)
        asked = question or self._whole_text(recording)
        for circuit in trace_circuit(recording, asked, share=share, means=means, progress=progress):
            yield TracedCircuit(recording, self.labels, circuit)

    def next_word(self, word: str, against: str | None = None, position: int | None = None) -> NextWord:
        """The question what makes a word the next one, and not another.

        Args:
            position: the token after which it would stand; the text's last where `None`.

        Raises:
            TrackerError: a word isn't one token of the model.
        """
        from feature_tracker.circuits.question import NextWord
        from feature_tracker.model.next_token import token_of

        other = None if not against else token_of(self.language_model, against)
        return NextWord(token_of(self.language_model, word), other, position)

    def expected_word(self, tokens: TokenizedText, against: str | None = None, position: int | None = None) -> NextWord:
        """The question what makes the model expect the word that it finds most probable; see `next_word`.

        Raises:
            TrackerError: `against` isn't one token of the model.
        """
        from feature_tracker.circuits.question import NextWord
        from feature_tracker.model.next_token import next_token, token_of

        other = None if not against else token_of(self.language_model, against)
        return NextWord(next_token(self.exact_model(), tokens, position).id, other, position)

    def _whole_text(self, recording: Recording) -> WhatFeeds:
        from feature_tracker.circuits.question import WhatFeeds
        from feature_tracker.tracing.rows import features_of

        ranked = self.rank(recording.trace, layers=self.bundle.layers[-1:], top=_DEEPEST_FEATURES)
        return WhatFeeds(tuple(features_of(ranked)))

    def circuit_files(self, traced: TracedCircuit, *, progress: Progress = silent) -> dict[str, bytes]:
        """A circuit by file name: CSV tables, graphs for other tools, and the figure.

        `edges.csv` holds every measured edge, also those that are too weak to be drawn.
        """
        from feature_tracker.charts.circuit import circuit_page
        from feature_tracker.charts.theme import layer_colours
        from feature_tracker.circuits.answer import answer
        from feature_tracker.circuits.export import table_files, to_json
        from feature_tracker.circuits.positions import attribution_graph_of

        viewer = attribution_graph_of(traced, slug="circuit", scan=self.bundle.name, progress=progress)
        page = circuit_page(
            traced.graph(), colours=layer_colours(self.bundle.layers), title=traced.question(), answer=answer(traced)
        )
        return table_files(traced) | {"attribution_graph.json": to_json(viewer), "figure.html": page}

    def export(self, traced: TracedCircuit, folder: Path) -> None:
        """Write `circuit_files` into a folder, which is made if it doesn't exist.

        Raises:
            TrackerError: the folder can't be written.
        """
        for name, content in self.circuit_files(traced).items():
            with replacing(folder / name) as beside:
                beside.write_bytes(content)

    def exact_model(self) -> LanguageModel:
        """The model in which circuits are traced: bfloat16 rounds small effects away.

        This is the one rule for float32. A half-precision model on a CPU is loaded a second time in float32 if it has
        at most 500 million parameters; any other model is used as it is, because a second copy might not fit.
        """
        from feature_tracker.model.load import load_model

        model = self.language_model.model
        if model.dtype.itemsize >= 4 or model.device.type != "cpu" or model.num_parameters() > _LARGEST_COPY:
            return self.language_model
        with self._exact_lock:
            if not self._exact:
                self._exact.append(load_model(self.bundle, dtype="float32"))
        return self._exact[0]


def _read_labels(bundle: Bundle, saes: Mapping[int, Sae]) -> LabelTable:
    """A bundle's label table, with the user's own labels."""
    from feature_tracker.corpus.origin import fingerprint
    from feature_tracker.labels.csv_files import open_labels
    from feature_tracker.labels.own import load_own_labels, own_labels_path, with_own_labels
    from feature_tracker.labels.table import latents_of

    table = open_labels(bundle, latents_of(saes))
    return with_own_labels(table, load_own_labels(own_labels_path(bundle.name), fingerprint(saes)))
