"""Lists under rules: each is judged by a slow evaluator that was written from the specification alone."""

import math
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from learner.data.catalogue import Catalogue, Item
from learner.release.live import LiveRelease
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from streams.hot_path.compose import MOST_FIELD_BYTES
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy
from streams.hot_path.recommend import recommend
from streams.hot_path.user_states import UserStates
from streams.hot_path.world import World
from streams.wire.contract import Click, Recommendation, Request, Rules, decode_request, decode_rules, encode
from streams.wire.event_ids import event_hash
from streams.wire.intake import Arrival
from streams.wire.steering import Cap, Pin, ShownCap, Tilt
from tests.worlds.plain_rules import PlainRules
from tests.worlds.rounds import NOW
from tests.worlds.served import served_bundle

BRANDS = ("Acme", "Own", "Zen")
TAGS = ("outlet", "new", "eco")


def _items(count: int, rng: np.random.Generator) -> list[Item]:
    made = []
    for number in range(count):
        fields: dict[str, Any] = {"item_id": f"i{number}", "title": f"Thing {number}"}
        if rng.random() < 0.9:
            fields["price"] = float(rng.integers(1, 40))
        if rng.random() < 0.8:
            fields["attributes"] = {"brand": str(rng.choice(BRANDS))}
        fields["tags"] = [tag for tag in TAGS if rng.random() < 0.3]
        fields["categories"] = [f"c{rng.integers(4)}"]
        made.append(Item(**fields))
    return made


def _world(count: int, seed: int, **manifest: object) -> tuple[World, UserStates]:
    rng = np.random.default_rng(seed)
    catalogue = Catalogue()
    release = LiveRelease(served_bundle("r-20231114-221320-test", _items(count, rng), **manifest), catalogue)
    signals = Signals(SignalSettings.from_dict(release.manifest.signals), catalogue)
    signals.follow()
    nobody = np.zeros(0, np.int32)
    for item in rng.integers(0, catalogue.size, 5 * count).tolist():
        signals.learn(item, NOW, 1, 0.0, nobody)
    world = World(catalogue, signals, Live(release, catalogue), Policy(exploration=0.0))
    return world, UserStates(release.hidden_size, release.vector_size)


def _click(world_offset: int, item: str, event: str = "click", **fields: Any) -> Arrival:
    click = Click(
        event_id=f"e{world_offset}", user_id="u", item_id=item, event=event,  # type: ignore[arg-type]
        timestamp=NOW + world_offset, **fields,
    )  # fmt: skip
    return Arrival(click, 0, world_offset + 99)


def _asked(world: World, states: UserStates, *requests: Request, now: int = NOW) -> list[Recommendation]:
    arrivals = [Arrival(request, 0, n) for n, request in enumerate(requests)]
    return [outcome.recommendation for outcome in recommend(arrivals, states, world, now, rng=None)]  # type: ignore[misc]


def _ids(made: Recommendation) -> list[str]:
    return [listed.item_id for listed in made.items]


_leaves = st.one_of(
    st.builds(lambda n: {"field": "price", "lt": n}, st.integers(1, 40)),
    st.builds(lambda n: {"field": "price", "gte": n}, st.integers(1, 40)),
    st.builds(lambda b: {"field": "brand", "eq": b}, st.sampled_from(BRANDS)),
    st.builds(lambda t: {"field": "tags", "in": t}, st.lists(st.sampled_from(TAGS), min_size=1)),
    st.just({"field": "brand", "exists": False}),
)
_filters = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.builds(lambda some: {"all": some}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda some: {"any": some}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda one: {"not": one}, inner),
    ),
    max_leaves=4,
)
_ITEM = st.integers(0, 59).map(lambda number: f"i{number}")
_rules = st.builds(
    Rules,
    filter=st.none() | _filters,
    boost=st.lists(st.builds(Tilt, filter=_filters, factor=st.floats(1, 5)), max_size=2),
    bury=st.lists(st.builds(Tilt, filter=_filters, factor=st.floats(0.1, 1)), max_size=2),
    caps=st.lists(
        st.builds(
            Cap, field=st.sampled_from(("brand", "categories", "tags", "price")), most=st.integers(1, 3)
        ),
        max_size=2,
    ),
    pin=st.lists(st.builds(Pin, item_id=_ITEM, position=st.integers(1, 15)), max_size=4),
    block=st.lists(_ITEM, max_size=10),
    shown_cap=st.none() | st.builds(ShownCap, times=st.integers(1, 3), hours=st.just(24)),
    consumed=st.sampled_from(("out", "settings")),
    diversity=st.none() | st.just(0.3),
    fill=st.lists(st.sampled_from(("popular", "new")), max_size=2),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rules=_rules,
    own=st.none() | _filters,
    k=st.integers(1, 30),
    events=st.lists(
        st.tuples(_ITEM, st.sampled_from(("click", "hide", "dislike", "impression"))), max_size=12
    ),
    exclude=st.lists(_ITEM, max_size=5),
    hashed=st.lists(_ITEM, max_size=5),
    withdrawn=st.lists(_ITEM, max_size=10),
    candidates=st.sampled_from((10, 40, 150)),
    inline=st.booleans(),
)
def test_every_list_obeys_its_rules_and_is_as_long_as_it_can_be(
    rules: Rules, own: dict[str, Any] | None, k: int, events: list[tuple[str, str]], exclude: list[str],
    hashed: list[str], withdrawn: list[str], candidates: int, inline: bool,
) -> None:  # fmt: skip
    world, states = _world(60, 1)
    world.policy = Policy(exploration=0.0, candidates=candidates, least_candidates=5)
    clicks = [_click(n - 99, item, event, history=True) for n, (item, event) in enumerate(events)]
    recommend(clicks, states, world, NOW, rng=None)
    if not inline:
        world.steering.put("cart", rules, 7)
    for item in withdrawn[:5]:
        world.live.follow([world.catalogue.withdraw(item)])
    request = Request(
        request_id="r", user_id="u", k=k, exclude=exclude, filter=own,
        exclude_hashes=[event_hash(item) for item in hashed],
        **({"rules": rules} if inline else {"scenario": "cart"}),
    )  # fmt: skip
    assert decode_request(encode(request)) == request
    (made,) = _asked(world, states, request)
    for item in withdrawn[5:]:
        world.live.follow([world.catalogue.withdraw(item)])
    (later,) = _asked(world, states, request)
    assert made.rules == (None if inline else 7)
    met = {item for item, event in events if event in ("click", "hide", "dislike")}
    shown = _shown_too_often(events, rules.shown_cap)
    for listed, gone in ((made, withdrawn[:5]), (later, withdrawn)):
        judge = PlainRules(
            world.catalogue,
            _both(rules, own),
            lambda item, gone=gone: item not in {*gone, *met, *exclude, *hashed},  # type: ignore[misc]
            k,
        )
        if listed is made:
            for item in withdrawn[5:]:
                world.catalogue.available[world.catalogue.index[item]] = item not in withdrawn[:5]
        judge.check(_ids(listed), shown)
        for item in withdrawn[5:]:
            world.catalogue.available[world.catalogue.index[item]] = False


def _both(rules: Rules, own: dict[str, Any] | None) -> Rules:
    given = [each for each in (rules.filter, own) if each is not None]
    fields = {name: getattr(rules, name) for name in rules.__struct_fields__}
    return Rules(**fields | {"filter": {"all": given} if given else None})


def _shown_too_often(events: list[tuple[str, str]], cap: ShownCap | None) -> set[str]:
    if cap is None:
        return set()
    counts: dict[str, int] = {}
    for item, event in events:
        if event == "impression":
            counts[item] = counts.get(item, 0) + 1
        elif event == "click":
            counts.pop(item, None)
    return {item for item, count in counts.items() if count >= cap.times}


def test_a_factor_adds_its_logarithm_to_the_score_and_is_named() -> None:
    world, states = _world(40, 2)
    plain, boosted = _asked(
        world, states,
        Request(request_id="a", user_id="u", k=40),
        Request(
            request_id="b", user_id="u", k=40,
            rules=Rules(
                boost=[Tilt({"field": "brand", "eq": "Own"}, 3.0)],
                bury=[Tilt({"field": "tags", "eq": "outlet"}, 0.25)],
            ),
        ),
    )  # fmt: skip
    before = {listed.item_id: listed.score for listed in plain.items}
    records, index = world.catalogue.records, world.catalogue.index
    assert set(before) == set(_ids(boosted))
    for listed in boosted.items:
        record = records[index[listed.item_id]]
        own, outlet = record.attributes.get("brand") == "Own", "outlet" in record.tags
        expected = before[listed.item_id] + own * math.log(3.0) + outlet * math.log(0.25)
        assert listed.score == pytest.approx(expected, abs=1e-4)
        assert listed.reason.rule == ", ".join(["boost"] * own + ["bury"] * outlet)
    assert [listed.score for listed in boosted.items] == sorted(
        (i.score for i in boosted.items), reverse=True
    )


def test_a_narrow_filter_still_fills_the_list() -> None:
    world, states = _world(2000, 3)
    few = {"field": "item_id", "in": [f"i{number}" for number in range(1000, 1050)]}
    world.policy = Policy(exploration=0.0, candidates=20)
    (made,) = _asked(world, states, Request(request_id="a", user_id="u", k=50, filter=few))
    assert sorted(_ids(made)) == sorted(few["in"])
    (ten,) = _asked(world, states, Request(request_id="b", user_id="u", k=10, filter=few))
    assert _ids(ten) == _ids(made)[:10]  # all of them were candidates of the short list too


def test_what_others_ask_for_changes_no_list() -> None:
    world, states = _world(300, 4)
    usual = Request(request_id="a", user_id="u")
    (alone,) = _asked(world, states, usual)
    together = _asked(
        world, states, usual,
        Request(request_id="b", user_id="v", filter={"field": "price", "lt": 5}, k=200),
        Request(request_id="c", user_id="w", rules=Rules(caps=[Cap("brand", 1)])),
    )  # fmt: skip
    assert together[0] == alone


def test_a_stranger_gets_what_a_new_user_gets_and_no_name() -> None:
    world, states = _world(60, 5)
    stranger, new = _asked(
        world, states, Request(request_id="u"), Request(request_id="b", user_id="never seen")
    )
    assert _ids(stranger) == _ids(new)
    assert b"user_id" not in encode(stranger)
    assert len(states) == 0


def test_a_list_as_if_she_had_clicked_changes_no_state() -> None:
    world, states = _world(60, 6)
    other, _ = _world(60, 6)
    recommend([_click(1, "i3")], states, world, NOW, rng=None)
    before = states.encode(states.index["u"], world.catalogue)
    (what_if,) = _asked(
        world, states, Request(request_id="a", user_id="u", if_clicked=["i7", "i9", "no such item"])
    )
    assert states.encode(states.index["u"], world.catalogue) == before
    assert what_if.unknown == ["no such item"]
    others = UserStates(states.hidden.shape[1], states.vector.shape[1])
    recommend(
        [_click(1, "i3"), _click(2, "i7"), _click(3, "i9")],
        others, other, NOW + 3, rng=None,
    )  # fmt: skip
    (real,) = _asked(other, others, Request(request_id="a", user_id="u"), now=NOW + 3)
    assert _ids(what_if) == _ids(real)


def test_named_items_are_ordered_for_the_user_whatever_she_has_met() -> None:
    world, states = _world(60, 7)
    recommend([_click(1, "i3"), _click(2, "i5", "hide")], states, world, NOW, rng=None)
    world.live.follow([world.catalogue.withdraw("i9")])
    named = [f"i{number}" for number in range(12)]
    made, whole, known = _asked(
        world, states,
        Request(request_id="a", user_id="u", rank=[*named, "nobody", "i0"]),
        Request(request_id="b", user_id="u", k=60),
        Request(request_id="c", user_id="u", rank=["i1"]),
    )  # fmt: skip
    assert sorted(_ids(made)) == sorted(set(named) - {"i9"})
    assert made.unknown == ["i9", "nobody"]
    scores = [listed.score for listed in made.items]
    assert scores == sorted(scores, reverse=True)
    assert (whole.unknown, known.unknown) == (msgspec.UNSET, [])


def test_items_are_left_out_by_hashes_of_their_ids_however_these_are_written() -> None:
    world, states = _world(60, 7)
    (whole,) = _asked(world, states, Request(request_id="a", user_id="u", k=3))
    digests = [blake2b(each.encode(), digest_size=8) for each in _ids(whole)]
    numbers = [int.from_bytes(each.digest(), "little") for each in digests]
    assert numbers == [event_hash(each) for each in _ids(whole)]
    for told in ([each.hexdigest() for each in digests], numbers, [f"{each:016x}" for each in numbers]):
        request = decode_request(encode({"request_id": "b", "user_id": "u", "k": 60, "exclude_hashes": told}))
        (rest,) = _asked(world, states, request)
        assert set(_ids(rest)).isdisjoint(_ids(whole))
        assert len(rest.items) > 3


def test_items_like_one_never_hold_it_and_an_unknown_one_is_named() -> None:
    world, states = _world(60, 8)
    nobody = np.array([world.catalogue.index["i4"]], np.int32)
    for _ in range(30):
        world.signals.learn(world.catalogue.index["i11"], NOW, 1, 0.0, nobody)
    made, unknown = _asked(
        world, states, Request(request_id="a", similar_to="i4", k=5), Request(request_id="b", similar_to="x")
    )
    assert _ids(made)[0] == "i11"  # which follows it
    assert "i4" not in _ids(made)
    assert made.items[0].reason.kind == "similar"
    assert "Thing 4" in made.items[0].reason.text
    assert (_ids(unknown), unknown.unknown) == ([], ["x"])


def test_fields_and_profile_come_along_where_they_are_asked_for() -> None:
    world, states = _world(60, 9)
    recommend([_click(1, "i3"), _click(2, "i4", "rating", value=4.0)], states, world, NOW, rng=None)
    plain, rich = _asked(
        world, states,
        Request(request_id="a", user_id="u"),
        Request(request_id="b", user_id="u", fields=["price", "brand", "nothing"], profile=True),
    )  # fmt: skip
    assert b"fields" not in encode(plain)
    assert b"profile" not in encode(plain)
    record = world.catalogue.records[world.catalogue.index[rich.items[0].item_id]]
    expected = {"price": record.price, "brand": record.attributes.get("brand")}
    assert rich.items[0].fields == {name: value for name, value in expected.items() if value is not None}
    told = rich.profile
    assert told.events == 2  # type: ignore[union-attr]
    assert [each.item_id for each in told.history] == ["i4", "i3"]  # type: ignore[union-attr]
    assert told.history[0].value == 4.0  # type: ignore[union-attr]
    assert told.applied_offset == 101  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"filter": {"field": "price", "lt": "x"}}, "filter.lt"),
        ({"filter": {"all": [{"field": "a", "eq": 1}, {"some": 1}]}}, "filter.all[1]"),
        ({"rules": {"boost": [{"filter": {"field": "a", "eq": 1}, "factor": 0.5}]}}, "rules.boost[0].factor"),
        ({"rules": {"bury": [{"filter": {"any": 3}, "factor": 0.5}]}}, "rules.bury[0].filter"),
        ({"rules": {"pin": [{"item_id": "a", "position": 0}]}}, "position"),
        ({"rank": ["a"], "query": "b"}, "rank"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_with_its_place(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=place.replace("[", r"\[").replace("]", r"\]")):
        decode_request(msgspec.json.encode({"request_id": "r", "user_id": "u", **fields}))


def test_the_example_of_the_specification_is_taken() -> None:
    rules = decode_rules(
        b'{"scenario": "cart", "k": 6, "policy": "cart-rules-3", "filter": {"field": "price", "lt": 50},'
        b'"diversity": 0.2, "exploration": 0.1,'
        b'"boost": [{"filter": {"field": "brand", "eq": "Own"}, "factor": 1.5}],'
        b'"bury": [{"filter": {"field": "tags", "eq": "outlet"}, "factor": 0.5}],'
        b'"caps": [{"field": "categories", "most": 2}], "pin": [{"item_id": "i9", "position": 1}],'
        b'"block": ["i4"], "shown_cap": {"times": 3, "hours": 24}, "consumed": "back",'
        b'"back_after_days": 30, "fill": ["popular", "new"], "note": "spring sale"}'
    )
    world, states = _world(60, 10)
    world.steering.put("cart", rules, 3)
    (made,) = _asked(world, states, Request(request_id="a", user_id="u", scenario="cart"))
    assert (made.policy, made.rules, len(made.items)) == ("cart-rules-3", 3, 6)


def test_a_scenario_that_nobody_defined_is_counted_and_gets_the_default_rules() -> None:
    world, states = _world(60, 11)
    world.steering.put("default", Rules(k=3), 1)
    (made,) = _asked(world, states, Request(request_id="a", user_id="u", scenario="hoem"))
    assert (len(made.items), made.rules, made.scenario) == (3, 1, "hoem")
    assert world.steering.unheard == {"hoem": 1}


def test_as_many_blocked_items_as_may_be_named_fit_into_a_record() -> None:
    named = [f"an-item-with-a-usual-sort-of-id-{number:06d}" for number in range(10_000)]
    assert decode_rules(encode(Rules(block=named))).block == named


def test_of_two_pins_for_a_place_the_first_that_may_stand_wins() -> None:
    world, states = _world(60, 12)
    rules = Rules(pin=[Pin("i9", 50), Pin("gone", 1), Pin("i9", 1), Pin("i8", 1), Pin("i8", 3)])
    (made,) = _asked(world, states, Request(request_id="a", user_id="u", k=5, rules=rules))
    assert (_ids(made)[0], _ids(made)[2]) == ("i9", "i8")
    assert [listed.reason.rule for listed in made.items] == ["pin", "", "pin", "", ""]


def test_what_a_click_would_not_keep_out_stays_in_the_list_as_if_it_had_been() -> None:
    world, states = _world(60, 13, repeat_consumption=True)
    asked = Request(request_id="a", user_id="u", k=60)
    (what_if,) = _asked(world, states, msgspec.structs.replace(asked, if_clicked=["i1"]))
    recommend([_click(1, "i1")], states, world, NOW, rng=None)
    (real,) = _asked(world, states, asked)
    assert "i1" in _ids(what_if)
    assert sorted(_ids(what_if)) == sorted(_ids(real))


def test_a_list_that_caps_keep_short_looks_at_further_items_all_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, states = _world(5000, 14)
    looked_at: list[int] = []
    codes = world.steering.fields.codes

    def noted(name: str, items: Any) -> Any:
        looked_at.append(len(items))
        return codes(name, items)

    monkeypatch.setattr(world.steering.fields, "codes", noted)
    rules = Rules(caps=[Cap("categories", 2)])
    (made,) = _asked(world, states, Request(request_id="a", user_id="u", k=10, rules=rules))
    assert len(made.items) == 8  # of four categories
    assert len(looked_at) < 12


def test_fields_of_a_list_are_bounded_as_a_whole() -> None:
    world, states = _world(60, 15)
    text = "x" * 50_000
    for number in range(60):
        item = world.catalogue.announce(Item(item_id=f"i{number}", attributes={"text": text}))
        world.live.follow([item])
    (made,) = _asked(world, states, Request(request_id="a", user_id="u", k=60, fields=["text"]))
    assert len(encode(made)) < 2 * MOST_FIELD_BYTES
    assert [bool(listed.fields) for listed in made.items] == [True] * 20 + [False] * 40
