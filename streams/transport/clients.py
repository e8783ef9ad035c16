"""Clients for the configured brokers.

Owns how settings become arguments of kafka-python and aiokafka, and the error that says a broker
cannot be reached. Knows no topics and no messages.
"""

import logging
import os
import ssl
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError
from pydantic import SecretStr

from streams.settings import Settings, SettingsError

# Enough for a laptop that starts a JVM beside the command, short enough not to look hung.
BOOTSTRAP_TIMEOUT_MS = 5_000


class BrokerUnreachable(Exception):  # noqa: N818 (read aloud in messages: "broker unreachable")
    """No configured broker answers: the message names them and what to do."""

    exit_code = os.EX_TEMPFAIL  # 75: a start again is what helps


def connection(settings: Settings) -> dict[str, Any]:
    """Arguments with which any kafka-python client reaches the brokers."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers.split(","),
        "security_protocol": settings.security_protocol,
        "sasl_mechanism": settings.sasl_mechanism,
        "sasl_plain_username": settings.sasl_plain_username,
        "sasl_plain_password": settings.sasl_plain_password
        and settings.sasl_plain_password.get_secret_value(),
    }
    if settings.security_protocol.endswith("SSL"):
        arguments["ssl_context"] = ssl_context(settings)
    return arguments


def async_connection(settings: Settings) -> dict[str, Any]:
    """Arguments with which any aiokafka client reaches the brokers."""
    arguments = connection(settings)
    # aiokafka checks the mechanism even where no login takes place.
    return {name: value for name, value in arguments.items() if value is not None}


def follow_moves(client: Any) -> None:
    """Makes an aiokafka client ask the configured addresses again where no broker that it knows answers.

    By itself it would ask those for ever that it has once been told of, also where all have moved.
    """
    from aiokafka.client import ConnectionGroup, create_conn  # commands that read only do without them
    from aiokafka.errors import KafkaError as AsyncKafkaError

    update = client._metadata_update

    async def updated(cluster: Any, topics: Any) -> bool:
        if await update(cluster, topics):
            return True
        for host, port, _ in client.hosts:
            try:
                asked = await create_conn(
                    host, port, client_id=client._client_id, request_timeout_ms=client._request_timeout_ms,
                    ssl_context=client._ssl_context, security_protocol=client._security_protocol,
                    max_idle_ms=client._connections_max_idle_ms, sasl_mechanism=client._sasl_mechanism,
                    sasl_plain_username=client._sasl_plain_username,
                    sasl_plain_password=client._sasl_plain_password,
                )  # fmt: skip
            except (OSError, AsyncKafkaError, TimeoutError):
                continue
            # Not by the client's own bootstrap: that asks for no topic, and readers would begin anew.
            client._conns["bootstrap", ConnectionGroup.DEFAULT] = asked
            return bool(await update(cluster, topics))
        return False

    client._metadata_update = updated


def ssl_context(settings: Settings) -> ssl.SSLContext:
    """The TLS context that the ssl_* settings describe."""
    try:
        context = ssl.create_default_context(cafile=settings.ssl_cafile)
    except OSError as error:  # an SSLError is one
        raise SettingsError(
            f"ssl_cafile: {settings.ssl_cafile} holds no certificates in PEM form ({error})"
        ) from None
    context.check_hostname = settings.ssl_check_hostname
    if settings.ssl_certfile:
        try:
            # Without a password OpenSSL would ask for one at the terminal.
            context.load_cert_chain(
                settings.ssl_certfile, settings.ssl_keyfile, _revealed(settings.ssl_password) or ""
            )
        except OSError as error:
            raise SettingsError(
                f"ssl_certfile, ssl_keyfile and ssl_password do not fit together: {settings.ssl_certfile} "
                f"with the key in {settings.ssl_keyfile or settings.ssl_certfile} cannot be loaded ({error})"
            ) from None
    return context


def admin(settings: Settings) -> KafkaAdminClient:
    """An administration client; close it, or use it in a `with`."""
    return _connected(
        settings, KafkaAdminClient, bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS, request_timeout_ms=30_000
    )


def producer(settings: Settings, **options: Any) -> KafkaProducer:
    """A producer of keyed records, partitioned as Kafka's Java client does it."""
    return _connected(settings, KafkaProducer, **{"acks": "all", "linger_ms": 2, **options})


def consumer(settings: Settings, *topics: str, **options: Any) -> KafkaConsumer:
    """A consumer of what is committed; without `group_id` it commits nothing."""
    defaults = {"enable_auto_commit": False, "isolation_level": "read_committed"}
    return _connected(settings, KafkaConsumer, *topics, **(defaults | options))


def members(client: KafkaAdminClient, group: str) -> int:
    """How many members a consumer group has now; 0 where there is no such group."""
    # Asked first, because describing a group makes a new broker create its topic of offsets, and fail.
    if group not in {each["group_id"] for each in client.list_groups()}:
        return 0
    return len(client.describe_groups([group])[group].get("members") or ())


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _connected(settings: Settings, kind: Any, *topics: str, **options: Any) -> Any:
    for told_by_errors in ("kafka.net", "kafka.cluster"):  # those that are raised
        logging.getLogger(told_by_errors).setLevel(logging.CRITICAL)
    try:
        return kind(*topics, **connection(settings), **options)
    except KafkaError as error:
        where = f"no Kafka broker answers at {settings.bootstrap_servers}"
        why = "" if isinstance(error, KafkaTimeoutError) else f" ({error})"  # that only says the same
        if settings.security_protocol == "PLAINTEXT":
            raise BrokerUnreachable(
                f"{where}{why}; start one with `nextclick broker`, or name yours with "
                "--bootstrap-servers HOST:PORT; one that asks for a login or TLS needs security_protocol"
            ) from error
        # The client retries a refused login until its time is up, and then says only that.
        raise BrokerUnreachable(
            f"{where} over {settings.security_protocol}{why}; check the address, "
            "the login (sasl_…) and the certificates (ssl_…) in `nextclick settings`"
        ) from error
