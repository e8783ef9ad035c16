"""Begins anew: takes away what users and clicks have left under one prefix, in Kafka and in the data folder.

Owns what belongs to that. Releases stay in their store, since they can be entered again; so do the broker,
its other topics, and what was downloaded. Whoever calls it asks first.
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import fsspec

from streams.settings import Settings
from streams.traffic.known import Known, place_of
from streams.transport import clients
from streams.transport.topic_reader import bounds_of
from streams.transport.topics import Names, partition_counts

# Of the data folder; what belongs to a place in the group, to the broker, to releases or to a cache stays.
_FOLDERS = ("trainer", "spilled", "aside", "suspicions", "faust")
_GONE_S = 30.0


class ResetError(Exception):
    """It cannot be begun anew now: says why, and what to do."""


@dataclass(frozen=True)
class Remains:
    """What would be deleted. `records`: by topic how many it holds, at most (some may be compacted)."""

    records: dict[str, int]
    groups: list[str]
    folders: list[Path]
    history: str | None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to delete."""
        return not (self.records or self.groups or self.folders or self.history)


def remains(settings: Settings) -> Remains:
    """What there is under the prefix and in the data folder. Raises ResetError while processes run."""
    names = Names(settings.prefix)
    groups = names.worker_group, f"{settings.prefix}learner"
    with clients.admin(settings) as admin:
        for group, what in zip(groups, ("workers", "a learner"), strict=True):
            if clients.members(admin, group):
                raise ResetError(
                    f"{what} of the prefix {settings.prefix} still run; stop them first, then run "
                    "`nextclick reset` again (of those that were killed the broker knows for up to 20 s more)"
                )
        counts = partition_counts(admin, names.all())
        listed = {each["group_id"] for each in admin.list_groups()}
    records = {
        name: sum(end - first for first, end in bounds_of(settings, name).values())
        for name, count in counts.items()
        if count
    }
    local = [settings.data_dir / name for name in _FOLDERS]
    local.append(settings.data_dir / "events" / settings.prefix.rstrip("."))
    filesystem, path = fsspec.core.url_to_fs(settings.history_url)
    return Remains(
        records,
        [group for group in groups if group in listed],
        [folder for folder in local if folder.exists()],
        settings.history_url if filesystem.exists(path) else None,
    )


def reset(settings: Settings, found: Remains) -> None:
    """Deletes what was found, and waits until the broker has no such topic any more."""
    if Names(settings.prefix).clicks in found.records:
        Known(settings, place_of(settings)).forget()
    with clients.admin(settings) as admin:
        existing = [
            name for name, count in partition_counts(admin, Names(settings.prefix).all()).items() if count
        ]
        if existing:
            admin.delete_topics(existing)
        if found.groups:
            admin.delete_groups(found.groups)
        deadline = time.monotonic() + _GONE_S
        while any(partition_counts(admin, existing).values()):
            if time.monotonic() > deadline:
                raise ResetError(
                    f"the broker still lists topics {_GONE_S:.0f} s after their deletion; it may not allow "
                    "it (delete.topic.enable), or run `nextclick reset` again later"
                )
            time.sleep(0.2)
    for folder in found.folders:
        shutil.rmtree(folder)
    if found.history:
        filesystem, path = fsspec.core.url_to_fs(found.history)
        filesystem.rm(path, recursive=True)
