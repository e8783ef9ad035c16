"""The embedded broker as a process: start, stop, kill -9, and what it says when it cannot start."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from streams.broker.node import BrokerError, EmbeddedBroker, answers
from streams.settings import load_settings
from streams.transport import clients
from streams.transport.topic_reader import read_to_end
from streams.transport.topics import Names, create_missing
from tests.worlds.places import ROOT

CACHE = load_settings().cache_dir


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Command:
    """`nextclick broker` in a folder of its own, as a user starts it."""

    def __init__(self, folder: Path, port: int, **environment: str) -> None:
        self.port = port
        variables = {"PYTHONPATH": str(ROOT), "NEXTCLICK_CACHE_DIR": str(CACHE), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from streams.cli import main; main()", "broker", "--port", str(port)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder,
            env=os.environ | variables | environment,
        )  # fmt: skip
        self.first_line = self.process.stdout.readline() if self.process.stdout else ""

    def end(self, timeout: float = 60) -> str:
        """The rest of its output, and its end."""
        return self.process.communicate(timeout=timeout)[0]


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    started = Command(tmp_path, _free_port())
    yield started
    if started.process.poll() is None:
        started.process.kill()
        started.end()


def test_acknowledged_records_survive_kill_9(tmp_path: Path) -> None:
    node = EmbeddedBroker(tmp_path, port=0, cache=CACHE).start()
    try:
        settings = load_settings(bootstrap_servers=node.bootstrap_servers, partitions=2)
        topic = Names(settings.prefix).clicks
        with clients.admin(settings) as admin:
            create_missing(admin, settings)
        sender = clients.producer(settings)
        acknowledged = [sender.send(topic, key=b"u", value=b"%d" % n) for n in range(2000)]
        sender.flush()
        assert all(each.succeeded() for each in acknowledged)
        node.kill()
        assert not answers(node.port)
        sender.close(timeout=0)
        node.start()  # same folder, same port
        assert [int(record.value) for record in read_to_end(settings, topic)] == list(range(2000))
    finally:
        node.stop()
    assert not answers(node.port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_order_and_a_second_one_changes_nothing(
    command: Command, number: signal.Signals
) -> None:
    assert f"broker 127.0.0.1:{command.port} ready" in command.first_line
    assert answers(command.port)
    command.process.send_signal(number)
    time.sleep(0.05)
    command.process.send_signal(number)
    assert "broker stopped" in command.end()
    assert command.process.returncode == 0
    assert not answers(command.port)


def test_it_dies_with_the_command_and_starts_again(command: Command, tmp_path: Path) -> None:
    command.process.kill()
    command.end()
    deadline = time.monotonic() + 90
    while answers(command.port) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not answers(command.port), "the Java process outlived the command"
    again = Command(tmp_path, command.port)
    try:
        assert "ready" in again.first_line
    finally:
        again.process.terminate()
        again.end()


def test_it_needs_no_java_on_the_machine(tmp_path: Path) -> None:
    """Nothing on the PATH, no JAVA_HOME: the runtime is the one from the package index."""
    (tmp_path / "bin").mkdir()
    started = Command(tmp_path, _free_port(), PATH=str(tmp_path / "bin"), JAVA_HOME="")
    try:
        assert "ready" in started.first_line
        assert answers(started.port)
    finally:
        started.process.terminate()
        started.end()


def test_two_brokers_cannot_share_a_port_or_a_folder(broker: EmbeddedBroker, tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"a Kafka broker answers there; use it with --bootstrap-servers"):
        EmbeddedBroker(tmp_path, port=broker.port, cache=CACHE).start()
    with pytest.raises(BrokerError, match=rf"another broker \(process {os.getpid()}\) uses the data folder"):
        EmbeddedBroker(broker.data, port=0, cache=CACHE).start()
    assert answers(broker.port)


def test_it_listens_on_the_loopback_interface_only(broker: EmbeddedBroker) -> None:
    assert broker.process is not None
    listening = [
        f"{socket.laddr.ip.removeprefix('::ffff:')}:{socket.laddr.port}"
        for socket in psutil.Process(broker.process.pid).net_connections(kind="tcp")
        if socket.status == psutil.CONN_LISTEN
    ]
    assert f"127.0.0.1:{broker.port}" in listening
    assert all(address.startswith(("127.0.0.1:", "::1:")) for address in listening)
