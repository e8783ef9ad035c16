"""Topics that were made by other tools, and brokers that refuse what topics should be."""

import json
from pathlib import Path
from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError
from structlog.testing import capture_logs

from learner.data.times import DAY_MS
from streams.operate import doctor, machine_checks, one_partition, topic_checks, topics_repair
from streams.operate.findings import Finding
from streams.operate.topics_repair import repair
from streams.releases.topic import roles_now
from streams.settings import Settings, load_settings
from streams.transport import clients
from streams.transport.refusals import allowed
from streams.transport.topics import Names, TopicsError, check, create_missing, describe, plan, too_low
from streams.wire.contract import ReleaseRecord, encode
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
        assert len(create_missing(given, settings)) == len(Names("h.").all())
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
    assert [finding.status for finding in topic_checks.topics(settings, describe(given, settings))] == ["ok"]
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
            found = list(topic_checks.topics(settings, describe(admin, settings)))
            assert [finding.status for finding in found] == ["fail"]
            assert name in found[0].detail
            planned = {each.name: each.configs["cleanup.policy"] for each in plan(settings)}[name]
            assert list(repair(admin, settings)) == [f"{name}: cleanup.policy {policy} became {planned}"]
            assert check(admin, settings) == 8


@pytest.mark.parametrize("partitions", [1, 11])
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
        found = [finding.status for finding in topic_checks.topics(settings, describe(admin, settings))]
        assert found == (["warn", "ok"] if partitions < 8 else ["ok"])
        said = list(repair(admin, settings))  # also right after the worker has gone
        if partitions < 8:
            assert f"{names.recommendations}: {partitions} partitions became 8" in said
        assert [f.status for f in topic_checks.topics(settings, describe(admin, settings))] == ["ok"]


def _released(settings: Settings, *records: tuple[str, str, int]) -> None:
    with clients.producer(settings) as sender:
        for release, role, at in records:
            record = ReleaseRecord(release=release, url="/x", sha256="0" * 16, role=role, at=at)
            sender.send(
                Names(settings.prefix).releases, key=release.encode(), value=encode(record), timestamp_ms=at
            ).get(10)


def _findings(settings: Settings) -> dict[str, list[Finding]]:
    with clients.admin(settings) as admin:
        found = list(topic_checks.topics(settings, describe(admin, settings)))
    return {status: [each for each in found if each.status == status] for status in ("ok", "warn", "fail")}


def test_releases_in_several_partitions_are_refused_found_and_made_one(
    settings: Settings, topics: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not _findings(settings)["fail"]
    with clients.admin(settings) as admin:
        admin.create_partitions({topics.releases: 3})
        admin.wait_for_topics([topics.releases])
    told = [(f"r-{n}", "live", 1_000_000 + n) for n in range(20)]
    _released(settings, *told)  # what was live before is told by the order alone
    (found,) = _findings(settings)["fail"]
    assert "releases has 3 partitions, not 1" in found.detail
    assert "topics repair" in found.remedy
    with clients.admin(settings) as admin:
        with pytest.raises(TopicsError, match=r"which release is live .*nextclick topics repair"):
            check(admin, settings)
        monkeypatch.setattr(one_partition, "create_missing", _killed)
        with pytest.raises(SystemExit):  # between the deletion and the copy's way back
            list(repair(admin, settings))
        monkeypatch.undo()
        create_missing(admin, settings)  # as any process does that starts
        _released(settings, later := ("r-later", "candidate", 1_000_100))
        assert any("became 1" in line for line in repair(admin, settings))
        assert list(repair(admin, settings)) == ["nothing to repair: 8 partitions each"]
        check(admin, settings)
    assert not _findings(settings)["fail"]
    roles = roles_now(settings)
    assert list(roles.records) == [release for release, _, _ in [*told, later]]
    assert roles.live is not None
    assert roles.live.release == "r-19"


def _killed(*_: object) -> list[str]:
    raise SystemExit(9)


def test_the_doctor_finds_signals_of_clicks_that_were_made_anew(settings: Settings, topics: Names) -> None:
    assert topic_checks.signals(settings).status == "ok"
    with clients.producer(settings) as sender:
        frontier = {"v": 1, "offsets": {"2": 41}}
        sender.send(topics.signals, key=b"", value=json.dumps(frontier).encode()).get(10)
    found = topic_checks.signals(settings)
    assert found.status == "fail"
    assert "up to offset 41 of partition 2, but" in found.detail
    assert "nextclick reset" in found.remedy


def test_the_doctor_says_where_nothing_can_be_written(tmp_path: Path) -> None:
    assert list(machine_checks.writable(tmp_path / "made" / "later")) == []
    assert list(tmp_path.iterdir()) == []
    (found,) = machine_checks.writable(Path("/proc/nextclick"))  # nobody can, not even root
    assert found.status == "fail"
    assert "/proc, where the data folder would be made" in found.detail
    assert "--data-dir" in found.remedy


def test_brokers_that_go_while_the_doctor_asks_are_a_finding(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise KafkaTimeoutError("no answer in 30 s")

    monkeypatch.setattr(doctor, "describe", gone)
    *_, last = doctor.examine(settings)
    assert (last.status, last.subject) == ("fail", "brokers")
    assert "stopped answering" in last.detail
