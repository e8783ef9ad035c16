"""What a model's `config.json` says of its network: whether it is a BERT, how wide, how long a text may be.

Knows no weights. Free of torch and onnx.
"""

from collections.abc import Mapping
from typing import Any

SHIFTED = ("roberta", "xlm-roberta", "camembert")  # BERTs whose first position is that behind the padding's
_BERTS = ("bert", *SHIFTED)
GELUS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}  # as ONNX names their formulas


def is_bert(config: Mapping[str, Any]) -> bool:
    """Whether `learner.text.bert_graph` can be this network."""
    return (
        config.get("model_type") in _BERTS
        and config.get("position_embedding_type", "absolute") == "absolute"
        and config.get("hidden_act", "gelu") in (*GELUS, "relu")
        and not config.get("is_decoder", False)
    )


def first_place(config: Mapping[str, Any]) -> int:
    """The position of a text's first token."""
    return int(config.get("pad_token_id", 1)) + 1 if config.get("model_type") in SHIFTED else 0


def most_tokens(config: Mapping[str, Any]) -> int | None:
    """Tokens that a text may have; None where nothing is said."""
    said = config.get("max_position_embeddings") or config.get("n_positions")
    return int(said) - first_place(config) if said else None


def width_of(config: Mapping[str, Any]) -> int:
    """Numbers of a token's vector; 0 where the file calls them otherwise."""
    return int(config.get("hidden_size") or config.get("n_embd") or config.get("dim") or 0)
