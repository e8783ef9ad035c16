"""Clients for the configured brokers.

Owns how settings become arguments of kafka-python and aiokafka, and the errors that say a broker
cannot be reached or lets nobody in. Knows no topics and no messages; secrets are `login`'s.
"""

import asyncio
import contextlib
import logging
import os
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError

from streams.settings import Settings
from streams.transport import login
from streams.transport.refused import refusal

# Enough for a laptop that starts a JVM beside the command, short enough not to look hung.
BOOTSTRAP_TIMEOUT_MS = 5_000
_LET_GO_SECONDS = 1.0


class BrokerUnreachable(Exception):  # noqa: N818 (read aloud in messages: "broker unreachable")
    """No configured broker answers: the message names them and what to do."""

    exit_code = os.EX_TEMPFAIL  # 75: a start again is what helps


class LoginRefused(BrokerUnreachable):
    """The brokers do not take this client's login or certificate, or theirs is not to be trusted."""

    exit_code = os.EX_CONFIG  # 78: a start again would end in the same way


def connection(settings: Settings) -> dict[str, Any]:
    """Arguments with which any kafka-python client reaches the brokers. Raises SettingsError."""
    arguments = _arguments(settings)
    if settings.sasl_mechanism == "OAUTHBEARER" and settings.sasl_token_command:
        arguments["sasl_oauth_token_provider"] = login.kafka_token(settings.sasl_token_command)
    return arguments


def async_connection(settings: Settings) -> dict[str, Any]:
    """Arguments with which any aiokafka client reaches the brokers. Raises SettingsError."""
    arguments = _arguments(settings)
    if settings.sasl_mechanism == "OAUTHBEARER" and settings.sasl_token_command:
        arguments["sasl_oauth_token_provider"] = login.async_token(settings.sasl_token_command)
    # aiokafka checks the mechanism even where no login takes place.
    return {name: value for name, value in arguments.items() if value is not None}


def _arguments(settings: Settings) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers.split(","),
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = settings.sasl_mechanism
        if settings.sasl_mechanism != "OAUTHBEARER":
            arguments["sasl_plain_username"] = settings.sasl_username
            arguments["sasl_plain_password"] = login.password(settings)
    if settings.security_protocol.endswith("SSL"):
        arguments["ssl_context"] = login.Certificates.of(settings)
    return arguments


class _Letting(set[Any]):
    """Batches of a producer that is let go of: one that is gone already is no error."""

    remove = set.discard


async def abandon(client: Any) -> None:
    """Lets go of an aiokafka client whose `stop` waits for a broker: what it still has is lost."""
    from aiokafka.errors import KafkaTimeoutError as Expired

    task = getattr(getattr(client, "_sender", None), "sender_task", None)
    if task is not None:
        task.cancel()
    if (waiting := getattr(client, "_message_accumulator", None)) is not None:
        batches = [batch for each in waiting._batches.values() for batch in each]
        # aiokafka takes each batch out of these when it is done, also one that waits to be sent again, or
        # that a request which fails in the same moment has taken out before.
        waiting._pending_batches = _Letting((*waiting._pending_batches, *batches))
        waiting.fail_all(Expired("let go of: no broker answers"))
        for batch in waiting._pending_batches:
            if batch._drain_waiter.done() and not batch._drain_waiter.cancelled():
                batch._drain_waiter.exception()  # looked at: nobody waits for it
    inner = getattr(client, "client", None) or getattr(client, "_client", None)
    if inner is not None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_LET_GO_SECONDS):
                await inner.close()


def follow_moves(client: Any) -> None:
    """Makes an aiokafka client ask the configured addresses again where no broker that it knows answers.

    By itself it would ask those for ever that it has once been told of, also where all have moved. Each new
    connection is made with what password and certificates are then.
    """
    from aiokafka.client import ConnectionGroup, create_conn  # commands that read only do without them
    from aiokafka.errors import KafkaError as AsyncKafkaError

    login.renewing(client)
    update = client._metadata_update

    async def updated(cluster: Any, topics: Any) -> bool:
        if await update(cluster, topics):
            return True
        login.renew(client)
        for host, port, _ in client.hosts:
            try:
                asked = await create_conn(
                    host, port, client_id=client._client_id, request_timeout_ms=client._request_timeout_ms,
                    ssl_context=client._ssl_context, security_protocol=client._security_protocol,
                    max_idle_ms=client._connections_max_idle_ms, sasl_mechanism=client._sasl_mechanism,
                    sasl_plain_username=client._sasl_plain_username,
                    sasl_plain_password=client._sasl_plain_password,
                    sasl_oauth_token_provider=client._sasl_oauth_token_provider,
                )  # fmt: skip
            except (OSError, AsyncKafkaError, TimeoutError):
                continue
            # Not by the client's own bootstrap: that asks for no topic, and readers would begin anew.
            client._conns["bootstrap", ConnectionGroup.DEFAULT] = asked
            return bool(await update(cluster, topics))
        return False

    client._metadata_update = updated


def admin(settings: Settings) -> KafkaAdminClient:
    """An administration client; close it, or use it in a `with`. Every process begins with one."""
    _raise_refusal(settings)  # at once, and not when kafka-python's patience ends
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
        _raise_refusal(settings)
        raise BrokerUnreachable(
            f"{where} over {settings.security_protocol}{why}; check the address, and that it is the one for "
            f"{settings.security_protocol}: `nextclick settings` shows what is in force"
        ) from error


def _raise_refusal(settings: Settings) -> None:
    """Raises LoginRefused where that is what is wrong."""
    if settings.security_protocol != "PLAINTEXT" and (
        refused := refusal(settings, async_connection(settings))
    ):
        raise LoginRefused(refused) from None
