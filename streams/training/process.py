"""The trainer's process: started by the learner, at the lowest priority, and gone when the learner is.

Owns the process's life: it is started again when it dies, waits after failures, and ends with its parent
however that ends. What it does is `trainer`'s.
"""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

import structlog
from kafka.errors import KafkaError

from streams.figures.record import Speaker
from streams.figures.scraped import serve_metrics
from streams.figures.sender import say_figures_beside
from streams.releases.roles import Roles
from streams.runtime import logs
from streams.settings import Settings
from streams.transport.absence import hush
from streams.transport.clients import BrokerUnreachable

log = structlog.get_logger()

POLL_SECONDS = 5.0  # between looks at topic and clock where there was nothing to do
LONGEST_WAIT_SECONDS = 300.0  # after failures in a row
QUIET_SECONDS = 3600.0  # that a learner which trains nothing does without the process
STOP_SECONDS = 4.0  # within `ending.AGAIN_SECONDS`, or the kill after it is left out


async def keep_trainer(
    settings: Settings, roles: Roles | None = None, poll_seconds: float = POLL_SECONDS,
    quiet_seconds: float = QUIET_SECONDS,
) -> None:  # fmt: skip
    """Keeps a trainer process running until cancelled; one that dies is started again, later each time.

    With `learn` none it trains nothing, but judges the candidates that operators enter and keeps clicks
    before their topic forgets them: it is started when `roles` have a candidate, or after `quiet_seconds`.
    """
    began = time.monotonic()
    while settings.learn == "none" and roles is not None and not roles.candidates:
        if time.monotonic() - began >= quiet_seconds:
            break
        await asyncio.sleep(min(1.0, quiet_seconds))
    wait = 1.0
    while True:
        started = time.monotonic()
        process, held = _start(settings, poll_seconds)
        log.info("trainer started", pid=process.pid)
        try:
            while process.is_alive():
                await asyncio.sleep(0.5)
        finally:
            held.close()
            process.terminate()
            await asyncio.to_thread(process.join, STOP_SECONDS)
            if process.is_alive():
                process.kill()
        if time.monotonic() - started > LONGEST_WAIT_SECONDS:
            wait = 1.0
        log.warning("the trainer has ended; it is started again", code=process.exitcode, seconds=wait)
        await asyncio.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT_SECONDS)


def _start(settings: Settings, poll_seconds: float) -> tuple[Any, Connection]:
    """A started process, and the end of a pipe that keeps it alive while it is open."""
    context = multiprocessing.get_context("spawn")  # a fork would share the learner's sockets and threads
    reader, writer = context.Pipe(duplex=False)
    values = {name: getattr(settings, name) for name in type(settings).model_fields}
    process = context.Process(target=run, args=(values, reader, poll_seconds), name="trainer", daemon=True)
    process.start()
    reader.close()
    return process, writer


def run(values: dict[str, Any], parent: Connection, poll_seconds: float = POLL_SECONDS) -> None:
    """The process: steps for ever. `values` are the settings as the learner has them."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with contextlib.suppress(AttributeError, OSError):
        os.nice(19)  # whatever else runs on this machine comes first
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the learner's, which ends this process
    settings = Settings(**values)
    logs.set_up(settings.log_level)
    hush()
    # Imported here: the learner itself must not pay for torch.
    from streams.training.figures import Measured
    from streams.training.trainer import Trainer
    from streams.training.wire import KafkaWire

    measured = Measured()
    say_figures_beside(settings, Speaker(measured.figures, "trainer"))
    serve_metrics(settings, measured.figures, above=1)  # the learner has the setting's own port
    trainer: Trainer | None = None
    wait = poll_seconds
    while True:
        try:
            trainer = trainer or Trainer(settings, KafkaWire(settings), measured=measured)
            if not trainer.step():
                time.sleep(poll_seconds)
            wait = poll_seconds
        except (
            KafkaError,
            BrokerUnreachable,
        ) as error:  # the learner says so; the clicks wait in Kafka
            log.debug("the trainer cannot reach the broker; it tries again", error=str(error))
            time.sleep(poll_seconds)
        except Exception as error:
            measured.failed()
            log.exception("the trainer failed; it tries again", error=str(error), seconds=wait)
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)


def _end_with(parent: Connection) -> None:
    """Waits for the other end of the pipe to close, which the kernel does when the parent dies."""
    with contextlib.suppress(EOFError, OSError):
        parent.recv()
    os._exit(0)
