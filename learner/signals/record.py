"""Records of the topic `signals`: the form in which what is known of an item travels.

Owns the record, its bytes, and what is wrong with one by itself. Knows no arrays of signals: `state` makes
records of its own and applies those of others.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Id
from learner.signals.pair_weights import WEIGHTS
from learner.signals.settings import DEPTH_HALF_LIVES, DEPTHS, HALF_LIVES

FRONTIER = ""  # key of the record that belongs to no item
_MOST_PARTITIONS = 100_000  # of `clicks`: arrays are made as wide as the highest that a record names
_DEPTHS = (len(DEPTH_HALF_LIVES), len(DEPTHS))
_SUMS_BY_DEPTH = _DEPTHS[0] * _DEPTHS[1]
# Far below what differences and products of 64-bit integers take.
_Whole = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
_Sum = _Whole | float  # of weights: whole where all events count alike


class SignalError(ValueError):
    """A record of the topic `signals` that cannot be applied."""


class SignalRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Topic `signals`: all that is known of one item, or with item_id "" how far the learner is.

    Arrays are base64 (msgspec's text for bytes) of little-endian numbers: exact, and shorter than decimals.
    """

    item_id: str
    offsets: dict[str, _Whole]  # by partition of `clicks`: the last offset counted
    now_ms: _Whole  # the stream's clock
    reference: list[_Whole]  # of the half-lives, then of the pairs
    popularity: bytes = b""  # (H,) float64
    count: _Sum = 0
    first_ms: _Whole = 0
    last_ms: _Whole = 0
    value_sum: float = 0.0
    born_ms: _Whole = 0
    before: list[Id] = []  # items clicked before this one
    weights: bytes = b""  # (len(before), 5) float32
    depths: bytes = b""  # (3, 7) float64; nothing in records of before there were depths
    vector: bytes = b""  # (D,) float32: of an item that is newer than the release
    content: bytes = b""  # (T,) float32
    space: str = ""  # which numbers those are, as `learner.text.space` names it; nothing in records of before
    event_weights: dict[str, float] = {}  # that it was counted with, by event: those that are not 1
    v: Literal[1] = 1


class Unpacked(NamedTuple):
    """The arrays of an item's record; sums are relative to the record's reference."""

    popularity: NDArray[np.float64]  # (H,)
    weights: NDArray[np.float32]  # (n, 5), of the items `before`
    depths: NDArray[np.float64]  # (3, 7)
    vector: NDArray[np.float32]  # (D,), or empty
    content: NDArray[np.float32]  # (T,), or empty


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(SignalRecord).decode


def decode(item_id: str, value: bytes) -> SignalRecord:
    """Reads the record with the key `item_id`; raises `SignalError` if it is broken or another item's."""
    try:
        record = _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SignalError(f"signals record of {item_id!r}: {error}") from None
    if record.item_id != item_id:
        raise SignalError(f"signals record of {item_id!r} speaks of {record.item_id!r}")
    if len(record.reference) != HALF_LIVES + 1:
        raise SignalError(f"signals record of {item_id!r}: reference needs {HALF_LIVES + 1} numbers")
    return record


def named(offsets: Mapping[int, int]) -> dict[str, int]:
    """Offsets by partition as a record has them."""
    return {str(partition): offset for partition, offset in sorted(offsets.items())}


def later(offsets: Mapping[int, int], others: Mapping[int, int]) -> dict[int, int]:
    """The higher of both offsets, by partition."""
    highest = dict(offsets)
    for partition, offset in others.items():
        highest[partition] = max(offset, highest.get(partition, -1))
    return highest


def numbered(record: SignalRecord) -> dict[int, int]:
    """The record's offsets by partition; raises `SignalError` for partitions that cannot be."""
    try:
        offsets = {int(partition): offset for partition, offset in record.offsets.items()}
    except ValueError as error:
        raise SignalError(f"signals record of {record.item_id!r}: offsets: {error}") from None
    if offsets and not 0 <= min(offsets) <= max(offsets) < _MOST_PARTITIONS:
        raise SignalError(
            f"signals record of {record.item_id!r}: offsets of partitions {min(offsets)} to {max(offsets)}; "
            f"expected 0 to {_MOST_PARTITIONS - 1}"
        )
    return offsets


def unpack(record: SignalRecord) -> Unpacked:
    """The record's arrays; raises `SignalError` where they cannot be an item's."""
    popularity = _numbers(record.popularity, np.float64, record)
    weights = _numbers(record.weights, np.float32, record)
    vector = _numbers(record.vector, np.float32, record)
    content = _numbers(record.content, np.float32, record)
    depths = _numbers(record.depths, np.float64, record)
    if not len(depths):
        depths = np.zeros(_SUMS_BY_DEPTH)
    if (
        len(popularity) != HALF_LIVES
        or len(weights) != WEIGHTS * len(record.before)
        or len(depths) != _SUMS_BY_DEPTH
    ):
        raise SignalError(f"signals record of {record.item_id!r}: arrays of the wrong length")
    if len({record.item_id, *record.before}) != len(record.before) + 1:
        raise SignalError(f"signals record of {record.item_id!r}: an item is its own neighbour, or twice one")
    return Unpacked(popularity, weights.reshape(-1, WEIGHTS), depths.reshape(_DEPTHS), vector, content)


def _numbers(packed: bytes, dtype: Any, record: SignalRecord) -> NDArray[Any]:
    try:
        array = np.frombuffer(packed, dtype).copy()
    except ValueError as error:
        raise SignalError(f"signals record of {record.item_id!r}: {error}") from None
    if len(array) and not np.isfinite(array).all():
        raise SignalError(f"signals record of {record.item_id!r}: numbers that are not finite")
    return array
