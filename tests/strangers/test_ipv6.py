"""Brokers whose address is an IPv6 one: what they tell clients to use is one as well."""

import socket
from pathlib import Path

import pytest

from streams.broker.node import EmbeddedBroker
from streams.settings import load_settings
from tests.worlds.system import START_MS, System


def test_a_click_is_answered_and_the_doctor_content_where_only_ipv6_is_spoken(
    broker: EmbeddedBroker, prefix: str, release: Path, tmp_path: Path
) -> None:
    try:
        socket.create_connection(("::1", broker.port), 5).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    six = load_settings(bootstrap_servers=f"[::1]:{broker.port}", prefix=prefix, data_dir=tmp_path)
    system = System(six, tmp_path, release)
    where = ("--bootstrap-servers", six.bootstrap_servers, "--prefix", prefix, "--data-dir", str(tmp_path))
    try:
        system.start("worker")
        system.start("learner")
        system.wait_for(lambda: "partitions assigned" in system.said("worker"), "the worker has partitions")
        assert system.answer(system.click("u", "1", START_MS))["items"]
        doctor = system.fleet.start("doctor", *where, ends=True)
        system.fleet.finish(doctor)
        assert f"[::1]:{broker.port}" in system.said("doctor")
    finally:
        system.close()
