"""A client that is let go of while its broker is away leaves neither tasks nor words behind."""

import asyncio
import gc
import signal
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from streams.broker.node import EmbeddedBroker
from streams.settings import load_settings
from streams.transport import clients


def test_a_producer_whose_broker_is_gone_is_let_go_of(
    tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    wrong: list[Any] = []

    async def run(broker: EmbeddedBroker) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
        settings = load_settings(bootstrap_servers=broker.bootstrap_servers, prefix="g.")
        producer = AIOKafkaProducer(acks="all", **clients.async_connection(settings))
        await producer.start()
        await producer.send_and_wait("g.clicks", b"1")
        assert broker.process is not None
        broker.process.send_signal(signal.SIGSTOP)
        sent = [await producer.send("g.clicks", b"x" * 1000) for _ in range(50)]
        await asyncio.sleep(0.5)  # these are on their way
        broker.kill()
        sent += [await producer.send("g.clicks", b"x" * 1000) for _ in range(50)]
        await asyncio.sleep(2)  # some are tried again by now, the others wait
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await producer.stop()
        await clients.abandon(producer)
        await asyncio.wait(sent, timeout=5)
        assert all(each.done() for each in sent)
        errors = [each.exception() for each in sent]  # each is looked at, or it would be told as lost
        assert any(errors)
        await asyncio.sleep(0.2)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not [task for task in left if "Sender" in repr(task) or "MessageAccumulator" in repr(task)]

    with EmbeddedBroker(tmp_path, port=0, cache=load_settings().cache_dir) as broker:
        settings = load_settings(bootstrap_servers=broker.bootstrap_servers, prefix="g.")
        with clients.admin(settings) as admin:
            from streams.transport.topics import create_missing

            create_missing(admin, settings)
        asyncio.run(run(broker))
    gc.collect()
    assert wrong == []
    assert "Traceback" not in caplog.text
