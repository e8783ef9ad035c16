"""Why brokers let nobody in: clients try again until their time is up, and tell the reason to a log alone.

Owns how the reason is found (kafka-python loses it: a broker closes right behind its word, and then both are
dropped) and what is said of it. Knows no client's life.
"""

import asyncio
import logging
import ssl
import threading
from typing import Any

from streams.settings import Settings

TRIAL_SECONDS = 3.0
# aiokafka's words for what a broker says to a login.
_REFUSED = frozenset(
    {
        "AuthenticationFailedError", "AuthenticationMethodNotSupported", "IllegalSaslState",
        "SaslAuthenticationFailed", "UnsupportedSaslMechanism", "UnsupportedSaslMechanismError",
    }
)  # fmt: skip


def refusal(settings: Settings, arguments: dict[str, Any]) -> str | None:
    """A line about a login or certificate that a broker does not take; None where that is not what is wrong.

    Connects once to each configured address, with `arguments` of an aiokafka client.
    """
    found: list[str | None] = [None]

    def look() -> None:
        found[0] = asyncio.run(_try_all(settings, arguments))

    # In a thread of its own: whoever asks may have an event loop here.
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join()
    return found[0]


def refused(error: BaseException) -> bool:
    """Whether an error tells of a login or certificate that was refused, or of a token that cannot be had."""
    return isinstance(error, ssl.SSLError) or type(error).__name__ in _REFUSED


def heard(record: logging.LogRecord) -> str | None:
    """What a record of aiokafka's log says of a refusal, None where of none."""
    for told in record.args if isinstance(record.args, tuple) else ():
        if isinstance(told, BaseException) and refused(told):
            return str(told) or type(told).__name__
    return None


async def _try_all(settings: Settings, arguments: dict[str, Any]) -> str | None:
    from aiokafka.client import AIOKafkaClient, create_conn

    given = {name: value for name, value in arguments.items() if name != "bootstrap_servers"}
    hosts = AIOKafkaClient(bootstrap_servers=settings.bootstrap_servers).hosts
    for host, port, _ in hosts:
        try:
            tried = await asyncio.wait_for(create_conn(host, port, **given), TRIAL_SECONDS)
        except Exception as error:
            if refused(error):
                return _in_words(error, f"{host}:{port}", settings)
            # Whether a client's certificate is missing is said behind the handshake; then the line is cut.
            if settings.security_protocol == "SSL" and await _listens(host, port, given["ssl_context"]):
                return _in_words(ssl.SSLError(0, "it ended the connection"), f"{host}:{port}", settings)
        else:
            taken = settings.sasl_mechanism != "OAUTHBEARER" or await _is_heard(tried)
            tried.close()
            if not taken:
                return _in_words(ConnectionError("it ended the connection"), f"{host}:{port}", settings)
    return None


async def _is_heard(connection: Any) -> bool:
    """Whether a broker answers; aiokafka takes its word on a bad token for the answer to the next request."""
    from aiokafka.client import MetadataRequest
    from aiokafka.errors import KafkaError

    try:
        answer = await asyncio.wait_for(connection.send(MetadataRequest([])), TRIAL_SECONDS)
    except (KafkaError, OSError, TimeoutError):
        return False
    return bool(answer.brokers)


async def _listens(host: str, port: int, context: ssl.SSLContext) -> bool:
    """Whether something there has a certificate that this client trusts."""
    try:
        async with asyncio.timeout(TRIAL_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
        writer.close()
    except (OSError, TimeoutError):
        return False
    return True


def _in_words(error: BaseException, address: str, settings: Settings) -> str:
    said, protocol = str(error) or type(error).__name__, settings.security_protocol
    if (command := said.find("sasl_token_command")) >= 0:
        return said[command:]
    if "WRONG_VERSION_NUMBER" in said or "RECORD_LAYER" in said:
        return f"{address} speaks no TLS; check the port, and security_protocol {protocol} ({said})"
    if isinstance(error, ssl.SSLCertVerificationError):
        authority = settings.ssl_cafile or "the authorities that this machine knows"
        return (
            f"the certificate of the broker at {address} is not vouched for by {authority}: check ssl_cafile "
            f"({said})"
        )
    if isinstance(error, ssl.SSLError):
        return (
            f"the broker at {address} does not take this client's certificate: ssl_certfile and ssl_keyfile "
            f"({said})"
        )
    who = f"of {settings.sasl_username} " if settings.sasl_username else ""
    return (
        f"the broker at {address} refuses the login {who}by {settings.sasl_mechanism}: check user and "
        f"password or token, and sasl_mechanism ({said})"
    )
