"""Whether the process of this container answers: an api at /healthz, any other at its /metrics.

    healthy.py [--ready]

With --ready: whether it is ready, too, as the api's /readyz or the figure of a worker or learner says. Ends
with 0 or 1, as a container's health check and Kubernetes' probes want it. Knows nothing of Nextclick but
these addresses.
"""

import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping

WAIT_SECONDS = 3.0
NOT_READY = re.compile(r"^nextclick_(?:learner_|api_)?ready 0(?:\.0)?$", re.M)


def told(port: str, path: str) -> str | None:
    """What is answered there; None where nothing is, or no success."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=WAIT_SECONDS) as answer:
            return str(answer.read().decode(errors="replace"))
    except (urllib.error.URLError, OSError):
        return None


def healthy(environment: Mapping[str, str], ready: bool) -> bool:
    """Whether the process lives; `ready`: and can do its work."""
    api, metrics = (
        environment.get("NEXTCLICK_API_PORT", "8080"),
        environment.get("NEXTCLICK_METRICS_PORT", "9464"),
    )
    if told(api, "/healthz") is not None:
        return not ready or told(api, "/readyz") is not None
    figures = told(metrics, "/metrics")
    return figures is not None and not (ready and NOT_READY.search(figures))


if __name__ == "__main__":
    sys.exit(not healthy(os.environ, "--ready" in sys.argv[1:]))
