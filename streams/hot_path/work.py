"""How much work an arrival is, in lists of the usual kind.

Owns what makes a list dearer than another: by that rounds are filled, and a release's pace is told from what
is asked of it. Made from the message alone, before any of the work.
"""

from collections.abc import Mapping

from streams.hot_path.policy import Policy
from streams.hot_path.recommend import calls_for_list
from streams.wire.contract import Click, Merged, Request, Rules
from streams.wire.intake import Arrival
from streams.wire.steering import DEFAULT

# The work of a click that calls for no list.
ONLY_FOLDED = 1 / 8
# The work of 128 steps of the student: 5.5 ms for one user, 12 for 24 at once.
ENCODED_ANEW = 2.0
_APART = 2.0  # a list with wishes or rules of its own: its candidates are ranked once more, for it alone
_FACTORS = 64  # rules that add to scores, as dear as a list: some 10 µs each for its candidates
_CELLS = 2_000  # fields of listed items, as dear as a list: each item's record is unpacked
_NO_RULES: Mapping[str, Rules] = {}


def work_of(arrival: Arrival, given: Mapping[str, Rules] = _NO_RULES) -> float:
    """In lists; one of many items is drawn from as many candidates as several usual ones.

    `given`: the scenarios' records in force, by name. A state that is encoded anew costs more than a list: an
    event is taken back, or a visitor comes along.
    """
    message = arrival.message
    if not calls_for_list(arrival):
        encoded = message.undo if isinstance(message, Click) else isinstance(message, Merged)
        return ENCODED_ANEW if encoded else ONLY_FOLDED
    assert isinstance(message, Click | Request)
    rules = None
    if given:
        rules = given.get(message.scenario or DEFAULT) or given.get(DEFAULT)
    if isinstance(message, Click):
        return 1.0 if rules is None else _ruled(rules.k or 0, rules, apart=False)
    return _asked(message, rules if message.rules is None else message.rules)


def _asked(request: Request, rules: Rules | None) -> float:
    length = request.k or (0 if rules is None else rules.k) or 0
    if request.rank is not None:
        reach = len(request.rank)
        length = length or reach
    else:
        reach = length + len(request.exclude_hashes)
    own = (
        request.query is not None
        or request.similar_to is not None
        or request.rank is not None
        or bool(request.exclude_hashes)
    )
    work = _ruled(reach, rules, apart=own)
    if request.interests or request.if_clicked:
        work += ENCODED_ANEW
    return work + len(request.fields) * (length or Policy.k) / _CELLS


def _ruled(reach: int, rules: Rules | None, *, apart: bool) -> float:
    """A list that takes so many candidates at least."""
    work = max(1.0, reach / Policy.candidates)
    if rules is None:
        return _APART * work if apart else work
    factors = len(rules.boost) + len(rules.bury)
    apart = apart or bool(factors or rules.caps or rules.pin or rules.shown_cap)
    return (_APART * work if apart else work) + factors / _FACTORS
