"""Texts read over the wire: by a real server around the installed encoder, and by one that does all wrong."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learner.data.catalogue import Item
from learner.text import encoder as encoders
from learner.text.cache import TextCache
from learner.text.card import EncoderChoice
from learner.text.content import ContentEncoder
from learner.text.encoder import open_encoder
from streams.training.text_server import MOST_TEXTS, Address, TextServer, TextServerError
from tests.worlds.text_server import MODEL, Told, text_server

pytestmark = pytest.mark.skipif(not encoders.installed(), reason="needs: pip install 'nextclick[learner]'")

KEY = "sk-none-of-your-business"
WISHES = ["a romantic comedy set in Paris", "", "space war science fiction", "tea pot"]


@pytest.fixture
def told() -> Iterator[Told]:
    with text_server(KEY) as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def server(told: Told, waits: list[float]) -> TextServer:
    return TextServer(Address(told.url, MODEL, KEY), waits.append)


def test_the_wire_says_what_the_model_says(told: Told, server: TextServer) -> None:
    rows = server.read(WISHES)
    np.testing.assert_allclose(rows, open_encoder(EncoderChoice()).read(WISHES), atol=1e-5)
    assert not rows[1].any()
    assert told.bodies[-1] == {
        "model": MODEL,
        "input": [WISHES[0], *WISHES[2:]],
        "encoding_format": "float",
    }
    assert (server.spent.texts, server.spent.requests, server.spent.tokens) == (4, 2, 28)  # with the probe
    assert str(server.spent) == "4 texts by 2 requests, 28 tokens"
    assert (server.card.name, server.card.width) == (MODEL, 384)
    assert KEY not in repr(server._address) + repr(server.card)


def test_many_texts_go_in_batches_and_long_ones_are_cut(told: Told, server: TextServer) -> None:
    texts = [f"film {n}" for n in range(MOST_TEXTS + 5)] + ["long " * 3000] * 11
    seen: list[tuple[int, int]] = []
    assert server.read(texts, lambda done, of: seen.append((done, of))).any(axis=1).all()
    sizes = [len(body["input"]) for body in told.bodies[1:]]
    assert sizes[0] == MOST_TEXTS
    assert sum(sizes) == len(texts)
    assert max(sum(map(len, body["input"])) for body in told.bodies[1:]) <= 40_000
    assert seen[-1] == (len(texts), len(texts))


def test_what_passes_is_tried_again(told: Told, server: TextServer, waits: list[float]) -> None:
    told.faults.extend([429, 500, ("after", 7), 503])
    assert server.read(["tea pot"]).any()
    assert waits == [0.5, 1.0, 7.0, 4.0]
    assert server.spent.requests == 6
    told.faults.extend([("after", "Mon, 30 Nov 2026 13:00:00 GMT"), ("after", 86_400)])
    server.read(["tea pot"])
    assert waits[4:] == [0.5, 30.0]


def test_what_does_not_pass_is_given_up_and_says_so(told: Told, server: TextServer) -> None:
    told.faults.extend([503] * 5)
    with pytest.raises(
        TextServerError, match=r"answers 503 .*not now.*, 5 times; what was read so far is kept"
    ):
        server.read(["tea pot"])


@pytest.mark.parametrize(
    ("address", "says"),
    [
        (Address("URL", MODEL, "sk-wrong"), "answers 401 .*check encoder_key"),
        (Address("URL", MODEL), "it asks for a key: set encoder_key_file"),
        (Address("URL", "other", KEY), "check the address and whether it has the model other"),
        (Address("URL/v2", MODEL, KEY), "answers 404"),
        (Address("URL", "", KEY), "needs encoder_model"),
        (Address("ftp://x/v1", MODEL), "expected http://HOST:PORT/v1"),
        (Address("http://user:password@127.0.0.1/v1", MODEL), "expected no user, password or query"),
        (Address("http://embeddings.example/v1", MODEL, KEY), "in the clear; use https"),
        (Address("http://127.0.0.1:1/v1", MODEL), "does not answer .*, 5 times"),
    ],
)
def test_an_address_that_is_wrong_is_named(told: Told, address: Address, says: str) -> None:
    with pytest.raises(TextServerError, match=says) as caught:
        TextServer(replace(address, url=address.url.replace("URL", told.url)), lambda _: None)
    assert KEY not in str(caught.value)
    assert "sk-wrong" not in str(caught.value)


def test_a_server_that_is_too_slow_is_named(told: Told) -> None:
    told.delay_s = 1.0
    with pytest.raises(TextServerError, match=r"does not answer .*(Read|Connect)Timeout"):
        TextServer(Address(told.url, MODEL, KEY, timeout_s=0.05), lambda _: None)


def _all_rows(answer: dict[str, Any], row: list[Any]) -> dict[str, Any]:
    return answer | {"data": [each | {"embedding": row} for each in answer["data"]]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda answer: answer | {"data": answer["data"][1:]}, "expected 2 vectors, got 1"),
        (lambda answer: answer | {"data": [answer["data"][0]] * 2}, "expected 2 vectors, got 2"),
        (lambda answer: {"embeddings": []}, "expected embeddings as OpenAI's API has them"),
        (lambda answer: _all_rows(answer, [1.0] * 12), r"got \[12\]"),
        (lambda answer: _all_rows(answer, [0.0] * 384), "finite"),
        (lambda answer: _all_rows(answer, ["x"]), "something else"),
    ],
)  # fmt: skip
def test_answers_that_are_none_are_refused(told: Told, server: TextServer, change: object, says: str) -> None:
    told.faults.append(change)
    with pytest.raises(TextServerError, match=says):
        server.read(["tea pot", "milk jug"])


def test_an_address_reads_items_once_and_what_it_read_is_kept(
    told: Told, server: TextServer, tmp_path: Path
) -> None:
    items = [
        Item(item_id=str(n), title=title) for n, title in enumerate(["Red lipstick", "A ghost story", "Tea"])
    ]
    cache = TextCache(tmp_path)
    encoder = ContentEncoder.fit(items, cache=cache, reader=server)
    assert encoder.encode(items).any(axis=1).all()
    asked = len(told.bodies)
    again = ContentEncoder.load(encoder.card, encoder.arrays(), cache=cache, reader=server)
    np.testing.assert_array_equal(again.encode(items), encoder.encode(items))
    assert len(told.bodies) == asked
    elsewhere = ContentEncoder.load(encoder.card, encoder.arrays())  # nobody has named the address there
    near = (elsewhere.encode(items) * encoder.encode(items)).sum(1)
    assert near.min() > 0.5
