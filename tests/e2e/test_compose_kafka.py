"""compose.yaml's three Kafka nodes, run with the settings that stand there, and one of them killed."""

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from kafka import KafkaProducer

from streams.broker.java import Runtime
from streams.broker.node import answers, prepare
from streams.settings import load_settings
from streams.transport import clients
from streams.transport.topics import Names, create_missing
from tests.worlds.places import ROOT

HEAP = "512m"  # compose gives each 768: the cleaner alone takes 128
NODES = ("kafka-1", "kafka-2", "kafka-3")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Cluster:
    """Nodes of compose.yaml as processes of this machine: other addresses and folders, the same settings."""

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        self.runtime, self.folder = runtime, folder
        self.ports = {(name, inner): free_port() for name in NODES for inner in ("9092", "9093")}
        self.given = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{self.ports[name, '9092']}" for name in NODES)

    def start(self, name: str) -> None:
        """As the image of Apache Kafka does it: variables become properties, then the folder is formatted."""
        environment = self.given[name]["environment"]
        said = {
            variable.removeprefix("KAFKA_").lower().replace("_", "."): self._here(name, str(value))
            for variable, value in environment.items()
            if variable.startswith("KAFKA_") and variable != "KAFKA_HEAP_OPTS"
        }
        said["log.dirs"] = str(self.folder / name / "data")
        file = self.folder / name / "server.properties"
        file.parent.mkdir()
        file.write_text("".join(f"{key}={value}\n" for key, value in said.items()))
        tool = (
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={environment['CLUSTER_ID']}",
            "-c",
            str(file),
        )
        with (self.folder / f"{name}.log").open("wb") as log:
            subprocess.run(self.runtime.command(HEAP, *tool), check=True, stdout=log, stderr=log)
            command = self.runtime.command(HEAP, "kafka.Kafka", str(file))
            self.running[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def wait(self, seconds: float = 180) -> None:
        """Until all nodes answer; fails with the log of one that has ended."""
        end = time.monotonic() + seconds
        for name, process in self.running.items():
            while not answers(self.ports[name, "9092"]):
                assert process.poll() is None, (self.folder / f"{name}.log").read_text()[-3000:]
                assert time.monotonic() < end, f"{name} does not answer"
                time.sleep(0.2)

    def _here(self, name: str, value: str) -> str:
        def port(found: re.Match[str]) -> str:
            return f"127.0.0.1:{self.ports[found.group(1) or name, found.group(2)]}"

        return re.sub(r"(kafka-\d)?:(909[23])\b", port, value)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    settings = load_settings()
    made = Cluster(prepare(settings.cache_dir, settings.broker_jars, print), tmp_path)
    with ExitStack() as ends:
        for name in NODES:
            made.start(name)
            ends.callback(made.running[name].kill)
        made.wait()
        yield made


@pytest.mark.drill
@pytest.mark.timeout(600)
def test_the_three_nodes_are_a_cluster_that_does_without_one(cluster: Cluster, tmp_path: Path) -> None:
    settings = load_settings(
        bootstrap_servers=cluster.bootstrap, partitions=4, replication=3, data_dir=tmp_path / "data"
    )
    topics = Names(settings.prefix)
    with clients.admin(settings) as admin:
        create_missing(admin, settings)
        described = admin.describe_topics([topics.clicks])[0]
    assert [len(each["replica_nodes"]) for each in described["partitions"]] == [3] * 4

    cluster.running["kafka-2"].kill()
    producer = KafkaProducer(bootstrap_servers=cluster.bootstrap.split(","), acks="all", retries=20)
    sent = [producer.send(topics.clicks, b"{}", partition=number) for number in range(4)]
    assert {each.get(120).partition for each in sent} == {0, 1, 2, 3}
    producer.close(10)
