"""How much of a round a record takes."""

import msgspec

from streams.hot_path.policy import Policy
from streams.wire.contract import Click, Merge, Merged, Request
from streams.wire.intake import Arrival
from streams.worker.process import ENCODED_ANEW, ONLY_FOLDED, work_of
from streams.worker.rounds import OF_ONE

HIDE = Click(event_id="e", user_id="u", item_id="i", event="hide", timestamp=1)


def test_what_encodes_a_state_anew_costs_more_than_a_list() -> None:
    """A burst of undos by one user must not hold up the others."""
    wish = Merge(user_id="u", event="merge", into="v", timestamp=1)
    came = Merged(
        user_id="v", event="merged", merged_from="u", merge="0-1-0", timestamp=1, state=msgspec.Raw()
    )
    undo = msgspec.structs.replace(HIDE, undo=True)
    click = msgspec.structs.replace(HIDE, event="click")
    work = [work_of(Arrival(message, 0, 0)) for message in (HIDE, wish, click, undo, came)]
    assert work == [ONLY_FOLDED, ONLY_FOLDED, 1.0, ENCODED_ANEW, ENCODED_ANEW]
    assert 1.0 < ENCODED_ANEW <= OF_ONE
    long = Request(request_id="r", user_id="u", k=2 * Policy.candidates)
    assert work_of(Arrival(long, 0, 0)) == 2.0
