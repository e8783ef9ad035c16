"""How often one may ask: a bucket of requests for each key, and for each address where many share one key.

Owns the buckets and their number. Per process: two apis let through twice as much.
"""

import ipaddress
from collections import OrderedDict
from typing import NamedTuple

MOST_BUCKETS = 20_000  # some 4 MB; who asked longest ago is forgotten, with a full bucket when it comes back
_BURST_SECONDS = 2.0  # a bucket holds what so long a time brings
_NETWORK_BITS = 64  # of an IPv6 address: whoever has one has as many below it as he likes


class _Bucket(NamedTuple):
    left: float
    at: float


class Limits:
    """`wait` takes one request; the clock is an argument."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait(self, name: str, rate: float, now: float) -> float:
        """0 where the request may go on, else seconds until another one might. rate: 0 for any number."""
        if not rate:
            return 0.0
        most = max(1.0, rate * _BURST_SECONDS)
        before = self._buckets.get(name)
        left = most if before is None else min(most, before.left + (now - before.at) * rate)
        taken = left >= 1
        self._buckets[name] = _Bucket(left - taken, now)
        self._buckets.move_to_end(name)
        if len(self._buckets) > MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return 0.0 if taken else (1 - left) / rate


def network_of(address: str) -> str:
    """An address as buckets know it."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4 or found.ipv4_mapped is not None:
        return str(found.ipv4_mapped or found) if found.version == 6 else str(found)
    return str(ipaddress.ip_network((found, _NETWORK_BITS), strict=False))
