"""Any other encoder that transformers loads, GPT-like ones too: by torch, and traced to ONNX for workers.

Owns the loading (safetensors alone, no code from outside), the pooling and the tracing. Imports torch and
transformers, which takes seconds; `learner.text.encoder` does so only for models that need it.
"""

import io
import warnings
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from learner.text.card import EncoderError
from learner.text.encoder import projection_of, prompted, tokenizer_of
from learner.text.graph_reader import Floats, Progress, Tokens, equally_long, unit
from learner.text.pretrained import Pretrained

_OPSET = 20


class TorchEncoder:
    """A model of transformers with a pooling behind it. On a GPU where there is one."""

    def __init__(self, pretrained: Pretrained, threads: int) -> None:  # noqa: ARG002 (torch has its own)
        self.tokenizer = tokenizer_of(pretrained)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = (
            _Pooled(loaded(pretrained), pretrained.card.pooling, projection_of(pretrained))
            .to(self._device)
            .eval()
        )
        self._tokens = Tokens(self.tokenizer, pretrained.card.max_tokens)
        width = len(self._vectors(np.zeros((1, 2), np.int64))[0])
        self.card = msgspec.structs.replace(pretrained.card, width=width)

    def read(self, texts: Sequence[str], progress: Progress | None = None, *, query: bool = False) -> Floats:
        """Vectors (n, D) float32 of length 1, 0 where a text is blank."""
        rows = np.zeros((len(texts), self.card.width), np.float32)
        for places, ids in equally_long(self._tokens.of(prompted(texts, self.card, query)), progress):
            rows[places] = self._vectors(ids)
        return unit(rows)

    def graph(self) -> bytes:
        """The network in ONNX, 32 bits: ids (B, L) int64 -> vector (B, D) float32."""
        sizes = {"ids": {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}}
        example = torch.ones((2, min(7, self.card.max_tokens)), dtype=torch.int64, device=self._device)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program: Any = torch.onnx.export(
                    self._model, (example,), dynamo=True, opset_version=_OPSET, dynamic_shapes=sizes,
                    input_names=["ids"], output_names=["vector"], verbose=False,
                )  # fmt: skip
                written = io.BytesIO()
                program.save(written)
        except Exception as error:  # what the exporter raises has no base of its own; 2 GB are its limit
            raise EncoderError(
                f"{self.card.name}: torch cannot write it as ONNX ({' '.join(str(error).split())[:300]}); "
                "workers will read queries by the release's table of words"
            ) from None
        return written.getvalue()

    def _vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        with torch.inference_mode():
            made: torch.Tensor = self._model(torch.from_numpy(ids).to(self._device))
        vectors: NDArray[np.float32] = made.float().cpu().numpy()
        return vectors


class _Pooled(torch.nn.Module):
    """ids (B, L) -> (B, D). Texts of a batch are of equal length, so nothing is masked."""

    def __init__(self, inner: Any, pooling: str, projection: tuple[Floats, Floats] | None) -> None:
        super().__init__()
        self.inner, self.pooling = inner, pooling
        self.turn = torch.nn.Identity() if projection is None else torch.nn.Linear(*projection[0].shape)
        if projection is not None:
            self.turn.load_state_dict(
                {"weight": torch.from_numpy(projection[0].T), "bias": torch.from_numpy(projection[1])}
            )

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.turn(self._pooled(ids))
        return pooled

    def _pooled(self, ids: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = self.inner(input_ids=ids).last_hidden_state
        if self.pooling == "mean":
            return x.mean(1)
        if self.pooling == "max":
            return x.amax(1)
        return x[:, 0] if self.pooling == "cls" else x[:, -1]


def loaded(pretrained: Pretrained) -> Any:
    """The model without a head. Raises EncoderError where transformers cannot load it as it is."""
    transformers.utils.logging.disable_progress_bar()  # which takes a second and the screen's last line
    try:
        model = transformers.AutoModel.from_pretrained(
            pretrained.folder, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
        )
    except Exception as error:  # transformers raises what it likes
        raise EncoderError(
            f"{pretrained.folder}: transformers {transformers.__version__} cannot load it "
            f"({' '.join(str(error).split())[:300]}); code that comes with a model is never run"
        ) from None
    if getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    return model
