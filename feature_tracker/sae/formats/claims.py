"""Which layer and which model an SAE belongs to, by everything that says so: folders, hooks, model names, ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from feature_tracker.bundles.hook_names import Stream, stream_of_hook, stream_of_source
from feature_tracker.bundles.model_names import is_named
from feature_tracker.errors import TrackerError


class LayerClaim(NamedTuple):
    """One place that names a layer.

    Attributes:
        where: the place and what it says, for a sentence.
        layer: the block after which the SAE then reads.
    """

    where: str
    layer: int


@dataclass
class Claims:
    """Everything that an SAE's files say about where it belongs.

    Attributes:
        path: the configuration or, where there is none, the weights; for messages.
        layers: what names a layer.
        models: by place, the names of the model that the SAE was trained on.
        notes: what was read in another way than the words have it, for the reader.
    """

    path: Path
    layers: list[LayerClaim] = field(default_factory=list)
    models: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add_hook(self, where: str, name: str) -> Stream:
        """Add the name of the hook that the SAE reads.

        Raises:
            TrackerError: it is not the residual stream between two blocks.
        """
        stream = stream_of_hook(name)
        if stream is None or stream.place == "elsewhere":
            shown = name if name.isprintable() and len(name) < 100 else repr(name[:100])
            raise TrackerError(
                f"{self.path}: this SAE reads {shown} by {where}. Only SAEs of the residual stream after a block are "
                "supported, by names such as blocks.3.hook_resid_post or model.layers.3."
            )
        if stream.layer is None:
            raise TrackerError(f"{self.path}: this SAE reads {name} by {where}, the stream before the first block.")
        self.layers.append(LayerClaim(f"{where}, which reads {name},", stream.layer))
        note = f"{name} is the residual stream after layer {stream.layer}"
        if stream.place == "before" and note not in self.notes:
            self.notes.append(note)
        return stream

    def add_block(self, where: str, block: int, hook: Stream | None) -> None:
        """Add the number of the block that the hook lies in, as `hook_layer` states it."""
        if hook is None:
            self.layers.append(LayerClaim(f"{where} = {block}", block))
        elif block != hook.block:
            raise self._contradiction(f"{where} = {block}", self.layers[-1].where)

    def add_neuronpedia(self, where: str, source: str, hook: Stream | None) -> None:
        """Add a Neuronpedia id, such as `gpt2-small/8-res-jb`.

        Raises:
            TrackerError: its features are not of the residual stream between two blocks.
        """
        model, _, numbered = source.partition("/")
        if model:
            self.models[where] = model
        stated = stream_of_source(numbered, model)
        if stated is None:
            return
        if stated.layer is None and stated.certain:
            raise TrackerError(
                f"{self.path}: {where} = {source!r} is not a source of the residual stream between blocks"
                f"{f', but {self.layers[-1].where} is' if hook else ''}. Only SAEs of that stream are read."
            )
        if stated.layer is None:  # a set of an unheard-of name: only its number says something
            self.add_block(f"{where} = {source!r}, whose block", stated.block, hook)
        else:
            self.layers.append(LayerClaim(f"{where} = {source!r}", stated.layer))

    def layer(self) -> int | None:
        """The layer that all places agree on; `None` where none names one.

        Raises:
            TrackerError: two contradict each other.
        """
        for claim in self.layers:
            if claim.layer != self.layers[0].layer:
                raise self._contradiction(self.layers[0].where, claim.where)
        return self.layers[0].layer if self.layers else None

    def check_models(self, accepted: Sequence[str]) -> None:
        """Refuse an SAE that names another model.

        Args:
            accepted: names by which the bundle's model goes, the plainest first; empty to accept any.

        Raises:
            TrackerError: names both.
        """
        for where, name in self.models.items():
            if accepted and not is_named(name, accepted):
                raise TrackerError(
                    f"{self.path}: {where} says that this SAE was trained on {name!r}, but the bundle's model is "
                    f"{accepted[0]!r}. Choose the SAEs of this model. If it is the same model, or its features should "
                    f"be shown all the same, accept that name in the bundle's TOML file: sae_models = [{name!r}]."
                )

    def _contradiction(self, one: str, other: str) -> TrackerError:
        return TrackerError(
            f"{self.path}: {one} and {other} contradict each other on which layer this SAE reads. Correct the one that "
            "is wrong, or rename the folder."
        )
