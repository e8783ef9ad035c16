"""Brokers that let in only whom they know: clients get in over TLS with each kind of login, or say why."""

import asyncio
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from learner.data.catalogue import Item
from streams.operate import watching
from streams.settings import Settings, load_settings
from streams.traffic.catalogue import send_items
from streams.transport import clients
from tests.worlds.guarded import PASSWORD, Authority, GuardedBroker, environment, unsigned_token
from tests.worlds.places import ROOT
from tests.worlds.system import System


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedBroker]:
    folder = tmp_path_factory.mktemp("guarded")
    with GuardedBroker(folder, port=0, cache=load_settings().cache_dir) as broker:
        broker.set_scram("me", PASSWORD)
        yield broker


def _logins(guarded: GuardedBroker, folder: Path) -> dict[str, dict[str, Any]]:
    certificate, key = guarded.authority.vouch("client")
    token = folder / "token"
    token.write_text(unsigned_token(3600))
    return {
        "plain": guarded.secure("PLAIN"),
        "scram-256": guarded.secure("SCRAM-SHA-256"),
        "scram-512": guarded.secure("SCRAM-SHA-512"),
        "certificate": guarded.secure(None, ssl_certfile=certificate, ssl_keyfile=key),
        "token": guarded.secure("OAUTHBEARER", sasl_token_command=f"cat {token}"),
    }


@pytest.mark.parametrize("kind", ["plain", "scram-256", "scram-512", "certificate", "token"])
def test_both_clients_get_in(guarded: GuardedBroker, tmp_path: Path, kind: str, prefix: str) -> None:
    settings = load_settings(**_logins(guarded, tmp_path)[kind], prefix=prefix)
    send_items(settings, [Item(item_id="i1", title="One")])  # admin, then aiokafka
    assert watching.Titles.read(settings).of("i1") == "One"  # kafka-python


@pytest.mark.parametrize("kind", ["scram-512", "token"])
def test_all_processes_answer_over_tls(
    guarded: GuardedBroker, release: Path, tmp_path: Path, kind: str, prefix: str
) -> None:
    """Worker, learner, api, commands: a click is answered, and no secret is said or stands in a command."""
    login = _logins(guarded, tmp_path)[kind]
    login.pop("bootstrap_servers")
    secret = tmp_path / "password"
    secret.write_text(f"{PASSWORD}\n")
    if kind != "token":
        login |= {"sasl_password": None, "sasl_password_file": secret}
    plain = load_settings(
        bootstrap_servers=guarded.bootstrap_servers, prefix=prefix, clock="stream", data_dir=tmp_path
    )
    system, env = System(plain, tmp_path, release), environment(login)
    address = f"127.0.0.1:{guarded.ports['TOKEN' if kind == 'token' else 'SECURE']}"
    try:
        system.start("worker", "--bootstrap-servers", address, "--set", "stop_seconds=60", env=env)
        if kind != "token":
            system.start("learner", "--bootstrap-servers", address, env=env)
            system.start("api", "--bootstrap-servers", address, "--port", "0", env=env)
            system.wait_for(lambda: "learner ready" in system.said("learner"), "the learner")
            where = re.search(r"http://127\.0\.0\.1:\d+", system.said("api"))
            assert where is not None
        system.wait_for(lambda: "partitions assigned" in system.said("worker"), "the worker's partitions")
        assert len(system.answer(system.click("u", "1", 893_000_000_000))["items"]) == 10
        system.wait_for(lambda: "u" in system.states(), "the state")
        said = _nextclick("recommend", "u", "--bootstrap-servers", address, "--prefix", prefix, env=env)
        assert said.stdout.startswith("u, release"), said
        if kind != "token":
            system.wait_for(lambda: system.read("signals"), "signals")
            address = f"{where[0]}/v1/users/u/recommendations"
            system.wait_for(lambda: "recommendation_id" in _got(address), "a list over HTTP")
        words = [child.process.args for child in system.fleet.children.values()]
        assert PASSWORD not in str(words)
        for name in [*system.fleet.children]:
            assert PASSWORD not in system.said(name)
            assert system.stop(name, 90) == 0
    finally:
        system.close()


@pytest.mark.parametrize(
    ("kind", "wrong", "told"),
    [
        ("scram-512", {"sasl_password": "wrong-one"}, r"refuses the login of me by SCRAM-SHA-512"),
        ("plain", {"sasl_password": "wrong-one"}, r"refuses the login of me by PLAIN"),
        ("plain", {"ssl_cafile": "stranger"}, r"is not vouched for by .*ca\.pem"),
        ("certificate", {"ssl_certfile": None, "ssl_keyfile": None}, r"not take this client's certificate"),
        ("token", {"sasl_token_command": "echo no-token"}, r"refuses the login by OAUTHBEARER"),
        ("token", {"sasl_token_command": "ls /nowhere"}, r"sasl_token_command ended with exit code"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(
    guarded: GuardedBroker, tmp_path: Path, kind: str, wrong: dict[str, Any], told: str
) -> None:
    if "ssl_cafile" in wrong:
        wrong = {"ssl_cafile": Authority(tmp_path / "stranger").cafile}
    with pytest.raises(clients.LoginRefused, match=told) as refused:
        clients.admin(load_settings(**_logins(guarded, tmp_path)[kind] | wrong))
    assert refused.value.exit_code == os.EX_CONFIG
    assert "wrong-one" not in str(refused.value)


def test_every_process_ends_with_one_line(guarded: GuardedBroker, tmp_path: Path) -> None:
    env = environment(guarded.secure("SCRAM-SHA-256", sasl_password="wrong-one", data_dir=tmp_path))
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "streams", *words], env={**os.environ, **env}, cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for words in (["worker"], ["learner"], ["api", "--port", "0"], ["topics", "describe"])
    ]  # fmt: skip
    for process in running:
        said, _ = process.communicate(timeout=120)
        assert process.returncode == os.EX_CONFIG, said
        assert said.count("error: ") == 1, said
        assert "refuses the login of me" in " ".join(said.split())
        assert "Traceback" not in said
        assert "wrong-one" not in said


def test_a_password_that_changes_is_read_again(guarded: GuardedBroker, tmp_path: Path) -> None:
    guarded.set_scram("changing", "first")
    secret = tmp_path / "password"
    secret.write_text("first")
    settings = load_settings(
        **guarded.secure(
            "SCRAM-SHA-256", sasl_username="changing", sasl_password=None, sasl_password_file=secret
        )
    )

    async def goes_on() -> bool:
        producer = AIOKafkaProducer(**clients.async_connection(settings))
        clients.follow_moves(producer.client)
        await producer.start()
        try:
            await asyncio.to_thread(guarded.set_scram, "changing", "second")
            for connection in list(producer.client._conns.values()):
                connection.close()
            assert not await producer.client.force_metadata_update()  # the old one does not let it in
            secret.write_text("second")
            return bool(await producer.client.force_metadata_update())
        finally:
            await producer.stop()

    assert asyncio.run(goes_on())


def _got(address: str) -> str:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:  # not ready yet
        return ""


def _nextclick(*words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streams", *words], env={**os.environ, **env}, cwd=ROOT, capture_output=True,
        text=True, check=True, timeout=120,
    )  # fmt: skip


def test_the_settings_of_the_test_are_masked(guarded: GuardedBroker) -> None:
    settings: Settings = load_settings(**guarded.secure("PLAIN"))
    assert PASSWORD not in repr(settings) + str(settings.shown())
