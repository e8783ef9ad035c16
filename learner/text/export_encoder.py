"""Writes an encoder for workers: the network as ONNX in 8 bits, its tokenizer and its card.

Owns the folder's writing; what is in it is `learner.text.query_encoder`'s. Needs the package `onnx`, which a
worker does not.
"""

import secrets
import shutil
from pathlib import Path

import msgspec

from learner.text.compact import Numbers, compacted
from learner.text.encoder import LocalEncoder
from learner.text.query_encoder import CARD, FORMAT, GRAPH, TOKENIZER, QueryEncoder, WrittenCard


def export(encoder: LocalEncoder, folder: Path, *, int8: bool = True) -> None:
    """Writes `folder` anew, whole or not at all, so that `QueryEncoder.open` takes it.

    `int8`: a quarter of the bytes and half the time, for .001 of cosine (docs/texts.md); else 32 bits.
    Raises EncoderError where what was written does not run.
    """
    export_as(encoder, folder, "int8" if int8 else "fp32")


def export_as(encoder: LocalEncoder, folder: Path, numbers: Numbers) -> None:
    """`export` in any of the number formats."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.partial"
    partial.mkdir()
    try:
        (partial / GRAPH).write_bytes(compacted(encoder.graph(), numbers))
        (partial / TOKENIZER).write_text(encoder.tokenizer, "utf-8")
        written = WrittenCard(format=FORMAT, card=encoder.card)
        (partial / CARD).write_bytes(msgspec.json.format(msgspec.json.encode(written), indent=2))
        QueryEncoder.open(partial)
        if folder.exists():
            before = partial.with_suffix(".before")
            folder.replace(before)
            partial.replace(folder)
            shutil.rmtree(before, ignore_errors=True)
        else:
            partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
