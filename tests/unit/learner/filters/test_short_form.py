"""The short form: each spelling once, and the characters at fault."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.filters.language import FilterError, parse
from learner.filters.short_form import read


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (
            'categories:tea, price<20, -brand:"Acme Ltd"',
            {"all": [
                {"field": "categories", "eq": "tea"},
                {"field": "price", "lt": 20},
                {"not": {"field": "brand", "eq": "Acme Ltd"}},
            ]},
        ),
        ("brand=Own", {"field": "brand", "eq": "Own"}),
        ("brand != Own ", {"field": "brand", "ne": "Own"}),
        ("price<=2.50", {"field": "price", "lte": 2.5}),
        ("price > -3", {"field": "price", "gt": -3}),
        ("price>=1e3", {"field": "price", "gte": 1000}),
        ("size:42", {"field": "size", "eq": 42}),
        ('size:"42"', {"field": "size", "eq": "42"}),
        ("zip:01234", {"field": "zip", "eq": "01234"}),
        ("title:1984", {"field": "title", "eq": "1984"}),
        ("item_id:007", {"field": "item_id", "eq": "007"}),
        ("tags:true", {"field": "tags", "eq": "true"}),
        ("new:true,sold:false", {"all": [{"field": "new", "eq": True}, {"field": "sold", "eq": False}]}),
        ('new:"true"', {"field": "new", "eq": "true"}),
        ("published_at>=2024-01-01T10:00:00Z", {"field": "published_at", "gte": "2024-01-01T10:00:00Z"}),
        ("title:it's 5 o'clock: tea-time", {"field": "title", "eq": "it's 5 o'clock: tea-time"}),
        (r'title:"a \"b\" \\ c,d"', {"field": "title", "eq": 'a "b" \\ c,d'}),
        ('"price, net"<3', {"field": "price, net", "lt": 3}),
        ('- "-x":1', {"not": {"field": "-x", "eq": 1}}),
        ('brand:""', {"field": "brand", "eq": ""}),
        ("attributes.title:x", {"field": "attributes.title", "eq": "x"}),
    ],
)  # fmt: skip
def test_spellings(text: str, form: dict[str, Any]) -> None:
    assert read(text) == form
    assert str(read(text)) == str(form)  # 1 is not True
    parse(form)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "filter, character 1: expected the name of a field, got the end"),
        ("  ", "filter, character 3: expected the name of a field, got the end"),
        ("price", "filter, character 6: expected one of : = != < <= > >=, got the end"),
        ("price<", "filter, character 7: expected a value after <, got the end"),
        ("a:1,", "filter, character 5: expected the name of a field, got the end"),
        ("a:1,,b:2", 'filter, character 5: expected the name of a field, got ",b:2"'),
        (":3", 'filter, character 1: expected the name of a field, got ":3"'),
        ("a:1, price<cheap", 'filter, character 12: expected a number after <, got "cheap"'),
        ('price>"3"', 'filter, character 7: expected a number after >, got "\\"3\\""'),
        ("a!b:1", 'filter, character 2: expected one of : = != < <= > >=, got "!b:1"'),
        ('a:"b', 'filter, character 3: expected a second quote, got "\\"b"'),
        ('a:"b" c', 'filter, character 7: expected a comma, got "c"'),
        ('a:b"c"', 'filter, character 4: a quote must stand first: put the whole in quotes, got "\\"c\\""'),
        ('a"b:c', 'filter, character 2: a quote must stand first: put the whole in quotes, got "\\"b:c"'),
    ],
)
def test_faults_are_told_with_their_character(text: str, said: str) -> None:
    with pytest.raises(FilterError) as caught:
        read(text)
    assert str(caught.value) == said


SIGNS = {"eq": [":", "="], "ne": ["!="], "lt": ["<"], "lte": ["<="], "gt": [">"], "gte": [">="]}


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(
    terms=st.lists(
        st.tuples(
            st.text(min_size=1),
            st.sampled_from(sorted(SIGNS)),
            st.integers(0, 1),
            st.one_of(
                st.integers(-(2**53) + 1, 2**53 - 1),
                st.floats(allow_nan=False, allow_infinity=False),
                st.text(),
            ),
            st.booleans(),
            st.sampled_from(["", " ", "\t "]),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_what_is_written_is_read(terms: list[Any]) -> None:
    texts, forms = [], []
    for name, operator, which, value, negative, space in terms:
        if operator not in ("eq", "ne") and isinstance(value, str):
            value = 1
        if name in ("item_id", "title", "categories", "tags"):
            value = str(value)
        sign = SIGNS[operator][which % len(SIGNS[operator])]
        said = quoted(value) if isinstance(value, str) else repr(value)
        texts.append(f"{space}{'-' * negative}{space}{quoted(name)}{space}{sign}{space}{said}{space}")
        form = {"field": name, operator: value}
        forms.append({"not": form} if negative else form)
    assert read(",".join(texts)) == (forms[0] if len(forms) == 1 else {"all": forms})
