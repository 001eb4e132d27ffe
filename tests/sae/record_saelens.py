"""Record what SAELens gives for the SAEs of `saelens_cases.py`: `python -m tests.sae.record_saelens`.

Needs sae-lens (requirements-peers.txt); `make test` compares with the record and does without.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import sae_lens  # pyright: ignore[reportMissingImports]  # in requirements-peers.txt
import torch
from safetensors.torch import save_file

from tests.sae.saelens_cases import CASES, RECORDED, RESID, write_case


def main() -> None:
    """Write the activations and reconstructions of every case."""
    recorded = {}
    for case in CASES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "layers.3"
            write_case(folder, case)
            if case.kind == "batchtopk":  # saved for use, it is a JumpReLU one
                sae_lens.TrainingSAE.load_from_disk(folder).save_inference_model(folder.with_name("inference"))
                folder = folder.with_name("inference")
            sae = sae_lens.SAE.load_from_disk(folder)
            with torch.no_grad():
                encoded = sae.encode(RESID)
                recorded[f"{case}.encoded"] = encoded.to_dense().contiguous()
                recorded[f"{case}.decoded"] = sae.decode(encoded).contiguous()
    save_file(recorded, RECORDED, metadata={"sae-lens": sae_lens.__version__})


if __name__ == "__main__":
    main()
