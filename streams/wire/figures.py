"""What a process says of itself, as a record of the topic `figures`.

Owns the record's form. What the names mean stands in docs/operating/metrics.md; what is measured is
`streams.figures`'s affair.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=0)]


class Histogram(Struct, frozen=True):
    """How many observations were at most so large: `n[i]` of at most `le[i]`, the last of `n` of all.

    So `n` is one longer than `le`, and rises.
    """

    le: list[float]
    n: list[Count]


class FiguresRecord(Struct, frozen=True, kw_only=True):
    """One record a second of each process; times in Unix ms, whatever else is a time in ms.

    process: worker, learner, trainer or api
    started: when the process began; its counters begin anew with it
    seq: of records since then; one that is missing was not said
    release: the id of the live release, where the process goes by one
    partitions: of `clicks` that a worker has now
    counters, gauges, histograms: by name; one with labels is `name{label="value"}`, and the sum of a counter
    with labels stands beside its parts under the bare name
    """

    process: str
    host: str
    pid: int
    started: int
    seq: Count
    version: str
    release: str | None = None
    partitions: list[Count] = []
    counters: dict[str, float] = {}
    gauges: dict[str, float] = {}
    histograms: dict[str, Histogram] = {}


decode_figures = msgspec.json.Decoder(FiguresRecord).decode
