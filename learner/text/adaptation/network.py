"""The network that learns: an encoder whose upper layers have small matrices beside their own (LoRA), and a
projection behind its pooling.

Owns the loading, which layers learn, what the frozen ones below make of each text, once read, and the
merging. Knows no clicks. Needs torch, transformers and peft.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from accelerate import Accelerator
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from learner.text.adaptation.options import AdaptationOptions
from learner.text.architectures import is_bert
from learner.text.cache import TextCache
from learner.text.card import EncoderError
from learner.text.encoder import projection_of, prompted, tokenizer_of
from learner.text.graph_reader import Tokens
from learner.text.pretrained import Pretrained
from learner.text.reading import keys_of
from learner.text.torch_encoder import loaded

_LAYERS = (
    "encoder.layer",
    "transformer.layer",
    "layers",
    "h",
    "encoder.layers",
)  # as architectures call them
_KEPT_BYTES = 1_000_000_000  # of what frozen layers make of texts; where it is more, they are run again
_READ_TOGETHER, _CACHED_TOGETHER = 32, 1000
_PADDED_TOGETHER = 16  # texts of a batch that get one length
_DEEP = 12  # layers from which a GPU's memory is worth the time of computing activations twice

Places = NDArray[np.int64]


class Network:
    """T texts through an encoder; `vectors` is what learns.

    depth: layers; learning: upper ones of them that learn now; inner: width of what they make, width: of a
    vector; device: where it runs
    """

    def __init__(
        self, base: Pretrained, texts: Sequence[str], kept: int, options: AdaptationOptions,
        cache: TextCache | None = None,
    ) -> None:  # fmt: skip
        """`kept`: so many of the texts, the first ones, will be read again and again.

        `cache` keeps what the whole network made of texts before it learned.

        Raises EncoderError where the model cannot be loaded, or has no layers that are known here.
        """
        self.hardware = Accelerator(mixed_precision=_halves())
        self.device = self.hardware.device
        self.base, self.texts, self.kept, self.cache = base, list(texts), kept, cache or TextCache()
        self.model: Any = loaded(base)
        self.layers = _layers_of(self.model, base)
        self.depth, self.learning = len(self.layers), -1
        self._learns_before = bool(options.words or options.twins)
        most = self._most = min(max(options.layers), self.depth)
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        for layer in self.layers[self.depth - most :]:
            for module in layer.modules():
                if isinstance(module, nn.Dropout):
                    module.p = options.dropout
        self.peft: Any = None
        if options.rank and most:
            wish = LoraConfig(
                r=options.rank, lora_alpha=2 * options.rank, lora_dropout=options.dropout, bias="none",
                target_modules=_matrices(self.model, self.layers[self.depth - most :]),
            )  # fmt: skip
            self.peft = get_peft_model(self.model, wish)
        self.model.to(self.device)
        self._whole = not is_bert(base.config)  # then the parts of a network are not known, and all is run
        if self.device.type == "cuda" and most > _DEEP:
            self.model.gradient_checkpointing_enable()
            self._whole = True
        self.tokenizer = tokenizer_of(base)
        self.most = min(options.max_tokens, base.card.max_tokens)
        tokens = Tokens(self.tokenizer, self.most)
        ids = tokens.of(prompted(texts, base.card, query=False))
        self.length: Places = np.array([len(each) for each in ids], np.int64)
        self.begin: Places = np.concatenate([[0], np.cumsum(self.length)]).astype(np.int64)
        self.ids = torch.tensor([token for each in ids for token in each], dtype=torch.int64)
        self.padding = int(base.config.get("pad_token_id") or 0)
        self.inner = int(self.model.config.hidden_size)
        self._turns = options.projection
        self.projection = (
            Projection(base, self.inner, options.dropout) if options.projection or base.projection else None
        )
        self.width = self.inner if self.projection is None else self.projection.width
        if self.projection is not None:
            self.projection.to(self.device)
        # What comes into the lowest layer that learns (tokens, D), halves; where none does, what comes out of
        # all (texts, D).
        self._below: Tensor | None = None
        self._pooled: Tensor | None = None

    def thaw(self, layers: int) -> bool:
        """Lets the `layers` upper ones learn, and no others; says whether that changes anything."""
        layers = min(layers, self.depth)
        if layers == self.learning:
            return False
        self.learning = layers
        for place, layer in enumerate(self.layers):
            learns = place >= self.depth - layers
            for name, parameter in layer.named_parameters():
                parameter.requires_grad_(learns and (self.peft is None or "lora_" in name))
        self._below = self._pooled = None
        return True

    def parameters(self) -> dict[str, nn.Parameter]:
        """All that ever learn, by name: those of layers that are frozen yet have no gradient."""
        upper = self.layers[self.depth - self._most :] if self.peft is None else [self.model]
        found: dict[str, nn.Parameter] = {
            f"{place}.{name}": each
            for place, part in enumerate(upper) for name, each in part.named_parameters()
            if self.peft is None or "lora_" in name
        }  # fmt: skip
        if self.projection is not None and self._turns:
            found |= {f"projection.{name}": each for name, each in self.projection.named_parameters()}
        return found

    def read_below(self) -> Iterator[float]:
        """Reads the kept texts up to the first thing that learns, if that fits; yields the finished share."""
        self.train(False)
        tokens = int(self.begin[self.kept])
        if self.learning == 0:
            if self._learns_before:  # then it is not the network any more that the cache knows
                return
            for begin in range(0, self.kept, _CACHED_TOGETHER):
                self._read_whole(np.arange(begin, min(begin + _CACHED_TOGETHER, self.kept)))
                yield min(begin + _CACHED_TOGETHER, self.kept) / self.kept
        elif not self._whole and tokens * self.inner * 2 <= _KEPT_BYTES:
            below = torch.empty((tokens, self.inner), dtype=torch.float16)
            for places, share in self._shortest_first():
                token, mask = self.tokens_at(places)
                with torch.no_grad(), self.hardware.autocast():
                    x = self._lower(token, mask)
                below[token[mask]] = x[mask.to(x.device)].half().cpu()
                yield share
            self._below = below

    def _read_whole(self, places: Places) -> None:
        """Reads kept texts by all layers, from the cache where it has them."""

        def make(missing: list[int]) -> NDArray[np.float32]:
            rows = np.zeros((len(missing), self.inner), np.float32)
            of = places[missing]
            order = np.argsort(self.length[of], kind="stable")
            for some in np.array_split(order, max(1, len(order) // _READ_TOGETHER)):
                token, mask = self.tokens_at(of[some])
                with torch.no_grad():  # in 32 bits, as encoders read: the cache is for good
                    x = _pooled(self.hidden(token, mask), mask.to(self.device), self.base.card.pooling)
                rows[some] = x.float().cpu().numpy()
            return rows

        card = msgspec.structs.replace(
            self.base.card, identity=f"pooled {self.most} {self.base.card.identity}"
        )
        rows = self.cache.rows(keys_of(card, [self.texts[n] for n in places]), self.inner, make)
        if self._pooled is None:
            self._pooled = torch.zeros((self.kept, self.inner))
        self._pooled[torch.from_numpy(places)] = torch.from_numpy(rows)

    def _shortest_first(self) -> Iterator[tuple[Places, float]]:
        """The kept texts, those of one length together, and the share that is done with them."""
        order, done = np.argsort(self.length[: self.kept], kind="stable"), 0
        for places in np.array_split(order, max(1, len(order) // _READ_TOGETHER)):
            done += len(places)
            yield places, done / max(self.kept, 1)

    def vectors(self, places: Places) -> Tensor:
        """Vectors (n, D) of length 1 of some texts."""
        if self._pooled is not None and int(places.max(initial=0)) < len(self._pooled):
            return self._turned(self._pooled[torch.from_numpy(places)].to(self.device))
        order = np.argsort(self.length[places], kind="stable")
        parts = []
        for some in np.array_split(order, max(1, round(len(places) / _PADDED_TOGETHER))):
            token, mask = self.tokens_at(places[some])
            with self.hardware.autocast():
                parts.append(_pooled(self.hidden(token, mask), mask.to(self.device), self.base.card.pooling))
        back = torch.from_numpy(np.argsort(order))
        return self._turned(torch.cat(parts)[back.to(self.device)].float())

    def hidden(self, token: Tensor, mask: Tensor, ids: Tensor | None = None) -> Tensor:
        """The upper layers' last state (n, L, D) of texts whose tokens stand at `token` (n, L) in `ids`.

        `ids`: other tokens for the same places, as where some are masked; then all layers are run.
        """
        if ids is None and self._below is not None and int(token.max()) < len(self._below):
            x = self._below[token].to(self.device).float()
        else:
            given = self.ids[token].masked_fill(~mask, self.padding) if ids is None else ids
            if self._whole:
                given, shown = given.to(self.device), mask.to(self.device).long()
                whole: Tensor = self.model(input_ids=given, attention_mask=shown).last_hidden_state
                return whole
            with torch.no_grad():
                x = self._lower(token, mask, given)
        return self._through(x, mask, self.layers[self.depth - self.learning :])

    @property
    def pooled(self) -> NDArray[np.float32]:
        """What the whole network makes of the kept texts (n, D), after `read_below` where no layer learns."""
        assert self._pooled is not None
        return self._pooled.numpy()

    def train(self, learns: bool) -> None:
        """Whether there is dropout."""
        self.model.train(learns)
        if self.projection is not None:
            self.projection.train(learns)

    def table(self, places: Places) -> Tensor:
        """Vectors (n, D) of some texts, without dropout and gradients."""
        self.train(False)
        with torch.no_grad():
            parts = [self.vectors(places[begin : begin + 256]) for begin in range(0, len(places), 256)]
        return torch.cat(parts)

    def merged(self) -> tuple[Any, dict[str, Tensor] | None]:
        """The model as transformers knows it, and the projection. Ends this network.

        What was learned is merged into the model's own matrices.
        """
        model = self.model if self.peft is None else self.peft.merge_and_unload()
        return model, None if self.projection is None else self.projection.learned()

    def _turned(self, pooled: Tensor) -> Tensor:
        turned = pooled if self.projection is None else self.projection(pooled)
        return F.normalize(turned, dim=1)

    def tokens_at(self, places: Places) -> tuple[Tensor, Tensor]:
        """Where the tokens of texts stand (n, L), and which of the places hold any (n, L) bool."""
        offset = np.arange(int(self.length[places].max(initial=1)))
        mask = offset[None] < self.length[places][:, None]
        at = np.where(mask, self.begin[places][:, None] + offset[None], 0)
        return torch.from_numpy(at), torch.from_numpy(mask)

    def _lower(self, token: Tensor, mask: Tensor, ids: Tensor | None = None) -> Tensor:
        """What comes into the lowest layer that learns (n, L, D)."""
        given = self.ids[token].masked_fill(~mask, self.padding) if ids is None else ids
        x = self.model.embeddings(input_ids=given.to(self.device))
        return self._through(x, mask, self.layers[: self.depth - self.learning])

    def _through(self, x: Tensor, mask: Tensor, layers: Sequence[Any]) -> Tensor:
        seen = None if bool(mask.all()) else mask[:, None, None, :].to(self.device)
        for layer in layers:
            made = layer(x, seen)
            x = made[0] if isinstance(made, tuple) else made
        return x


class Projection(nn.Module):
    """A matrix behind the pooling. What learns is how it differs from what was there before."""

    start: Tensor

    def __init__(self, base: Pretrained, inner: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        turn, shift = projection_of(base) or (np.eye(inner, dtype=np.float32), np.zeros(inner, np.float32))
        self.register_buffer("start", torch.from_numpy(turn))
        self.change = nn.Parameter(torch.zeros(turn.shape))
        self.shift = nn.Parameter(torch.from_numpy(shift))
        self.width = int(turn.shape[1])

    def forward(self, pooled: Tensor) -> Tensor:
        """(n, D) -> (n, E)."""
        turned: Tensor = self.dropout(pooled) @ (self.start + self.change) + self.shift
        return turned

    def learned(self) -> dict[str, Tensor]:
        """As sentence encoders keep such a layer."""
        turn = (self.start + self.change).detach().cpu().T.contiguous()
        return {"linear.weight": turn, "linear.bias": self.shift.detach().cpu().clone()}


def _halves() -> str:
    """Which 16 bits pay here: on CPUs bfloat16 where they multiply by it, at 0.6 of the time."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "no"


def _layers_of(model: Any, base: Pretrained) -> list[Any]:
    """The layers of a network, lowest first. Raises EncoderError."""
    for name in _LAYERS:
        found: Any = model
        for part in name.split("."):
            found = getattr(found, part, None)
        if isinstance(found, nn.ModuleList):
            return list(found)
    raise EncoderError(f"{base.card.name}: a {type(model).__name__}, whose layers are not known here")


def _matrices(model: Any, layers: Sequence[Any]) -> list[str]:
    """Names of all matrices in some layers."""
    inside = {id(module) for layer in layers for module in layer.modules()}
    return [
        name for name, module in model.named_modules()
        if id(module) in inside and isinstance(module, nn.Linear | Conv1D)
    ]  # fmt: skip


def _pooled(x: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """One vector (n, D) of each text's (n, L, D)."""
    if pooling == "cls":
        return x[:, 0]
    if pooling == "last":
        return x[torch.arange(len(x), device=x.device), mask.sum(1) - 1]
    shown = mask[..., None]
    if pooling == "max":
        return x.masked_fill(~shown, float("-inf")).amax(1)
    return (x * shown).sum(1) / shown.sum(1).clamp_min(1)
