"""Encoders that learn: small networks of real classes, and the default one on real clicks."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.data.events import Kind
from learner.judging.next_by_text import next_by_text, pairs_of
from learner.text.adaptation.options import AdaptationOptions
from learner.text.card import EncoderChoice, EncoderError
from learner.text.content import text_of
from learner.text.encoder import open_encoder
from learner.text.export_encoder import export
from learner.text.query_encoder import QueryEncoder
from tests.worlds.small_models import save_model
from tests.worlds.tribes import SPECIAL, WORDS

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")
pytestmark = pytest.mark.learner

SIZES: dict[str, Any] = {
    "vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 20, "pad_token_id": 1,
}  # fmt: skip
GPT: dict[str, Any] = {"vocab_size": 40, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 20}
CONFIGS: dict[str, Callable[[], Any]] = {
    "bert": lambda: transformers.BertConfig(**SIZES),
    "gpt2": lambda: transformers.GPT2Config(**GPT),
}
QUICK = AdaptationOptions(
    passes=(10.0, 30.0),
    batch=16,
    layers=(0, 2),
    learning_rate=3e-3,
    texts=100,
    minutes=5,
    tasks={"next": 1.0},
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for name, config in CONFIGS.items():
        save_model(root / name, config(), WORDS, SPECIAL if name == "bert" else ())
    return root


@pytest.fixture(scope="module")
def tribes() -> tuple[Interactions, list[Item]]:
    """Eight tribes, each with titles of one first word; the other words say nothing."""
    rng = np.random.default_rng(0)
    words = rng.integers(0, 8, (60, 4))
    words[:, 0] = np.arange(60) % 8
    items = [
        Item(
            item_id=f"i{n}", title=" ".join(f"{kind}{word}" for kind, word in zip("abcd", row, strict=True)),
            categories=["a0"] if row[1] < 4 else [],
        )
        for n, row in enumerate(words)
    ]  # fmt: skip
    tribe = words[:, 0]
    user = rng.integers(0, 40, 4000)
    item = np.array([rng.choice(np.flatnonzero(tribe == each % 8)) for each in user])
    value = np.where(words[item, 2] % 2, 5, 1).astype(np.float32)
    events = Interactions(
        user.astype(np.int32), item.astype(np.int32), np.arange(4000, dtype=np.int64),
        np.full(4000, Kind.CLICK, np.uint8), value, np.zeros(4000, np.int32), np.zeros(4000, np.int32),
        [f"u{n}" for n in range(40)], [each.item_id for each in items], [None],
    )  # fmt: skip
    return events, items


def of_tribe(folder: Path | str, tribes: tuple[Interactions, list[Item]]) -> float:
    """How often the next item, of 101, is among the first 6 by an encoder."""
    events, items = tribes
    rows = open_encoder(EncoderChoice(str(folder)), 1).read([text_of(item) for item in items])
    return next_by_text(rows, pairs_of(events, 1, 500)).below


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_is_clicked_together_comes_together_for_new_texts_too(
    models: Path, tribes: tuple[Interactions, list[Item]], kind: str, tmp_path: Path
) -> None:
    from learner.text.adaptation.adapt import adapt

    events, items = tribes
    old = np.flatnonzero(events.item < 45)
    seen: list[Mapping[str, float]] = []
    made = adapt(
        EncoderChoice(str(models / kind), "cls" if kind == "bert" else "last"), items[:45], events.at(old),
        tmp_path / "m", QUICK, tell=lambda step, figures: seen.append(figures),
    )  # fmt: skip
    assert made.figures["first_6_after"] > made.figures["first_6_before"]
    new = events.at(np.flatnonzero(events.item >= 45)), items
    assert of_tribe(made.folder, new) > of_tribe(models / kind, new) + 0.05
    shares = [each["share"] for each in seen if "share" in each]
    assert shares == sorted(shares)
    assert any("valid/first_6" in each for each in seen)
    card = open_encoder(EncoderChoice(str(made.folder))).card
    assert card.pooling == ("cls" if kind == "bert" else "last")
    assert not (made.folder / "checkpoint.safetensors").exists()


def test_everything_that_can_teach_does(
    models: Path, tribes: tuple[Interactions, list[Item]], tmp_path: Path
) -> None:
    """Each loss falls."""
    from learner.text.adaptation.adapt import adapt

    seen: dict[str, list[float]] = {}

    def tell(step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            seen.setdefault(name, []).append(value)

    options = replace(
        QUICK, words=15.0, twins=3.0, layers=(1, 3), passes=(15.0, 15.0),
        tasks={"next": 1.0, "click": 1.0, "rating": 1.0, "category": 1.0, "keep": 0.1},
    )  # fmt: skip
    events, items = tribes
    made = adapt(EncoderChoice(str(models / "bert")), items, events, tmp_path / "m", options, tell=tell)
    assert made.figures["click_slope"] > 0  # what is near is what is clicked
    assert made.figures["click_error"] < 0.1
    for name in ("words", "twins", "next", "click", "rating", "category"):
        curve = seen[f"loss/{name}"]
        assert np.mean(curve[-10:]) < np.mean(curve[:10]), name


def test_one_that_was_killed_goes_on_and_comes_to_the_same(
    models: Path, tribes: tuple[Interactions, list[Item]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from learner.text.adaptation import course
    from learner.text.adaptation.adapt import adapt

    monkeypatch.setattr(course, "_SAVED_EVERY_S", 0.0)
    events, items = tribes
    options = replace(QUICK, passes=(2.0, 2.0), words=2.0, layers=(1, 2), tasks={"next": 1.0, "click": 0.3})
    given = EncoderChoice(str(models / "bert")), items, events

    def kill_at(last: int) -> Callable[[int, Mapping[str, float]], None]:
        def tell(step: int, figures: Mapping[str, float]) -> None:
            if step == last and "share" in figures:
                raise KeyboardInterrupt

        return tell

    losses: dict[int, float] = {}
    words: list[int] = []
    again: dict[int, float] = {}

    def into(kept: dict[int, float]) -> Callable[[int, Mapping[str, float]], None]:
        def tell(step: int, figures: Mapping[str, float]) -> None:
            for name in {"loss/words", "loss/next"} & set(figures):
                kept[step] = figures[name]
                if name == "loss/words":
                    words.append(step)

        return tell

    whole = adapt(*given, tmp_path / "whole", options, tell=into(losses))
    # Among hidden words, at the first click, when what is kept is of words, and among clicks.
    for last in (5, max(words) + 1, 15):
        with pytest.raises(KeyboardInterrupt):
            adapt(*given, tmp_path / "part", options, tell=kill_at(last))
        assert (tmp_path / "part" / "checkpoint.safetensors").is_file()
        with pytest.raises(EncoderError):
            open_encoder(EncoderChoice(str(tmp_path / "part")))
    part = adapt(*given, tmp_path / "part", options, tell=into(again))
    assert 14 <= min(again) < max(again) == max(losses)
    assert again == pytest.approx(
        {step: loss for step, loss in losses.items() if step >= min(again)}, abs=1e-4
    )
    steps: list[int] = []
    texts = [text_of(item) for item in items]
    rows = [open_encoder(EncoderChoice(str(each.folder)), 1).read(texts) for each in (whole, part)]
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-4)
    assert adapt(*given, tmp_path / "part", options, tell=lambda step, figures: steps.append(step)) == part
    assert not steps  # there already
    adapt(*given, tmp_path / "part", options, seed=1, tell=lambda step, figures: steps.append(step))
    assert min(steps) <= 1  # other inputs: anew


def test_what_cannot_be_learned_is_said(
    models: Path, tribes: tuple[Interactions, list[Item]], tmp_path: Path
) -> None:
    from learner.text.adaptation.adapt import adapt

    events, items = tribes
    given = EncoderChoice(str(models / "bert")), items
    unrated = replace(events, value=np.full(len(events.value), np.nan, np.float32))
    with pytest.raises(EncoderError, match="no task is left of rating"):
        adapt(*given, unrated, tmp_path / "m", replace(QUICK, tasks={"rating": 1.0}))
    alone = replace(events, item=events.user)  # each user clicks one text, over and over
    with pytest.raises(EncoderError, match="nobody has clicked two"):
        adapt(*given, alone, tmp_path / "m", replace(QUICK, held_back=0.0))
    with pytest.raises(EncoderError, match="lower the learning rate"):
        adapt(*given, events, tmp_path / "m", replace(QUICK, learning_rate=1e30))


def test_a_checkpoint_that_cannot_be_read_is_begun_anew(
    models: Path, tribes: tuple[Interactions, list[Item]], tmp_path: Path
) -> None:
    from learner.text.adaptation.adapt import adapt

    (tmp_path / "checkpoint.safetensors").write_bytes(b"no")
    (tmp_path / "adapted.json").write_text(json.dumps({"made_of": 3}))
    events, items = tribes
    made = adapt(
        EncoderChoice(str(models / "bert")),
        items,
        events,
        tmp_path,
        replace(QUICK, layers=(1,), passes=(1.0,), rank=0, projection=False),
    )
    assert made.figures["steps"] > 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith((".", "check"))) == []


def test_what_was_adapted_is_exported_for_workers(
    models: Path, tribes: tuple[Interactions, list[Item]], tmp_path: Path
) -> None:
    from learner.text.adaptation.adapt import adapt

    events, items = tribes
    base = EncoderChoice(str(models / "bert"), query_prompt="a1 ")
    made = adapt(base, items, events, tmp_path / "m", replace(QUICK, passes=(2.0, 3.0)))
    encoder = open_encoder(EncoderChoice(str(made.folder)), 1)
    assert encoder.card.query_prompt == "a1 "
    export(encoder, tmp_path / "e")
    texts = [item.title or "" for item in items]
    expected = encoder.read(texts, query=True)
    assert (QueryEncoder.open(tmp_path / "e").encode(texts) * expected).sum(1).min() > 0.98
