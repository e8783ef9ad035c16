"""Items newer than the release get vectors from their texts; others, and those that have one, do not."""

import asyncio
import sys

import msgspec
import numpy as np
import pytest

from learner.data.catalogue import Catalogue, Item
from learner.data.events import Kind
from learner.release.live import LiveRelease
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from learner.text.card import ADDRESS, EncoderCard, EncoderError
from learner.text.content import ContentEncoder, text_of
from streams.learning import new_items
from streams.learning.new_items import NewItems
from tests.worlds.served import served_bundle

RELEASED = [Item(item_id="old", title="Heat")]
NEW = Item(item_id="new", title="A heist goes wrong", categories=["crime"])
NOW = 1_700_000_000_000


class Learner:
    """What the learner has around `NewItems`."""

    def __init__(self, *announced: Item) -> None:
        self.catalogue = Catalogue()
        self.release = LiveRelease(served_bundle("r-20231114-221320-test", RELEASED), self.catalogue)
        for item in announced:
            self.catalogue.announce(item)
        self.signals = Signals(SignalSettings(), self.catalogue)
        self.signals.learn(0, NOW, Kind.CLICK, 0.0, np.zeros(0, np.int32))
        self.signals.drain()
        self.changes = 0
        self.new = NewItems(self.catalogue, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def encoder(self) -> ContentEncoder:
        return ContentEncoder.load(self.release.manifest.encoder, self.release.encoder)

    def run(self, until: int = 0, again: Item | None = None) -> list[set[str]]:
        """Runs until `until` items are encoded and all others have had their turn; returns which.

        `again` is then announced, and of what happens after it the same is returned.
        """

        async def run() -> list[set[str]]:
            running = asyncio.create_task(self.new.run(self.signals))
            encoded = [await self._encoded(until, running)]
            if again is not None:
                self.new.announced(self.catalogue.announce(again))
                encoded.append(await self._encoded(until + 1, running))
            running.cancel()
            return encoded

        return asyncio.run(asyncio.wait_for(run(), 30))

    async def _encoded(self, until: int, running: "asyncio.Task[None]") -> set[str]:
        while self.new.encoded < until:
            await asyncio.sleep(0.001)
            if running.done():
                await running
        for _ in range(20):
            await asyncio.sleep(0.001)
        return {self.catalogue.ids[item] for item in self.signals.drain()}


def test_what_the_release_lacks_gets_the_vector_of_its_text() -> None:
    learner = Learner(*RELEASED, NEW)
    given: dict[int, np.ndarray] = {}
    learner.signals.set_vector = lambda item, vector, content, _: given.update({item: (vector, content)})  # type: ignore[method-assign]
    learner.new.compare_with(learner.release)
    learner.run(1)
    assert {learner.catalogue.ids[item] for item in given} == {"new"}
    vector, content = given[learner.catalogue.index["new"]]
    np.testing.assert_array_equal(content, learner.encoder().encode([NEW])[0])
    np.testing.assert_array_equal(vector, learner.release.embed(content, NEW.categories))
    assert (learner.new.encoded, learner.changes) == (1, 1)


def test_an_item_announced_later_and_one_that_changes_are_encoded_then() -> None:
    learner = Learner()
    learner.new.compare_with(learner.release)
    learner.new.announced(learner.catalogue.announce(NEW))
    learner.new.announced(learner.catalogue.index["old"])  # the release has it
    changed = Item(item_id="new", title="Another title")
    assert learner.run(1, changed) == [{"new"}, {"new"}]
    assert learner.new.encoded == 2


def test_a_vector_that_came_with_the_signals_is_not_made_again() -> None:
    learner = Learner(
        NEW, *(Item(item_id=name, title=name) for name in ("other", "stale", "foreign", "old-record"))
    )
    dims = learner.release.manifest.dims
    learner.new.compare_with(learner.release)
    fitting = np.ones(dims.vector, np.float32), np.ones(dims.content, np.float32)
    space, numbers = learner.release.space, learner.catalogue.index
    learner.new.restored(numbers["new"], *fitting, space)
    learner.new.restored(numbers["stale"], np.ones(dims.vector + 1, np.float32), fitting[1], space)
    learner.new.restored(numbers["foreign"], *fitting, "another encoder's, or of other components")
    learner.new.restored(numbers["old-record"], *fitting, "")  # of a learner that did not say
    assert learner.run(4) == [{"other", "stale", "foreign", "old-record"}]


def test_withdrawn_items_wait_for_nothing() -> None:
    learner = Learner(NEW, Item(item_id="gone", title="Gone", available=False))
    learner.new.compare_with(learner.release)
    assert learner.run(1) == [{"new"}]


def test_without_a_release_nothing_is_new() -> None:
    learner = Learner(NEW)
    learner.new.compare_with(None)
    learner.new.announced(learner.catalogue.index["new"])
    assert learner.run() == [set()]


def test_many_are_encoded_in_stretches_and_each_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_items, "_AT_ONCE", 4)
    learner = Learner(*(Item(item_id=f"n{number}", title=f"Film {number}") for number in range(10)))
    learner.new.compare_with(learner.release)
    assert learner.run(10) == [{f"n{number}" for number in range(10)}]
    assert learner.changes == 3


def test_another_release_that_comes_meanwhile_has_the_last_word() -> None:
    """Vectors of the old one are thrown away; what the new one lacks is encoded for it."""
    learner = Learner(NEW, Item(item_id="other", title="Ran"))
    learner.new.compare_with(learner.release)
    newer = LiveRelease(served_bundle("r-20231115-221320-test", [*RELEASED, NEW]), learner.catalogue)
    contents, asked = learner.new._contents, []

    def slow(release: LiveRelease, records: list[Item]) -> np.ndarray:
        made = contents(release, records)
        if not asked:
            learner.new.compare_with(newer)
        asked.append((release.id, [record.item_id for record in records]))
        return made

    learner.new._contents = slow  # type: ignore[method-assign]
    assert learner.run(1) == [{"other"}]
    assert asked == [(learner.release.id, ["new", "other"]), (newer.id, ["other"])]


def test_a_release_read_at_an_address_has_its_new_items_read_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where the address is away later, texts are read by their words."""

    class Server:
        card = EncoderCard(name="m", licence="?", source=f"{ADDRESS}http://m/v1", identity="m", width=512)
        asked = 0

        def read(self, texts: list[str], *_: object, query: bool = False) -> np.ndarray:
            self.asked += 1
            if self.asked > 1:
                raise EncoderError("http://m/v1/embeddings: does not answer")
            return np.eye(len(texts), 512, dtype=np.float32)

    learner = Learner(NEW)
    learner.release.manifest = msgspec.structs.replace(learner.release.manifest, encoder=Server.card)
    learner.release.encoder["spread"] = np.ones((513, 64), np.float32)
    learner.new = NewItems(learner.catalogue, learner._changed, Server)  # opened once for both
    learner.new.compare_with(learner.release)
    given: list[np.ndarray] = []
    learner.signals.set_vector = lambda _, __, content, ___: given.append(content)  # type: ignore[method-assign]
    later = Item(item_id="later", title="A tea pot")
    learner.run(1, later)
    encoder = ContentEncoder.load(Server.card, learner.release.encoder)
    read = encoder.project(np.eye(1, 512, dtype=np.float32))[0]
    np.testing.assert_allclose(given, [read, encoder.glance([text_of(later)])[0]], atol=1e-6)
    assert "texts of new items are read word by word" in capsys.readouterr().out


def test_without_the_learners_libraries_it_is_told_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    learner = Learner(NEW)
    monkeypatch.setitem(sys.modules, "learner.text.content", None)  # as if it could not be imported
    learner.new.compare_with(learner.release)
    assert learner.run() == [set()]
    assert learner.changes == 0
    assert "new items keep the mean vectors of their categories" in capsys.readouterr().out
