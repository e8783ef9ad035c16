"""`/metrics`: a process's figures for Prometheus, on a port of its own.

Owns the port. It is off unless it is set, and a process goes on without it where the port is taken.
"""

import structlog
from prometheus_client import start_http_server

from streams.figures.registry import Figures
from streams.settings import Settings

log = structlog.get_logger()


def serve_metrics(settings: Settings, figures: Figures, above: int = 0) -> int | None:
    """Serves in a thread of its own until the process ends; returns the port, None where there is none.

    `above`: added to the setting, for a process that is another one's child.
    """
    if settings.metrics_port is None:
        return None
    host = settings.metrics_host.strip("[]")
    wanted = settings.metrics_port + above if settings.metrics_port else 0
    try:
        server, _ = start_http_server(wanted, host, figures.registry)
    except (OSError, OverflowError) as error:
        log.warning(
            "no /metrics: cannot listen there; all else goes on", host=host, port=wanted,
            error=getattr(error, "strerror", None) or str(error),
            mend="each process on a machine needs a metrics_port of its own; 0 takes any that is free",
        )  # fmt: skip
        return None
    port = int(server.server_port)
    log.info("metrics", process=figures.process, address=f"http://{settings.metrics_host}:{port}/metrics")
    return port
