"""The items whose texts mean what a query asks for, by the encoder that a release carries.

Owns the encoder, which is opened once somebody has asked (a fifth of a second and some 50 MB): at once, or
by whoever calls `open` in a thread beside the rounds; until then, and where a release has none, a query is
glanced at word by word. Also how items newer than the release, which have no vector of the encoder's own,
stand among the others. Knows no lists.
"""

import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from learner.release.live import LiveRelease
from learner.search.joining import Found, best_of
from learner.text.card import EncoderError
from learner.text.content import ContentEncoder
from learner.text.query_encoder import QueryEncoder
from streams.hot_path.by_content import DEEPER, FEW, ByContent

log = structlog.get_logger()

Floats = NDArray[np.float32]
_QUERY_LENGTH = 1000  # characters of a query that are read


class Meant(NamedTuple):
    """A query as items' contents are (T,), and as the encoder has it (W,), None where it is not open."""

    content: Floats
    full: Floats | None


class Meaning:
    """Asked by one thread; `open` may run in another. `at_once`: a first query waits for the encoder."""

    def __init__(self, release: LiveRelease, by_content: ByContent, *, at_once: bool = True) -> None:
        self._release, self._by_content = release, by_content
        self._at_once = at_once
        self._content: ContentEncoder | None = None
        self._encoder: QueryEncoder | None = None
        self._failed = False
        self._opening = threading.Lock()
        self.asked = False

    @property
    def wants_opening(self) -> bool:
        """Whether `open` has something to do, should anybody ask."""
        return self._encoder is None and not self._failed and self._release.query_encoder is not None

    def open(self) -> None:
        """Opens the encoder. One that cannot be read is said once; queries are glanced at then."""
        with self._opening:
            folder = self._release.query_encoder
            if not self.wants_opening or folder is None:
                return
            try:
                self._encoder = QueryEncoder.open(folder)
            except EncoderError as error:
                self._failed = True
                log.warning("queries are read word by word", release=self._release.id, error=str(error))

    def read(self, query: str) -> Meant | None:
        """What a query asks for; None where the release cannot read."""
        self.asked = True
        release = self._release
        if not release.encoder:
            return None
        if self._content is None:
            self._content = ContentEncoder.load(release.manifest.encoder, release.encoder)
        if self._at_once:
            self.open()
        query = query[:_QUERY_LENGTH]
        if self._encoder is None:
            return Meant(self._content.wish(query), None)
        full = self._encoder.encode([query])
        return Meant(self._content.project(full)[0], full[0])

    def words(self, meant: Meant, passed_over: Callable[[str], bool]) -> dict[str, float]:
        """Words of the catalogue that mean nearly the same, with how nearly; not those passed over."""
        return {} if meant.full is None else self._release.words.near(meant.full, passed_over)

    def search(self, meant: Meant, open_: NDArray[np.bool_], count: int) -> Found:
        """Up to `count` of the open items (V,) that mean what is asked for, the best first."""
        wish, full = meant
        texts = self._release.texts
        if full is None or not len(texts.items) or texts.whole.shape[1] != len(full):
            near = self._by_content.nearest(wish, open_, count)
            return Found(near, self._by_content.nearness(near, wish)).in_order()
        if len(open_) > FEW:
            items = self._by_content.nearest(wish, open_, DEEPER * count)
        else:
            items = np.flatnonzero(open_).astype(np.int32)
        place = np.minimum(np.searchsorted(texts.items, items), len(texts.items) - 1)
        known = texts.items[place] == items
        # Newer ones have only their content: its nearness, on the scale of those that have both.
        content = self._by_content.nearness(items, wish)
        scores = _on_scale(content, content[known], own := self._cosines(place[known], full))
        scores[known] = own
        said = known | (content != 0)
        by_number = np.zeros(int(items.max(initial=0)) + 1, np.float32)
        by_number[items] = scores
        return best_of(items[said & (scores > 0)], by_number, count)

    def _cosines(self, places: NDArray[np.int64], full: Floats) -> Floats:
        texts = self._release.texts
        if len(places) == len(texts.items):
            every: Floats = texts.cosines(full[None])[0]
            return every[places]
        found: Floats = (texts.whole[places].astype(np.float32) @ full) * texts.scales[places]
        return found


def _on_scale(values: Floats, here: Floats, there: Floats) -> Floats:
    """Values (n,) by mean and spread of some (m,) on one scale and the same ones on another."""
    if not len(here):
        return values.copy()
    spread = float(there.std()) / max(float(here.std()), 1e-6)
    moved: Floats = (values - here.mean()) * np.float32(spread) + there.mean()
    return moved
