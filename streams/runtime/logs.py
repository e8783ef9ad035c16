"""What a process logs: events of the project from a level on, and of the Kafka clients only errors.

Owns the configuration of logging. Whoever starts a process calls `set_up` once.
"""

import logging
import re
import time

import structlog

SELDOM_SECONDS = 60.0
_MOST_MESSAGES = 1000  # remembered; clients have some hundred
_VARYING = re.compile(r"\d+")
# What is no fault, by the name of the error that a client logs: a coordinator that a new broker has not
# chosen yet or is still reading its log, and a request that its own client has given up, being closed.
_NORMAL = frozenset(
    {
        "Cancelled", "CoordinatorLoadInProgressError", "CoordinatorNotAvailableError",
        "GroupCoordinatorNotAvailableError", "GroupLoadInProgressError",
    }
)  # fmt: skip


class Seldom(logging.Filter):
    """Lets each message of each logger through once in `SELDOM_SECONDS`, whatever its arguments and numbers.

    While a broker is away the clients say so dozens of times a second.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        message, now = (record.name, _VARYING.sub("#", str(record.msg))[:200]), time.monotonic()
        if now - self._last.get(message, -SELDOM_SECONDS) < SELDOM_SECONDS:
            return False
        if len(self._last) >= _MOST_MESSAGES:
            self._last.clear()
        self._last[message] = now
        return True


def open_still(record: logging.LogRecord) -> bool:
    """Whether a record tells of anything but a connection that its own client has just closed.

    A kafka-python client that closes while its network thread waits to read makes that thread find no
    socket, and log an error with a traceback of what is an ordinary end.
    """
    told_of = record.args[0] if isinstance(record.args, tuple) and record.args else None
    is_closing = getattr(told_of, "is_closing", None)  # an asyncio-like transport of the client's
    return is_closing is None or not is_closing()


def out_of_order(record: logging.LogRecord) -> bool:
    """Whether a record tells of anything but what is normal while brokers and clients come and go."""
    told_of = record.args if isinstance(record.args, tuple) else ()
    return not any(type(each).__name__ in _NORMAL for each in told_of)


def set_up(level: str) -> None:
    """Events below `level` (a word such as "warning") are dropped.

    The clients' warnings tell of retries, which is what retries are for.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s [%(levelname)s] %(name)s: %(message)s"))
    handler.addFilter(open_still)
    handler.addFilter(out_of_order)
    handler.addFilter(Seldom())
    for client in ("aiokafka", "kafka", "opentelemetry"):
        logger = logging.getLogger(client)
        logger.setLevel(logging.ERROR)
        logger.handlers, logger.propagate = [handler], False
