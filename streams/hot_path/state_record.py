"""A user's state as it stands on the changelog: topic `user-states`, key `user_id`, UTF-8 JSON.

Owns the record's form, which outlives every worker: what is written today is read for years. Knows no arrays
of users; `user_states` fills records and takes them up.
"""

import base64
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from learner.data.events import CONSUMPTION, Kind


class StateRecord(msgspec.Struct, kw_only=True):
    """A user's state. Arrays are base64, little-endian."""

    user_id: str
    applied: int  # offset in `clicks` up to which this state knows the user's partition
    release: str  # whose student the hidden state belongs to
    events: int  # events ever folded
    items: list[str]  # of the history, oldest first
    times: str  # int64, Unix ms
    kinds: str  # uint8, learner.data.events.Kind
    values: str  # float32, NaN where the event had none
    event_ids: str  # uint64 hashes, parallel to the history
    older: list[str]  # consumed before the history begins
    refused: list[str]  # disliked or hidden before the history begins
    hidden: str  # float32
    vector: str  # float32, the user's embedding
    v: int = 1

    def history(self) -> list[dict[str, Any]]:
        """The events as a reader wants them, oldest first."""
        times, kinds = unpack(self.times, np.int64), unpack(self.kinds, np.uint8)
        values = unpack(self.values, np.float32)
        return [
            {
                "item_id": item,
                "event": Kind(kind).word,
                "timestamp": int(time),
                "value": None if np.isnan(value) else float(value),
            }
            for item, time, kind, value in zip(self.items, times, kinds, values, strict=True)
        ]

    @property
    def last_ms(self) -> int:
        """Time of the last event, 0 without any."""
        times = unpack(self.times, np.int64)
        return int(times[-1]) if len(times) else 0

    def consumed(self, views_consume: bool) -> list[str]:
        """Ids of all items consumed so far, in the order of their last consumption."""
        kinds = CONSUMPTION | {Kind.VIEW} if views_consume else CONSUMPTION
        marks = unpack(self.kinds, np.uint8)
        recent = [item for item, kind in zip(self.items, marks, strict=True) if kind in kinds]
        return list(dict.fromkeys(self.older + recent))

    def hidden_state(self) -> NDArray[np.float32]:
        """The student's hidden state (S,) float32."""
        return unpack(self.hidden, np.float32)


decode_state = msgspec.json.Decoder(StateRecord).decode
encode_state = msgspec.json.Encoder().encode


def pack(array: NDArray[Any]) -> str:
    """The numbers of an array as a record holds them."""
    return base64.b64encode(array.tobytes()).decode()


def unpack(text: str, dtype: Any) -> NDArray[Any]:
    """The numbers (n,) of a record's field, read-only."""
    return np.frombuffer(base64.b64decode(text), dtype)
