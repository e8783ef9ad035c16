"""`nextclick api`: an HTTP server between browsers and the topics.

Owns how it starts and ends. It keeps nothing that it cannot read again, so any number may run at once.
"""

import contextlib
import ipaddress
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

import structlog
import uvicorn

from streams.api.app import make_app, with_slashes
from streams.api.origins import with_origins
from streams.api.parts import Parts
from streams.api.protocol import Protocol
from streams.runtime.event_loop import fast_loops, few_arenas
from streams.settings import Settings, SettingsError
from streams.transport.key_table import KeyTable, standing_keys

log = structlog.get_logger()

_STOP_SECONDS = 5
_END_SECONDS = 9.0  # then what is left is left behind: all that was acknowledged is safe
_BACKLOG = 4096
_LOCAL = ("localhost",)


class Refused(SettingsError):  # noqa: N818 (it says what became of the wish)
    """An address that the api may not listen on."""


class Server(uvicorn.Server):
    """Tells open streams that it ends, so that they do not hold it up."""

    def __init__(self, config: uvicorn.Config, parts: Parts) -> None:
        super().__init__(config)
        self._parts = parts

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or Ctrl-C; a second Ctrl-C waits for nobody. An orderly end is no failure."""
        self._parts.close_streams()
        if frame is not None and not self.should_exit:  # threads may be waiting for a broker that is gone
            deadline = threading.Timer(_END_SECONDS, _left_behind)
            deadline.daemon = True
            deadline.start()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def _left_behind() -> None:
    log.warning("ended before all was stopped: does the broker answer?", seconds=_END_SECONDS)
    os._exit(os.EX_OK)


def is_loopback(host: str) -> bool:
    """Whether nobody outside this machine can reach the address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() in _LOCAL


def many_files() -> None:
    """Lets this process have as many open connections as the system allows it; each is a file."""
    if sys.platform == "win32":
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def check_reach(settings: Settings, keys: Callable[[Settings], KeyTable] = standing_keys) -> bool:
    """Whether others can reach the address. Raises Refused where there are no keys, BrokerUnreachable."""
    if is_loopback(settings.api_host):
        return False
    now_ms = int(time.time() * 1000)
    if not any(each.in_force(now_ms) for each in keys(settings).by_name.values()):
        raise Refused(
            f"api_host {settings.api_host}: others could reach it and there are no keys; make one with "
            "`nextclick keys add NAME --scope read` (or write, admin, public), or listen on 127.0.0.1"
        )
    return True


def listening(settings: Settings) -> socket.socket:
    """The socket, bound; raises Refused for an address that is taken."""
    host = settings.api_host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host.strip("[]"), settings.api_port))
    except OSError as error:
        bound.close()
        raise Refused(
            f"cannot listen on {host}:{settings.api_port} ({error.strerror or error}); "
            "choose another one with --port"
        ) from error
    bound.listen(_BACKLOG)
    bound.set_inheritable(True)
    return bound


def run(settings: Settings) -> None:
    """Serves until it is stopped."""
    needs_key = check_reach(settings)
    bound = listening(settings)
    many_files()
    fast_loops()
    few_arenas()
    parts = Parts(settings, needs_key)
    app = parts.traces.around(parts.measured.around(make_app(parts)))
    app = with_origins(with_slashes(app), parts.keys)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="on", http=Protocol, server_header=False,
        date_header=False, timeout_graceful_shutdown=_STOP_SECONDS, timeout_keep_alive=75, backlog=_BACKLOG,
    )  # fmt: skip
    host, port = bound.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    log.info(
        "api listens", address=f"http://{shown}:{port}", pid=os.getpid(), docs=f"http://{shown}:{port}/docs"
    )
    parts.measured.listen(parts, port)
    server = Server(config, parts)
    parts.on_refused = lambda: server.handle_exit(signal.SIGTERM, None)
    server.run(sockets=[bound])
    parts.traces.close()
    log.info("api stopped")
    if parts.brokers.refused is not None:
        raise parts.brokers.refused
    if not server.started:
        sys.exit(os.EX_SOFTWARE)
