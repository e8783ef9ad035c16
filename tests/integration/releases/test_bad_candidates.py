"""Every kind of bad candidate, entered by hand beside a live release, is refused with its reason."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from learner.data.dataset import Interactions, load_interactions, load_items
from learner.release.bundle import Bundle, Window
from learner.release.files import write_release
from streams.operate.releases import add
from streams.recorded.collecting import click_of
from streams.releases.topic import roles_now
from streams.settings import Settings
from streams.training import gatekeeper
from streams.training.trainer import Trainer
from streams.training.wire import KafkaWire
from streams.transport import clients
from streams.transport.topics import Names
from streams.wire.contract import encode
from tests.worlds.served import POPULAR, poisoned, served_bundle, slowed

pytestmark = [pytest.mark.broker, pytest.mark.learner]
ANSWERED = 900


@pytest.fixture(scope="module")
def clicks(recorded: Path) -> Interactions:
    """Clicks up to the middle, then a sample of those after: a few clicks of each of many users."""
    data = load_interactions(recorded / "interactions.csv.gz").in_order(0)
    half = len(data) // 2
    later = np.sort(np.random.default_rng(0).choice(np.arange(half, len(data)), ANSWERED, replace=False))
    return data.at(np.concatenate([np.arange(half - 4000, half), later]))


def shuffled(clicks: Interactions, recorded: Path, out: Path) -> Path:
    """Trained as any other, on clicks whose items were exchanged among each other."""
    from learner.training.options import TrainingOptions
    from learner.training.train import train_release
    from streams.recorded.collecting import collect

    first = clicks.at(slice(0, 4000))
    mixed = replace(first, item=np.random.default_rng(0).permutation(first.item))
    options = TrainingOptions(budget_minutes=0.15, clock=time.process_time)
    train_release(mixed, load_items(recorded / "items.csv.gz"), out, collect, options)
    return out


def bad(live: Bundle) -> Iterator[tuple[str, Bundle, str]]:
    """Bundles with one fault each, and a part of the reason."""
    fields, arrays = live.manifest, live.arrays

    def named(name: str, **more: object) -> object:
        return msgspec.structs.replace(fields, release=name, **more)

    yield "r-nan", poisoned(replace(live, manifest=named("r-nan")), "ranker"), "not numbers"
    keep = np.arange(fields.items) % 10 != 3
    yield (
        "r-tenth",
        replace(
            live,
            manifest=named("r-tenth", items=int(keep.sum())),
            items=[item for item, kept in zip(live.items, keep.tolist(), strict=True) if kept],
            arrays=replace(
                arrays, vectors=arrays.vectors[keep], bias=arrays.bias[keep], content=arrays.content[keep],
                ease_item=np.full((0, 1), -1, np.int32), ease_weight=np.zeros((0, 1), np.float32),
            ),
        ),
        "of the available items",
    )  # fmt: skip
    yield "r-slow", slowed(replace(live, manifest=named("r-slow")), 30), "slower: p99"


@pytest.mark.drill
def test_bad_candidates_are_refused_with_the_reason(
    settings: Settings, topics: Names, clicks: Interactions, recorded: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(gatekeeper, "BATCHES", 100)
    settings = settings.model_copy(update={"learn": "none", "gate_clicks": ANSWERED})
    with clients.producer(settings) as producer:
        for number in range(len(clicks)):
            click = click_of(clicks, number)
            producer.send(topics.clicks, key=click.user_id.encode(), value=encode(click))
        producer.flush()
    window = Window(first_ms=0, last_ms=int(clicks.time_ms[3999]), events=4000, users=1)
    live = served_bundle("r-live", load_items(recorded / "items.csv.gz"), POPULAR, data=window)
    add(settings, write_release(tmp_path / "live", live), "live")
    entered = add(settings, shuffled(clicks, recorded, tmp_path / "shuffled"), "candidate")
    reasons = {entered.release: "as good as"}
    for name, bundle, reason in bad(live):
        add(settings, write_release(tmp_path / name, bundle), "candidate")
        reasons[name] = reason
    damaged = write_release(tmp_path / "damaged", replace(live, manifest=_as(live, "r-damaged")))
    (damaged / "items.jsonl.gz").write_bytes(b"?")
    add(settings, damaged, "candidate")
    reasons["r-damaged"] = "items.jsonl.gz"

    trainer = Trainer(settings, KafkaWire(settings))
    while trainer.step():
        pass
    roles = roles_now(settings)
    assert roles.live is not None
    assert roles.live.release == live.manifest.release
    assert roles.canary is None
    for name, reason in reasons.items():
        record = roles.of(name)
        assert record.decision == "refused", record
        assert reason in record.reason, record
        assert record.role == ("quarantined" if name in ("r-nan", "r-damaged") else "retired")


def _as(bundle: Bundle, name: str) -> object:
    return msgspec.structs.replace(bundle.manifest, release=name)
