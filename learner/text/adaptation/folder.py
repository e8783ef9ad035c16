"""An adaptation's folder: a checkpoint while it goes on, then a model that any loader here takes.

Owns both formats. Weights are safetensors alone. A folder is the model's once `adapted.json` stands in it,
which is written last.

checkpoint.safetensors   all that goes on, with the state in its header; gone when the model is there
model.safetensors, config.json, tokenizer files, modules.json, 1_Pooling, README.md   as sentence encoders are
adapted.json             of which inputs it was made, and figures
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import safetensors
import safetensors.torch
from torch import Tensor

from learner.text.pretrained import Pretrained

FORMAT = 1
CHECKPOINT, DONE = "checkpoint.safetensors", "adapted.json"
_WEIGHTS = "model.safetensors"
_SKIPPED = (".safetensors", ".bin", ".index.json", ".msgpack", ".h5", ".onnx", ".ot")  # weights of the base
_NO_ACTIVATION = "torch.nn.modules.linear.Identity"
_MODES = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens", "last": "lasttoken"}


class State(msgspec.Struct, kw_only=True):
    """Where an adaptation stands. made_of: a hash of its inputs; kind: what teaches; since: steps of that."""

    made_of: str
    step: int = 0
    share: float = 0.0
    kind: str = ""
    since: int = 0
    spent_s: float = 0.0
    best: float = -1.0
    judged_since: int = 0
    judged: int = 0
    figures: dict[str, float] = {}
    format: int = FORMAT


class Done(msgspec.Struct, kw_only=True):
    """What adapted.json holds. last_ms: of the newest click that was given to it."""

    made_of: str
    base: str
    figures: dict[str, float]
    base_identity: str = ""
    last_ms: int = 0
    format: int = FORMAT


def finished(folder: Path, made_of: str) -> dict[str, float] | None:
    """The figures of a finished adaptation with the same inputs; None where there is none."""
    try:
        done = msgspec.json.decode((folder / DONE).read_bytes(), type=Done)
    except (OSError, msgspec.DecodeError):
        return None
    same = done.made_of == made_of and done.format == FORMAT and (folder / _WEIGHTS).is_file()
    return done.figures if same else None


def save(folder: Path, state: State, tensors: Mapping[str, Tensor]) -> None:
    """Writes the checkpoint, whole or not at all. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f".{CHECKPOINT}.new"
    kept = {name: each.detach().cpu().contiguous() for name, each in tensors.items()}
    safetensors.torch.save_file(kept, new, {"state": msgspec.json.encode(state).decode()})
    new.replace(folder / CHECKPOINT)


def load(folder: Path, made_of: str) -> tuple[State, dict[str, Tensor]] | None:
    """The checkpoint of an adaptation with the same inputs; None where there is none that can be read."""
    try:
        with safetensors.safe_open(folder / CHECKPOINT, "pt") as file:
            state = msgspec.json.decode(file.metadata()["state"], type=State)
            if state.made_of != made_of or state.format != FORMAT:
                return None
            return state, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError):
        return None


def write(
    folder: Path, model: Any, projection: Mapping[str, Tensor] | None, base: Pretrained, done: Done
) -> None:
    """Writes the finished encoder; `projection` as sentence encoders keep one, or None.

    A folder that is read meanwhile lacks weights, never has half of them.
    """
    partial = folder / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for path in base.folder.iterdir():
        if path.is_file() and not path.name.endswith(_SKIPPED) and path.suffix in (".json", ".txt", ".model"):
            shutil.copyfile(path, partial / path.name)
    model.save_pretrained(partial, safe_serialization=True)
    card = base.card
    modes = {f"pooling_mode_{name}": kind == card.pooling for kind, name in _MODES.items()}
    pooling = {"word_embedding_dimension": model.config.hidden_size, **modes}
    parts = ("Transformer", "Pooling", *(("Dense",) if projection is not None else ()), "Normalize")
    modules = [
        {
            "idx": place, "name": str(place), "path": f"{place}_{kind}" if place else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for place, kind in enumerate(parts)
    ]  # fmt: skip
    for each in modules[1:]:
        (partial / str(each["path"])).mkdir()
    if projection is not None:
        wide, narrow = projection["linear.weight"].shape[::-1]
        dense = {
            "in_features": wide,
            "out_features": narrow,
            "bias": True,
            "activation_function": _NO_ACTIVATION,
        }
        (partial / "2_Dense" / "config.json").write_text(json.dumps(dense, indent=2), "utf-8")
        safetensors.torch.save_file(dict(projection), partial / "2_Dense" / _WEIGHTS)
    prompts = {"prompts": {"query": card.query_prompt, "document": card.item_prompt}}
    for name, content in {
        "1_Pooling/config.json": pooling, "modules.json": modules,
        "config_sentence_transformers.json": prompts,
    }.items():  # fmt: skip
        (partial / name).write_text(json.dumps(content, indent=2), "utf-8")
    (partial / "README.md").write_text(
        f"---\nlicense: {card.licence.lower()}\nbase_model: {card.model}\n---\n\n"
        f"# {card.name}, adapted\n\nWhat {card.name} became by a catalogue's texts and clicks: "
        "`nextclick encoder adapt`.\n",
        "utf-8",
    )
    for old in (folder / DONE, folder / _WEIGHTS):
        old.unlink(missing_ok=True)
    for each in modules[1:]:
        shutil.rmtree(folder / str(each["path"]), ignore_errors=True)
        (partial / str(each["path"])).replace(folder / str(each["path"]))
    files = sorted(
        (path for path in partial.iterdir() if path.is_file()), key=lambda each: each.name == _WEIGHTS
    )
    for path in files:
        path.replace(folder / path.name)
    shutil.rmtree(partial)
    (folder / DONE).write_bytes(msgspec.json.format(msgspec.json.encode(done), indent=2))
    (folder / CHECKPOINT).unlink(missing_ok=True)
