"""Topics that were made by other tools, and brokers that refuse what topics should be."""

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from learner.data.times import DAY_MS
from streams.operate import doctor, topics_repair
from streams.operate.topics_repair import repair
from streams.settings import Settings, load_settings
from streams.transport import clients
from streams.transport.refusals import allowed
from streams.transport.topics import Names, TopicsError, check, create_missing, describe, plan, too_low
from streams.wire.partitioner import partition_of
from tests.worlds.system import System, ready, wait_answered

LIMIT_MS = 400 * DAY_MS  # more than a year


class StingyAdmin:
    """Brokers that allow no setting of segments, and tombstones for LIMIT_MS; refuses with `code`."""

    def __init__(
        self, code: int, words: str = "Config property '{0}' with value '{1}' is over the limit {2}."
    ):
        self.code, self.words = code, words
        self.topics: dict[str, dict[str, Any]] = {}

    def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        return [
            {"name": name, "error_code": 0 if name in self.topics else 3,
             "partitions": [{}] * self.topics.get(name, {}).get("num_partitions", 0)}
            for name in names
        ]  # fmt: skip

    def create_topics(self, wanted: dict[str, Any], raise_errors: bool) -> dict[str, Any]:
        return {"topics": [self._create(name, each) for name, each in wanted.items()]}

    def _create(self, name: str, wanted: dict[str, Any]) -> dict[str, Any]:
        said = self._refuses(wanted["configs"])
        if said is None:
            self.topics[name] = wanted
        return {"name": name, "error_code": 0 if said is None else self.code, "error_message": said}

    def _refuses(self, configs: dict[str, str]) -> str | None:
        if "segment.ms" in configs:
            return "Invalid config value for segment.ms: it cannot be set here"
        if int(configs.get("delete.retention.ms", 0)) > LIMIT_MS:
            return self.words.format("delete.retention.ms", configs["delete.retention.ms"], LIMIT_MS)
        return None

    def describe_configs(self, resources: list[Any], config_filter: str) -> dict[str, Any]:
        return {
            "topic": {
                each.name: {key: {"value": value} for key, value in self.topics[each.name]["configs"].items()}
                for each in resources
            }
        }

    def alter_configs(self, resources: list[Any]) -> dict[str, Any]:
        (each,) = resources
        said = self._refuses(each.configs)
        if said is None:
            self.topics[each.name]["configs"] |= each.configs
        return {"topic": {each.name: said or "OK"}}

    def wait_for_topics(self, names: list[str]) -> None: ...

    def list_partition_offsets(self, places: dict[Any, Any], timeout_ms: int) -> None: ...

    def list_groups(self) -> list[dict[str, Any]]:
        return []


@pytest.mark.parametrize("code", [40, 44])
def test_topics_are_made_without_what_the_brokers_refuse(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics_repair, "_move_states", lambda *_: 0)
    settings, admin = load_settings(prefix="h."), StingyAdmin(code)
    given: Any = admin
    with capture_logs() as logs:
        assert len(create_missing(given, settings)) == 8
    assert check(given, settings) == 8
    items = admin.topics["h.items"]["configs"]
    assert items["cleanup.policy"] == "compact"
    assert items["delete.retention.ms"] == str(LIMIT_MS)
    assert "segment.ms" not in items
    assert items["segment.bytes"]
    told = [line["settings"] for line in logs if line["topic"] == "h.items"]
    assert told == ["segment.ms=default", f"delete.retention.ms={LIMIT_MS}"]
    # What is enough, if not all that was wished, is nobody's worry.
    assert too_low(settings, describe(given, settings)) == []
    assert [finding.status for finding in doctor._topics(settings, describe(given, settings))] == ["ok"]
    assert list(repair(given, settings)) == ["nothing to repair: 8 partitions each"]
    admin.topics["h.items"]["configs"]["delete.retention.ms"] = str(DAY_MS)
    assert list(repair(given, settings)) == [f"h.items: delete.retention.ms {DAY_MS:,} became {LIMIT_MS:,}"]


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("retention.ms is limited: at most 604800000", {"retention.ms": "604800000"}),
        ("delete.retention.ms cannot be set", {"retention.ms": "900000000", "segment.ms": "5"}),
        ("retention.ms and segment.ms cannot be set", {"delete.retention.ms": "900000000"}),
        ("Policy violation", {}),
        ("cleanup.policy may not be compact", None),
    ],
)
def test_what_brokers_say_names_the_setting(said: str, left: dict[str, str] | None) -> None:
    configs = {
        "cleanup.policy": "compact", "retention.ms": "900000000", "delete.retention.ms": "900000000",
        "segment.ms": "5",
    }  # fmt: skip
    found = allowed(configs, said)
    if left is None:
        assert found is None
    elif "at most" in said:
        assert found == configs | left
    else:
        assert found == {"cleanup.policy": "compact"} | left


def test_where_there_is_nothing_left_to_try_it_is_said() -> None:
    assert allowed({"cleanup.policy": "compact"}, "Policy violation") is None
    admin: Any = StingyAdmin(44)
    admin._refuses = lambda configs: "cleanup.policy cannot be set"
    with pytest.raises(TopicsError, match=r"cannot create topic .*cleanup.policy cannot be set"):
        create_missing(admin, load_settings(prefix="h."))


def _alter(admin: Any, topic: str, policy: str) -> None:
    assert topics_repair._set(admin, topic, "cleanup.policy", policy) == "OK"


def test_another_cleanup_is_refused_at_the_start_found_by_doctor_and_mended(
    settings: Settings, topics: Names
) -> None:
    with clients.admin(settings) as admin:
        for name, policy in (
            (topics.items, "delete"), (topics.user_states, "compact,delete"), (topics.clicks, "compact"),
        ):  # fmt: skip
            _alter(admin, name, policy)
            with pytest.raises(TopicsError, match=rf"{name} has cleanup.policy={policy}.*topics repair"):
                check(admin, settings)
            found = list(doctor._topics(settings, describe(admin, settings)))
            assert [finding.status for finding in found] == ["fail"]
            assert name in found[0].detail
            planned = {each.name: each.configs["cleanup.policy"] for each in plan(settings)}[name]
            assert list(repair(admin, settings)) == [f"{name}: cleanup.policy {policy} became {planned}"]
            assert check(admin, settings) == 8


@pytest.mark.parametrize("partitions", [1, 3, 11])
def test_lists_go_by_key_whatever_their_topic_is_like(
    settings: Settings, system: System, partitions: int
) -> None:
    names = Names(settings.prefix)
    with clients.admin(settings) as admin:
        admin.create_topics({names.recommendations: {"num_partitions": partitions}})
        create_missing(admin, settings)
    system.start("worker")
    ready(system)
    users = [f"guest-{n}" for n in range(12)]
    for n, user in enumerate(users):
        system.click(user, "1", 880_000_000_000 + n, event_id=f"e-{n}")
    wait_answered(system, [f"e-{n}" for n in range(12)])
    lists = system.read("recommendations")
    assert {record.key.decode() for record in lists} == set(users)
    for record in lists:
        assert record.partition == partition_of(record.key, partitions)
        assert json.loads(record.value)["user_id"] == record.key.decode()
    assert system.stop("worker") == 0
    with clients.admin(settings) as admin:
        found = [finding.status for finding in doctor._topics(settings, describe(admin, settings))]
        assert found == (["warn", "ok"] if partitions < 8 else ["ok"])
        said = list(repair(admin, settings))  # also right after the worker has gone
        if partitions < 8:
            assert f"{names.recommendations}: {partitions} partitions became 8" in said
        assert [f.status for f in doctor._topics(settings, describe(admin, settings))] == ["ok"]
