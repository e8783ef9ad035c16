"""Which partition a key belongs to: the partitioner of Kafka's Java client.

Producers, workers and tests must agree on it, or a user's records would meet on two workers.
librdkafka clients get the same with `partitioner=murmur2_random`; aiokafka and kafka-python by default.
"""

from functools import lru_cache

_MASK = 0xFFFFFFFF
_MIX = 0x5BD1E995
_SEED = 0x9747B28C


def murmur2(data: bytes) -> int:
    """The 32-bit hash of `org.apache.kafka.common.utils.Utils.murmur2`, as an unsigned number."""
    length = len(data)
    hashed = _SEED ^ length
    whole = length & ~3
    for start in range(0, whole, 4):
        block = int.from_bytes(data[start : start + 4], "little") * _MIX & _MASK
        block ^= block >> 24
        hashed = (hashed * _MIX & _MASK) ^ (block * _MIX & _MASK)
    if tail := data[whole:]:
        hashed ^= int.from_bytes(tail, "little")
        hashed = hashed * _MIX & _MASK
    hashed ^= hashed >> 13
    hashed = hashed * _MIX & _MASK
    return hashed ^ (hashed >> 15)


# A user's clicks come in bursts, and the loop costs 2 µs for an id of ten bytes.
@lru_cache(maxsize=65_536)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition, of `partitions`, that a record with this key belongs to."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
