"""Topics: what is planned for each, and creation by several processes at once."""

from typing import Any

import pytest

from learner.data.times import DAY_MS
from streams.operate import topic_checks, topics_repair
from streams.settings import load_settings
from streams.transport import clients
from streams.transport.topics import (
    Names,
    TopicsError,
    check,
    create_missing,
    describe,
    plan,
    too_low,
)
from streams.wire import schema


class FakeAdmin:
    """Brokers with some topics; `before_create` is what another process does just before we create ours."""

    def __init__(self, counts: dict[str, int], before_create: dict[str, int] | None = None) -> None:
        self.counts = dict(counts)
        self.before_create = before_create or {}
        self.configs: dict[str, dict[str, str]] = {}

    def describe_configs(self, resources: list[Any], config_filter: str) -> dict[str, Any]:
        assert config_filter == "all"
        entries = {
            each.name: {key: {"value": value} for key, value in self.configs.get(each.name, {}).items()}
            for each in resources
        }
        return {"topic": entries}

    def alter_configs(self, resources: list[Any]) -> dict[str, Any]:
        for each in resources:
            self.configs[each.name] |= each.configs
        return {"topic": {each.name: "OK" for each in resources}}

    def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        return [
            {"name": name, "error_code": 0 if name in self.counts else 3,
             "partitions": [{}] * self.counts.get(name, 0)}
            for name in names
        ]  # fmt: skip

    def create_topics(self, topics: dict[str, Any], raise_errors: bool) -> dict[str, Any]:
        assert not raise_errors
        self.counts |= self.before_create
        results = []
        for name, options in topics.items():
            exists = name in self.counts
            if not exists:
                self.counts[name] = options["num_partitions"]
                self.configs[name] = options["configs"]
            results.append({"name": name, "error_code": 36 if exists else 0, "error_message": None})
        return {"topics": results}

    def wait_for_topics(self, names: list[str]) -> None:
        assert all(name in self.counts for name in names)

    def list_partition_offsets(self, places: dict[Any, Any], timeout_ms: int) -> None:
        assert all(place.partition < self.counts[place.topic] for place in places)


SETTINGS = load_settings(prefix="p.", partitions=4, retention_days=2)
NAMES = Names("p.")


def test_the_plan_follows_the_contract() -> None:
    planned = {topic.name.removeprefix("p."): topic for topic in plan(SETTINGS)}
    assert set(planned) == {
        "clicks", "items", "scenarios", "requests", "recommendations", "user-states", "signals", "releases",
        "keys", "dead-letters", "figures",
    }  # fmt: skip
    cleanup = {name: topic.configs["cleanup.policy"] for name, topic in planned.items()}
    assert {name for name, policy in cleanup.items() if policy == "compact"} == {
        "items", "scenarios", "user-states", "signals", "releases", "keys",
    }  # fmt: skip
    assert {planned[name].partitions for name in ("clicks", "requests", "user-states")} == {4}
    assert planned["clicks"].configs["retention.ms"] == str(2 * 86_400_000)
    assert list(planned) == [name.removeprefix("p.") for name in NAMES.all()]


def test_clicks_are_kept_thirty_days_in_eight_partitions_by_default() -> None:
    clicks = plan(load_settings())[0]
    assert clicks.name == "nextclick.clicks"
    assert clicks.partitions == 8
    assert clicks.configs == {"cleanup.policy": "delete", "retention.ms": str(30 * 86_400_000)}


def test_missing_topics_are_created_once() -> None:
    admin = FakeAdmin({})
    assert create_missing(admin, SETTINGS) == list(NAMES.all())  # type: ignore[arg-type]
    assert create_missing(admin, SETTINGS) == []  # type: ignore[arg-type]
    assert check(admin, SETTINGS) == 4  # type: ignore[arg-type]


def test_another_process_may_create_them_meanwhile() -> None:
    admin = FakeAdmin({}, before_create={NAMES.clicks: 4, NAMES.items: 1})
    created = create_missing(admin, SETTINGS)  # type: ignore[arg-type]
    assert NAMES.clicks not in created
    assert set(created) == set(NAMES.all()) - {NAMES.clicks, NAMES.items}


def test_what_exists_decides_the_number_of_partitions() -> None:
    admin = FakeAdmin({NAMES.clicks: 3})
    create_missing(admin, SETTINGS)  # type: ignore[arg-type]
    assert admin.counts[NAMES.requests] == admin.counts[NAMES.user_states] == 3
    assert check(admin, SETTINGS) == 3  # type: ignore[arg-type]


def test_different_counts_are_refused_with_the_command_that_mends_them() -> None:
    admin = FakeAdmin({NAMES.clicks: 3, NAMES.requests: 4, NAMES.user_states: 4})
    with pytest.raises(TopicsError, match=r"p\.clicks has 3.*nextclick topics repair .*--prefix p\."):
        check(admin, SETTINGS)  # type: ignore[arg-type]


def test_missing_ones_are_refused_with_the_command_that_creates_them() -> None:
    with pytest.raises(TopicsError, match=r"missing topics: p\.requests.*nextclick topics create"):
        check(FakeAdmin({NAMES.clicks: 3, NAMES.user_states: 3}), SETTINGS)  # type: ignore[arg-type]


def test_withdrawals_outlive_every_release() -> None:
    """A tombstone that compaction has dropped is news to nobody who starts later."""
    planned = {topic.name.removeprefix("p."): topic for topic in plan(SETTINGS)}
    kept_ms = int(planned["items"].configs["delete.retention.ms"])
    assert kept_ms >= 3650 * DAY_MS
    assert kept_ms < 2**62  # brokers add the time of day to it


def test_low_limits_are_found_and_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "members", lambda *_: 0)
    monkeypatch.setattr(topics_repair, "_move_states", lambda *_: 0)
    admin: Any = FakeAdmin({})
    create_missing(admin, SETTINGS)
    assert too_low(SETTINGS, describe(admin, SETTINGS)) == []
    admin.configs[NAMES.items]["delete.retention.ms"] = str(DAY_MS)  # by an earlier version
    admin.configs[NAMES.signals]["max.message.bytes"] = str(2**20)
    admin.configs[NAMES.dead_letters]["max.message.bytes"] = str(2**30)  # more is well
    found = list(topic_checks.limits(SETTINGS, describe(admin, SETTINGS)))
    assert [finding.subject for finding in found] == ["limits", "withdrawals"]
    assert "p.items forgets after 24 hours" in found[1].detail
    said = list(topics_repair.repair(admin, SETTINGS))
    assert len(said) == 2
    assert "p.items: delete.retention.ms 86,400,000 became" in said[0]
    assert too_low(SETTINGS, describe(admin, SETTINGS)) == []
    assert admin.configs[NAMES.dead_letters]["max.message.bytes"] == str(2**30)
    assert list(topics_repair.repair(admin, SETTINGS)) == ["nothing to repair: 4 partitions each"]


def test_every_topic_that_others_use_has_a_schema() -> None:
    own = {"user-states", "signals", "dead-letters"}  # nobody else reads or writes their records
    names = Names("")
    assert set(schema.TOPICS) == set(names.all()) - own
