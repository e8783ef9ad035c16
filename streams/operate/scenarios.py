"""The topic `scenarios` as an operator sees it: which rules are in force, what was wrong, and writing others.

Owns reading it to its end that it has now, and sending to it. What is strange about rules is
`streams.operate.rules_review`'s business; what rules do, the hot path's.
"""

import json
from typing import Any

import msgspec

from streams.settings import Settings
from streams.transport import clients
from streams.transport.standing import Standing, Standings
from streams.transport.topic_reader import TopicMissing, read_to_end
from streams.transport.topics import Names, create_missing
from streams.wire.contract import UNREADABLE, Rules, decode_rules, decode_tombstone, encode

_LISTS = ("boost", "bury", "caps", "pin", "block", "fill")


class ScenarioUnknown(LookupError):  # noqa: N818
    """A scenario that nobody has defined: says how to define it."""


class NotFit(ValueError):  # noqa: N818
    """Rules that workers would refuse: says what is wrong with them, and where."""


def standing(settings: Settings) -> dict[str, Standing]:
    """All scenarios that somebody has defined, by name; nothing where there is no such topic yet."""
    topic = Names(settings.prefix).scenarios
    standings = Standings(topic)
    try:
        for record in read_to_end(settings, topic):
            standings.take(record)
    except TopicMissing:
        return {}
    return {name: standings.found[name] for name in sorted(standings.found)}


def standing_of(settings: Settings, name: str) -> Standing:
    """One scenario. Raises ScenarioUnknown."""
    known = standing(settings)
    if name not in known:
        others = f" (there are {', '.join(known)})" if known else ""
        raise ScenarioUnknown(
            f"nobody has defined the scenario {name!r}{others}; `nextclick scenarios put {name}` does"
        )
    return known[name]


def put(settings: Settings, name: str, rules: Rules) -> int:
    """Sends a scenario's rules, and returns the record's offset once it is acknowledged. Raises NotFit."""
    value = encode(msgspec.structs.replace(rules, scenario=name))
    try:
        decode_tombstone(name.encode())
        decode_rules(value)
    except UNREADABLE as error:
        raise NotFit(f"nothing was sent: {error}") from error
    return _send(settings, name, value)


def delete(settings: Settings, name: str) -> None:
    """Takes a scenario's rules away. Raises ScenarioUnknown where it has none."""
    standing_of(settings, name)
    _send(settings, name, None)


def changes(before: Rules | None, after: Rules) -> list[str]:
    """What differs, a line for each setting: `k: 10 became 6`, `block: i4 added`."""
    old = {} if before is None else msgspec.to_builtins(before)
    new = msgspec.to_builtins(after)
    lines = []
    for name in Rules.__struct_fields__:
        if name in ("scenario", "v") or old.get(name) == new.get(name):
            continue
        if name in _LISTS:
            lines += _changed_list(name, old.get(name, []), new.get(name, []))
        elif name not in new:
            lines.append(f"{name}: {_text(old[name])} taken away")
        elif name not in old:
            lines.append(f"{name}: {_text(new[name])}")
        else:
            lines.append(f"{name}: {_text(old[name])} became {_text(new[name])}")
    return lines


def _changed_list(name: str, old: list[Any], new: list[Any]) -> list[str]:
    lines = [
        f"{name}: {_some(which)} {what}"
        for which, what in (
            ([each for each in new if each not in old], "added"),
            ([each for each in old if each not in new], "taken away"),
        )
        if which
    ]
    return lines or [f"{name}: in another order"]


def _some(values: list[Any], most: int = 5) -> str:
    return ", ".join(map(_text, values[:most])) + (
        f" and {len(values) - most:,} more" if len(values) > most else ""
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _send(settings: Settings, name: str, value: bytes | None) -> int:
    with clients.admin(settings) as admin:
        create_missing(admin, settings)
    with clients.producer(settings, linger_ms=0) as sender:
        topic = Names(settings.prefix).scenarios
        offset: int = sender.send(topic, key=name.encode(), value=value).get(timeout=30).offset
    return offset
