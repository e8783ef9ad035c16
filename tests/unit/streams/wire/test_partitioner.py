import random

import pytest
from aiokafka.partitioner import DefaultPartitioner as AioPartitioner
from kafka.partitioner.default import murmur2 as kafka_python_murmur2

from streams.wire.partitioner import murmur2, partition_of

# org.apache.kafka.common.utils.UtilsTest#testMurmur2, whose numbers are signed.
JAVA_VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "expected"), JAVA_VECTORS.items())
def test_hashes_as_the_java_client_does(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected & 0xFFFFFFFF


def test_agrees_with_the_python_clients_on_keys_of_every_length() -> None:
    rng = random.Random(0)
    aiokafka = AioPartitioner()
    for length in range(40):
        for _ in range(25):
            key = rng.randbytes(length)
            assert murmur2(key) == kafka_python_murmur2(key) & 0xFFFFFFFF
            for partitions in (1, 3, 8, 50):
                expected = aiokafka(key, list(range(partitions)), [])
                assert partition_of(key, partitions) == expected
