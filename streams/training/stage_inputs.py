"""What an adaptation was begun with, kept beside its checkpoint: a kill must not begin it anew.

Owns the files: clicks as arrays, items as lines of JSON. Clicks go on meanwhile, and a checkpoint fits
only the inputs that it was made of. No pickles.
"""

import gzip
import json
import shutil
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import msgspec
import numpy as np
import safetensors.numpy

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.data.records import Lines
from learner.text.content import text_of
from learner.training.time_plan import LIST_STARTS

_ARRAYS, _NAMES, _ITEMS = "clicks.safetensors", "names.json", "items.jsonl.gz"
_SKETCH = 256  # hashes of texts, the smallest, which stand for all


def before_lists(data: Interactions) -> Interactions:
    """The clicks before the first of those that a training makes lists for.

    An encoder that knew these would make content say more than it does of clicks to come, and the ranker
    would learn to believe it. `data` is in order of time.
    """
    first = int(LIST_STARTS[0] * len(data))
    return data.at(slice(0, int(data.time_ms.searchsorted(data.time_ms[first])))) if len(data) else data


def keep_inputs(folder: Path, items: Sequence[Item], clicks: Interactions) -> None:
    """Writes both to a folder, whole or not at all. Raises OSError."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    columns = {name: getattr(clicks, name) for name in ("user", "item", "time_ms", "kind", "value")}
    safetensors.numpy.save_file({n: np.ascontiguousarray(a) for n, a in columns.items()}, partial / _ARRAYS)
    (partial / _NAMES).write_text(json.dumps(clicks.item_ids), "utf-8")
    packed = gzip.compress(msgspec.json.Encoder().encode_lines(items), compresslevel=3)
    (partial / _ITEMS).write_bytes(packed)
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def kept_inputs(folder: Path) -> tuple[list[Item], Interactions] | None:
    """The items and clicks that are kept there; None where there are none that can be read."""
    try:
        columns = safetensors.numpy.load_file(folder / _ARRAYS)
        names = json.loads((folder / _NAMES).read_text("utf-8"))
        items = list(Lines(gzip.decompress((folder / _ITEMS).read_bytes()), Item))
    except (OSError, ValueError, EOFError, safetensors.SafetensorError, msgspec.DecodeError):
        return None
    nothing = np.zeros(len(columns["user"]), np.int32)
    users = [str(number) for number in range(int(columns["user"].max(initial=-1)) + 1)]
    clicks = Interactions(
        columns["user"], columns["item"], columns["time_ms"], columns["kind"], columns["value"],
        nothing, nothing, users, names, [None],
    )  # fmt: skip
    return items, clicks


def sketch_of(items: Sequence[Item]) -> list[int]:
    """A few hashes that tell how much two catalogues' texts have in common (`in_common`)."""
    texts = {text for item in items if (text := text_of(item))}
    hashes = (int.from_bytes(blake2b(text.encode(), digest_size=6).digest()) for text in texts)
    return sorted(hashes)[:_SKETCH]


def in_common(one: Sequence[int], other: Sequence[int]) -> float:
    """Of all texts of two catalogues together, the share that both have; 1 where both have none."""
    known, new = set(one), set(other)
    together = sorted(known | new)[:_SKETCH]
    return sum(each in known and each in new for each in together) / len(together) if together else 1.0
