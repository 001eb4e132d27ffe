"""Convert a GGUF file to a transformers folder of bfloat16 safetensors.

Run as `python -m feature_tracker.model.fetching.convert GGUF FOLDER`: a process of its own gives its gigabyte of memory
back, and doesn't block the page's interpreter meanwhile.
"""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import click
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

DISK_FULL = 28
"""The command's exit status when the disk is full."""


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write the model of `gguf`, dequantized, and its tokenizer into `folder`.

    Raises:
        OSError: a file can't be read or written; its `errno` is ENOSPC where the disk is full.
    """
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    try:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except Exception as error:
        # Rust writes these files. It raises SafetensorError or a bare Exception, with the reason in the text alone.
        if not isinstance(error, OSError) and "No space left" in str(error):
            raise OSError(errno.ENOSPC, str(error)) from error
        raise


@click.command()
@click.argument("gguf", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(gguf: Path, folder: Path) -> None:
    """Convert the file GGUF to safetensors in FOLDER."""
    try:
        convert_gguf(gguf, folder)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        click.echo(str(error), err=True)
        sys.exit(DISK_FULL)


if __name__ == "__main__":
    main()
