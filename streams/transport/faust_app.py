"""The Faust app of a worker: every setting that the batch agent depends on, with its reason.

Knows nothing of agents and topics.
"""

from typing import Any

import faust
from faust.auth import OAuthCredentials
from faust.types.auth import CredentialsT

from streams.settings import Settings
from streams.transport import login

SESSION_SECONDS = 10.0  # a dead worker's partitions are given away after it; a paused one is fenced
HEARTBEAT_SECONDS = 2.0
COMMIT_SECONDS = 0.5  # what is read again after a crash, and then dropped by applied offsets


def new_app(
    group: str, settings: Settings, *, instance: str | None = None, session_seconds: float = SESSION_SECONDS
) -> Any:
    """A Faust app that joins consumer group `group` as static member `instance`.

    A restarted worker with the same `instance` gets its partitions back at once, without a rebalance.
    """
    folder = settings.data_dir / "faust" / (instance or group)
    folder.mkdir(parents=True, exist_ok=True)
    app = faust.App(
        group,
        broker=[f"kafka://{server}" for server in settings.bootstrap_servers.split(",")],
        broker_credentials=_credentials(settings),
        datadir=str(folder),
        consumer_group_instance_id=instance,
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=session_seconds,
        broker_heartbeat_interval=min(HEARTBEAT_SECONDS, session_seconds / 3),
        broker_commit_interval=COMMIT_SECONDS,
        stream_wait_empty=True,
        # Topics exist before the start (`nextclick topics create`), with the settings we want.
        topic_allow_declare=False,
        topic_disable_leader=True,
        # Faust's own web server binds to all interfaces and shows the contents of tables.
        web_enabled=False,
        # Standby replicas would swap the assignor for one that knows only Faust's tables.
        table_standby_replicas=0,
        producer_linger=0,
        autodiscover=False,
    )
    app.finalize()
    return app


def _credentials(settings: Settings) -> CredentialsT | None:
    context = login.Certificates.of(settings) if settings.security_protocol.endswith("SSL") else None
    if settings.security_protocol.startswith("SASL"):
        if settings.sasl_mechanism == "OAUTHBEARER" and settings.sasl_token_command:
            return OAuthCredentials(
                oauth_cb=login.async_token(settings.sasl_token_command), ssl_context=context
            )
        return faust.SASLCredentials(
            username=settings.sasl_username,
            password=login.password(settings),
            mechanism=settings.sasl_mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context is not None else None
