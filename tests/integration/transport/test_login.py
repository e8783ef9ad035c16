"""A broker that asks for a login: the settings reach both clients, and a wrong password is told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from learner.data.catalogue import Item
from streams.broker.node import EmbeddedBroker, _free_port
from streams.operate import watching
from streams.settings import Settings, load_settings
from streams.traffic.catalogue import send_items
from streams.transport import clients
from tests.worlds.system import System

LOGIN = (
    "org.apache.kafka.common.security.plain.PlainLoginModule required "
    'username="broker" password="secret" user_broker="secret" user_me="hush";'
)


class GuardedBroker(EmbeddedBroker):
    """The embedded broker with a second listener that asks for name and password."""

    def _configure(self, controller_port: int) -> Path:
        path = super()._configure(controller_port)
        self.guarded_port = _free_port()
        text = path.read_text()
        for name in ("listeners", "advertised.listeners"):
            text = text.replace(
                f"\n{name}=PLAINTEXT://127.0.0.1:{self.port}",
                f"\n{name}=PLAINTEXT://127.0.0.1:{self.port},SASL_PLAINTEXT://127.0.0.1:{self.guarded_port}",
            )
        text = text.replace("=PLAINTEXT:PLAINTEXT", "=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT")
        text += "sasl.enabled.mechanisms=PLAIN\n"
        text += f"listener.name.sasl_plaintext.plain.sasl.jaas.config={LOGIN}\n"
        path.write_text(text)
        return path


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedBroker]:
    folder = tmp_path_factory.mktemp("guarded")
    with GuardedBroker(folder, port=0, cache=load_settings().cache_dir) as broker:
        yield broker


def _settings(broker: GuardedBroker, password: str) -> Settings:
    return load_settings(
        bootstrap_servers=f"127.0.0.1:{broker.guarded_port}", security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN", sasl_plain_username="me", sasl_plain_password=password,
    )  # fmt: skip


def test_all_clients_log_in(guarded: GuardedBroker) -> None:
    settings = _settings(guarded, "hush")
    send_items(settings, [Item(item_id="i1", title="One")])  # admin, then aiokafka
    assert watching.Titles.read(settings).of("i1") == "One"  # kafka-python


def test_a_worker_logs_in(guarded: GuardedBroker, release: Path, tmp_path: Path) -> None:
    """Faust's consumer, aiokafka's producer and readers: a click is answered and its state kept."""
    plain = load_settings(
        bootstrap_servers=guarded.bootstrap_servers, prefix="login.", clock="stream", data_dir=tmp_path
    )
    system = System(plain, tmp_path, release)
    login = {
        "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_plain_username": "me",
        "sasl_plain_password": "hush",
    }  # fmt: skip
    sets = [word for name, value in login.items() for word in ("--set", f"{name}={value}")]
    try:
        system.start("worker", "--bootstrap-servers", f"127.0.0.1:{guarded.guarded_port}", *sets)
        system.wait_for(lambda: "partitions assigned" in system.said("worker"), "the worker's partitions")
        assert len(system.answer(system.click("u", "1", 893_000_000_000))["items"]) == 10
        system.wait_for(lambda: "u" in system.states(), "the state")
        assert "hush" not in system.said("worker")
        assert system.stop("worker") == 0
    finally:
        system.close()


def test_a_wrong_password_is_told(guarded: GuardedBroker) -> None:
    with pytest.raises(clients.BrokerUnreachable, match=r"over SASL_PLAINTEXT.*check .*the login"):
        clients.admin(_settings(guarded, "wrong"))
