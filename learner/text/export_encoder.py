"""Writes an encoder for workers: the network as ONNX in 8 bits, its tokenizer and its card.

Owns the folder's writing; what is in it is `learner.text.query_encoder`'s. Needs the package `onnx`, which a
worker does not.
"""

import contextlib
import secrets
import shutil
from pathlib import Path

import msgspec

from learner.text.card import EncoderCard, EncoderError
from learner.text.compact import Numbers, compacted
from learner.text.encoder import LocalEncoder, find_reader, open_encoder
from learner.text.pretrained import choice_of
from learner.text.query_encoder import CARD, FORMAT, GRAPH, TOKENIZER, QueryEncoder, WrittenCard, card_in

MOST_BYTES = 256_000_000  # of a network that workers take: some hundred million weights in 8 bits
_KEPT = 3  # encoders that were used last, some 25 MB each


def export(encoder: LocalEncoder, folder: Path, *, int8: bool = True) -> None:
    """Writes `folder` anew, whole or not at all, so that `QueryEncoder.open` takes it.

    `int8`: a quarter of the bytes and half the time, for .001 of cosine (docs/texts.md); else 32 bits.
    Raises EncoderError where it is too large for workers, or what was written does not run.
    """
    export_as(encoder, folder, "int8" if int8 else "fp32")


def export_as(encoder: LocalEncoder, folder: Path, numbers: Numbers) -> None:
    """`export` in any of the number formats."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.partial"
    partial.mkdir()
    try:
        small = compacted(encoder.graph(), numbers)
        if len(small) > MOST_BYTES:
            raise EncoderError(
                f"{encoder.card.name}: {len(small) / 1e6:,.0f} MB, more than the "
                f"{MOST_BYTES / 1e6:,.0f} that a worker takes; choose a smaller model"
            )
        (partial / GRAPH).write_bytes(small)
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


def exported(card: EncoderCard, own: Path | None, kept: Path) -> Path:
    """A folder with the files of a card's encoder: one below `kept`, written where it is not there yet.

    `own`: of the release that the card is from, which may have them. Below `kept` the encoders that were used
    last stay. Raises EncoderError where the encoder is not at hand, or cannot be exported.
    """
    found = find_reader(card, own)
    if isinstance(found, Path):
        return found
    place = kept / (card.identity or card.name)
    if card_in(place) != card:
        try:
            export(open_encoder(choice_of(card)), place)
        except OSError:
            if card_in(place) != card:  # else another process was first
                raise
    with contextlib.suppress(OSError):
        place.touch()
        for old in sorted(kept.iterdir(), key=lambda each: each.stat().st_mtime)[:-_KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    return place
