"""What texts teach without a click: words that were hidden, and that a text is itself under dropout.

Owns both losses and the small head that says words. Where a model has no token that hides a word, as those
of GPT's type, the next word is asked for. Knows neither clicks nor the order of steps.

Source: Devlin et al. 2019, "BERT", section 3.1; Gao et al. 2021, "SimCSE", section 3.
"""

import json

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from learner.text.adaptation.network import Network
from learner.text.card import EncoderError

_HIDDEN = 0.15  # of a text's tokens
_TEMPERATURE = 0.05

Places = NDArray[np.int64]


class Words(nn.Module):
    """Asks for hidden words. Says them by the network's own embeddings, behind a layer that learns."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        embeddings: nn.Embedding = network.model.get_input_embeddings()
        inner = embeddings.embedding_dim
        if inner != network.width:
            raise EncoderError(
                f"{network.base.card.name}: its words and texts differ in width; leave words out"
            )
        self.turn = nn.Sequential(nn.Linear(inner, inner), nn.GELU(), nn.LayerNorm(inner))
        self.shift = nn.Parameter(torch.zeros(embeddings.num_embeddings))
        self.mark = _mask_token(network.tokenizer)
        # Of the tokenizer's first marks none is asked for: [CLS], [SEP] and their like.
        self.special = torch.tensor(_special_tokens(network.tokenizer))
        self.to(network.device)

    def loss(self, network: Network, places: Places, rng: np.random.Generator) -> Tensor:
        """Cross-entropy of the words that are hidden in some texts (B,), or of all next ones."""
        token, mask = network.tokens_at(places)
        ids = network.ids[token].masked_fill(~mask, network.padding)
        if self.mark is None:
            state = network.hidden(token, mask, ids)[:, :-1][mask[:, 1:].to(network.device)]
            answer = ids[:, 1:][mask[:, 1:]]
        else:
            asked = mask & ~torch.isin(ids, self.special) & torch.from_numpy(rng.random(ids.shape) < _HIDDEN)
            state = network.hidden(token, mask, ids.masked_fill(asked, self.mark))[asked.to(network.device)]
            answer = ids[asked]
        if not len(answer):
            return self.shift.sum() * 0
        embeddings = network.model.get_input_embeddings().weight
        said = self.turn(state.float()) @ embeddings.T + self.shift
        return F.cross_entropy(said, answer.to(said.device))


def twins_loss(network: Network, places: Places) -> Tensor:
    """How well each text (B,) is told from the others by its own vector under other dropout."""
    first, second = network.vectors(places), network.vectors(places)
    own = torch.arange(len(places), device=first.device)
    return F.cross_entropy(first @ second.T / _TEMPERATURE, own)


def _mask_token(tokenizer: str) -> int | None:
    added = json.loads(tokenizer).get("added_tokens") or []
    return next((int(each["id"]) for each in added if each["content"] in ("[MASK]", "<mask>")), None)


def _special_tokens(tokenizer: str) -> list[int]:
    added = json.loads(tokenizer).get("added_tokens") or []
    return [int(each["id"]) for each in added if each.get("special")]
