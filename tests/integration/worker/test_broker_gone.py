"""The broker dies and the worker is told to stop: it does not wait for what will not come."""

from pathlib import Path

from streams.broker.node import EmbeddedBroker
from streams.settings import load_settings
from streams.transport import clients
from streams.transport.topics import create_missing
from tests.worlds.system import System


def test_a_worker_told_to_stop_ends_without_a_broker(release: Path, tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "broker", port=0, cache=load_settings().cache_dir) as broker:
        settings = load_settings(
            bootstrap_servers=broker.bootstrap_servers, clock="stream", data_dir=tmp_path, prefix="gone."
        )
        with clients.admin(settings) as admin:
            create_missing(admin, settings)
        system = System(settings, tmp_path, release)
        try:
            system.start("worker", "--set", "stop_seconds=3")
            system.wait_for(lambda: "partitions assigned" in system.said("worker"), "the worker")
            system.answer(system.click("u", "1", 900_000_000_000))
            said = len(system.said("worker"))  # before: the first word comes while the broker still ends
            broker.stop()
            system.wait_for(lambda: len(system.said("worker")) > said, "a word about the broker")
            assert system.stop("worker", timeout=90) == 1
            assert "ended before all was stopped" in system.said("worker")
            assert system.said("worker")[said:].count("\n") < 60  # not a line for each try
        finally:
            system.close()
