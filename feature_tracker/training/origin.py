"""What residual streams on disk were collected from, so that they are never taken for another bundle's or text's."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from feature_tracker.bundles.bundle import Bundle, WheelSource
from feature_tracker.errors import TrackerError

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a harvest was collected from. None stands for what isn't known, or doesn't matter to who asks for it.

    Attributes:
        layers: 0-based, ascending.
        d_model: width of the residual stream.
        bundle: its name.
        model: what the model is called where it comes from.
        text: each file or folder with its size, finance text first.
        window: tokens, BOS included.
        seed: of the windows' order.
        max_tokens: at which the text ends.
    """

    layers: tuple[int, ...]
    d_model: int
    bundle: str | None = None
    model: str | None = None
    text: tuple[str, ...] | None = None
    window: int | None = None
    seed: int | None = None
    max_tokens: int | None = None

    @classmethod
    def of_bundle(cls, bundle: Bundle, d_model: int) -> Origin:
        """That of any text that ran through a bundle's model, whose stream is `d_model` wide."""
        source = bundle.model
        if isinstance(source, WheelSource):
            model = source.requirement
        else:
            model = f"{source.id}, revision {source.revision}" if source.id else source.name
        return cls(layers=bundle.layers, d_model=d_model, bundle=bundle.name, model=model)

    def check(self, found: Origin, folder: Path) -> None:
        """Refuse the harvest in `folder`, of the origin `found`, where it differs from this in what both know.

        Raises:
            TrackerError: it was collected from something else.
        """
        if found.bundle is None:  # of a version that kept no record
            log.warning("%s has no record of its model and text: only layers and widths can be checked", folder)
        there = asdict(found)
        differing = [
            f"{name} {_said(wanted)}, found {_said(there[name])}"
            for name, wanted in asdict(self).items()
            if wanted is not None and there[name] is not None and wanted != there[name]
        ]
        if differing:
            raise TrackerError(
                f"{folder} holds activations of something else: expected {'; expected '.join(differing)}. Give the "
                "options they were collected with, name another folder by --work, or delete this one."
            )


def _said(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
