"""What list an arrival calls for: its scenario's rules and what a request asks for beside them.

Owns which is which: all that is neither filtered nor ruled nor of its own is `plain`, and made as it always
was. Makes no list; `recommend` and `ruled` do.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from learner.filters.language import Filter, both, parse
from learner.ranking.arrays import Asks
from learner.search.reading import Reading
from streams.hot_path.policy import Policy
from streams.hot_path.rules import Ruleset, Steering
from streams.wire.contract import Click, Profile, Request, Wish

NO_ITEMS: NDArray[np.int32] = np.zeros(0, np.int32)


@dataclass(slots=True)
class Wanted:
    """One list to be made.

    reach: how many candidates it takes to make it, at least
    plain: nothing but the policy has a say in its places, whatever it may be drawn from
    filter: the scenario's, the request's and what its query says, all of which items must pass
    given: the same without the query's
    reading: what the query says
    only: numbers of the items that alone may stand in it, of a request that names them
    hashes: `event_hash` of ids of items that the list must not hold
    late: numbers of items that the user was shown too often, at the time of asking, or None
    taste: of a list of similar items, what is known of the user whom it is for
    unknown: of the items that the request names, those that cannot be listed
    """

    rules: Ruleset
    policy: Policy
    length: int
    reach: int
    plain: bool = True
    filter: Filter | None = None
    given: Filter | None = None
    reading: Reading | None = None
    request: Request | None = None
    only: NDArray[np.int32] | None = None
    late: NDArray[np.int32] | None = None
    taste: Asks | None = None
    unknown: tuple[str, ...] = ()
    profile: Profile | None = None
    hashes: frozenset[int] = frozenset()

    @property
    def exact(self) -> bool:
        """Whether the request says so much of what it wants that nothing is to be tried out."""
        return self.only is not None or self.similar or self.query is not None

    @property
    def similar(self) -> bool:
        """Whether it is a list of items like one."""
        return self.request is not None and self.request.similar_to is not None

    @property
    def personal(self) -> bool:
        """Whether the request says more of the asker than who it is, or wants to know more."""
        request = self.request
        return request is not None and bool(
            request.profile
            or request.if_clicked
            or request.interests
            or self.only is not None
            or self.similar
        )

    @property
    def placed(self) -> bool:
        """Whether rules have a say in the places."""
        rules = self.rules
        return self.only is None and bool(rules.caps or rules.pins or self.hashes or self.late is not None)

    @property
    def query(self) -> str | None:
        """Plain words that the list is to answer."""
        return None if self.request is None else self.request.query

    def read_as(self, reading: Reading) -> None:
        """From now on the query says this."""
        self.reading = reading
        self.filter = both(self.given, reading.filter)


def wanted(message: Click | Request | Wish, steering: Steering, policy: Policy) -> Wanted:
    """The list that a message calls for; `policy` is the system's."""
    assert not isinstance(message, Wish)  # which calls for no list
    if isinstance(message, Click):
        rules = steering.of(message.scenario, policy)
        return Wanted(rules, rules.policy, rules.policy.k, rules.policy.k, not rules.acts, rules.filter)
    rules = steering.of(message.scenario, policy) if message.rules is None else steering.inline(message.rules)
    own_policy = rules.policy
    if message.diversity is not None and message.diversity != own_policy.diversity:
        own_policy = replace(own_policy, diversity=message.diversity)
    length = message.k or own_policy.k
    own = None if message.filter is None else parse(message.filter)
    made = Wanted(rules, own_policy, length, length, not rules.acts, both(rules.filter, own), request=message)
    if message.rank is not None:
        _name(made, message, steering)
    elif message.exclude_hashes:
        made.hashes = frozenset(number for each in message.exclude_hashes for number in _numbers(each))
        made.reach += len(message.exclude_hashes)
    if made.hashes or made.exact:
        made.plain = False
    if message.query is not None:
        made.given = made.filter
        made.read_as(steering.reading(message.query))
    return made


def _numbers(told: int | str) -> tuple[int, ...]:
    """A hash as a number; as text it is the digest's 16 digits, or those of the number."""
    if isinstance(told, int):
        return (told,)
    return int.from_bytes(bytes.fromhex(told), "little"), int(told, 16)


def _name(made: Wanted, message: Request, steering: Steering) -> None:
    """A list of exactly the items that a request names."""
    catalogue = steering.catalogue
    found: list[int] = []
    for item_id in dict.fromkeys(message.rank or ()):
        number = catalogue.index.get(item_id)
        if number is None or not catalogue.available[number]:
            made.unknown += (item_id,)
        else:
            found.append(number)
    made.only = np.array(found, np.int32)
    made.length = message.k or max(len(found), 1)
    made.reach = max(len(found), 1)
    made.filter = None
