"""Whatever happens to a catalogue, a mask is what the plain reference says of its records."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from learner.data.catalogue import Catalogue, Item
from learner.filters.fields import Fields
from learner.filters.language import both, parse
from learner.filters.masks import Masks
from learner.filters.values import number_keys, text_key, truth_key
from tests.worlds.plain_filters import lets_through, values_of

IDS = [f"i{n}" for n in range(24)]  # more than the catalogue has room for at first
WORDS = st.sampled_from(["", "a", "b", "1", "true", "ä", "1970-01-01"])
NUMBERS = st.one_of(st.integers(-2, 3), st.sampled_from([0.5, -0.0, 2.0, 1e300, 2**60, 2**60 + 1]))
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS)
LISTS = st.lists(st.one_of(SCALARS, st.just([1]), st.just({"a": 1})), max_size=4)
CELLS = st.one_of(SCALARS, LISTS, st.builds(lambda parts: {"values": parts}, LISTS), st.just({"values": 1}))
ATTRIBUTES = ["brand", "size", "price", "attributes.x", "ß"]
ITEMS = st.builds(
    Item,
    item_id=st.sampled_from(IDS),
    title=st.one_of(st.none(), WORDS),
    categories=st.lists(WORDS, max_size=3),
    tags=st.lists(WORDS, max_size=9),
    price=st.one_of(st.none(), NUMBERS.map(float)),
    published_at=st.one_of(st.none(), st.sampled_from([0, 1, 86_400_000, 2**53 - 1])),
    available=st.booleans(),
    attributes=st.dictionaries(st.sampled_from(ATTRIBUTES), CELLS, max_size=4),
)
TEXTS = ["item_id", "title", "categories", "tags"]
OTHERS = ["brand", "attributes.size", "attributes.price", "attributes.attributes.x", "ß", "nowhere"]
WANTED = st.one_of(st.booleans(), NUMBERS, WORDS)
TIMES = st.sampled_from([0, 1, 86_400_000.0, "1970-01-01", "1970-01-02T01:00:00+01:00"])


def leaves(names: list[str], values: Any, limits: Any) -> Any:
    """Leaves on these fields; `limits` for what has an order."""
    tests = dict.fromkeys(("eq", "ne"), values) | {op: st.lists(values, max_size=12) for op in ("in", "nin")}
    tests |= {"exists": st.booleans()} | dict.fromkeys(
        ("lt", "lte", "gt", "gte") if limits is not None else (), limits
    )
    one = st.sampled_from(sorted(tests)).flatmap(lambda op: st.tuples(st.just(op), tests[op]))
    several = st.lists(one, min_size=1, max_size=2).map(dict)
    return st.builds(lambda name, said: {"field": name, **said}, st.sampled_from(names), several)


LEAVES = st.one_of(
    leaves(TEXTS, st.one_of(WANTED, st.sampled_from(IDS)), None),
    leaves(["price", *OTHERS], WANTED, NUMBERS),
    leaves(["published_at"], TIMES, TIMES),
)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: {"all": parts}),
        st.lists(inner, max_size=3).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=5,
)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["announce", "admit"]), ITEMS),
        st.tuples(st.just("admit_all"), st.lists(ITEMS, max_size=6, unique_by=lambda item: item.item_id)),
        st.tuples(st.sampled_from(["withdraw", "intern", "expire", "revive"]), st.sampled_from(IDS)),
    ),
    max_size=8,
)


def apply(catalogue: Catalogue, changes: list[tuple[str, Any]]) -> None:
    for name, argument in changes:
        if name == "expire":
            catalogue.expire(np.array([catalogue.intern(argument)]))
        elif name == "revive":
            catalogue.revive(catalogue.intern(argument))
        else:
            getattr(catalogue, name)(argument)


def record(catalogue: Catalogue, number: int) -> Item:
    return catalogue.records.get(number) or Item(item_id=catalogue.ids[number])


def expected(catalogue: Catalogue, form: dict[str, Any]) -> list[int]:
    return [
        number
        for number in range(catalogue.size)
        if catalogue.available[number] and lets_through(form, record(catalogue, number))
    ]


def compare(masks: Masks, slot: int, form: dict[str, Any]) -> None:
    right = expected(masks.catalogue, form)
    assert masks.pool.shape[1] == masks.catalogue.capacity
    assert np.flatnonzero(masks.pool[slot]).tolist() == right
    assert masks.count(slot) == len(right)
    found = masks.items(slot)
    assert found is not None
    assert found.tolist() == right


@settings(max_examples=300, deadline=None)
@given(
    rounds=st.lists(st.tuples(CHANGES, st.sets(st.integers(0, 3))), min_size=1, max_size=5),
    forms=st.lists(FILTERS, min_size=4, max_size=4),
    room=st.sampled_from([0, 1 << 20]),
)
def test_masks_follow_the_catalogue(rounds: list[Any], forms: list[dict[str, Any]], room: int) -> None:
    catalogue = Catalogue()
    masks, filters = Masks(catalogue, room), [parse(form) for form in forms]
    for changes, asked in rounds:
        apply(catalogue, changes)
        masks.follow()
        wanted = sorted(asked)
        slots = masks.rows([filters[which] for which in wanted])
        for which, slot in zip(wanted, slots.tolist(), strict=True):
            compare(masks, slot, forms[which])


@settings(max_examples=150, deadline=None)
@given(before=CHANGES, form=FILTERS, between=st.lists(CHANGES, max_size=12), step=st.integers(1, 7))
def test_a_mask_built_in_parts_is_the_same(
    before: list[Any], form: dict[str, Any], between: list[Any], step: int
) -> None:
    catalogue = Catalogue()
    masks, filter_ = Masks(catalogue), parse(form)
    apply(catalogue, before)
    for changes in between:
        if masks.build_some(filter_, step):
            compare(masks, masks._rows[filter_].slot, form)
        apply(catalogue, changes)
        masks.follow()
    while not masks.build_some(filter_, step):
        pass
    assert masks.ready(filter_)
    compare(masks, masks._rows[filter_].slot, form)


@settings(max_examples=100, deadline=None)
@given(form=FILTERS, other=FILTERS, items=st.lists(ITEMS, max_size=6))
def test_both_is_what_each_lets_through(form: Any, other: Any, items: list[Item]) -> None:
    one, two = parse(form), parse(other)
    joined = both(one, two)
    assert joined is not None
    assert both(one, None) == both(None, one) == one
    for item in items:
        assert lets_through(joined.json(), item) == (lets_through(form, item) and lets_through(other, item))


@settings(max_examples=200, deadline=None)
@given(form=FILTERS, items=st.lists(ITEMS, max_size=6))
def test_the_json_form_comes_back(form: dict[str, Any], items: list[Item]) -> None:
    filter_ = parse(form)
    again = parse(filter_.json())
    assert again == filter_
    assert hash(again) == hash(filter_)
    for item in items:
        assert lets_through(filter_.json(), item) == lets_through(form, item)


@settings(max_examples=150, deadline=None)
@given(changes=CHANGES, more=CHANGES, name=st.sampled_from(["item_id", "price", "tags", *OTHERS]))
def test_codes_are_the_values_of_each_item(changes: list[Any], more: list[Any], name: str) -> None:
    catalogue = Catalogue()
    fields = Fields(catalogue)
    for each in (changes, more):
        apply(catalogue, each)
        items = np.random.default_rng(0).permutation(catalogue.size).astype(np.int32)
        begins, codes = fields.codes(name, items)
        assert begins.tolist() == sorted(begins.tolist())
        assert begins[-1] == len(codes)
        seen: dict[int, Any] = {}
        anything = False
        for k, number in enumerate(items.tolist()):
            values = list(values_of(record(catalogue, number), name))
            anything |= bool(values)
            own = codes[begins[k] : begins[k + 1]].tolist()
            if name == "item_id":
                assert own == [number]
                continue
            plain = {code_of(value) for value in values if not isinstance(value, list | dict)}
            assert sorted(own) == sorted(plain)
            for value in values:
                if not isinstance(value, list | dict):
                    same = value if isinstance(value, str | bool) else float(value)
                    assert seen.setdefault(code_of(value), same) == same
        assert fields.known(name) == anything


NAMES = st.text(min_size=1, max_size=20) | st.sampled_from(['size 3"', "a\\b", "tab\there", "\x00", "\x7f"])


@settings(max_examples=150, deadline=None)
@given(attributes=st.dictionaries(NAMES, st.sampled_from(["a", 1, True]), max_size=4), other=NAMES)
def test_a_field_may_have_any_name_that_an_attribute_has(attributes: dict[str, Any], other: str) -> None:
    attributes = {name: cell for name, cell in attributes.items() if name != "attributes."}
    item = Item(item_id="i", attributes=attributes)
    catalogue = Catalogue()
    catalogue.announce(item)
    names = [name for name in (*attributes, other) if name != "attributes."]
    for asked in [names, *([name] for name in names)]:
        masks = Masks(catalogue)
        form = {"all": [{"field": name, "in": ["a", 1]} for name in asked]}
        compare(masks, int(masks.rows([parse(form)])[0]), form)
    for name in names:
        fields, values = Fields(catalogue), list(values_of(item, name))
        assert fields.codes(name, np.array([0]))[1].tolist() == [code_of(value) for value in values]
        assert fields.known(name) == bool(values)


def code_of(value: Any) -> int:
    if isinstance(value, bool):
        return truth_key(value)
    return text_key(value) if isinstance(value, str) else int(number_keys(np.array([float(value)]))[0])
