"""Which encoder the settings wish for: a model on this machine, or an address. Opened when it is asked for.

Owns the way from settings to what a training takes. Knows no texts.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learner.text.card import ADDRESS, EncoderCard, EncoderChoice, EncoderError
from learner.text.content import HASHED, card_for
from learner.text.encoder import Encoder
from learner.text.pretrained import choice_of
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.training.text_server import TextServer


def chosen(settings: Settings) -> EncoderChoice | None:
    """The model of the settings; None where they say nothing, or name an address."""
    said = {
        "model": settings.encoder_model, "pooling": settings.encoder_pooling,
        "item_prompt": settings.encoder_item_prompt, "query_prompt": settings.encoder_query_prompt,
    }  # fmt: skip
    given: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    return EncoderChoice(**given) if given and settings.encoder_url is None else None


def text_server(settings: Settings) -> "TextServer | None":
    """What reads at the address of the settings, asked once. Raises EncoderError where it does not answer."""
    if settings.encoder_url is None:
        return None
    from streams.training.text_server import Address, TextServer

    return TextServer(
        Address(
            settings.encoder_url, settings.encoder_model or "", _key(settings),
            item_prompt=settings.encoder_item_prompt or "", query_prompt=settings.encoder_query_prompt or "",
            timeout_s=settings.encoder_timeout_s,
        )
    )  # fmt: skip


def keeps(
    live: EncoderCard, choice: EncoderChoice | None, reader: Encoder | None, *, adapts: bool = False
) -> bool:
    """Whether a new release goes on with the live one's encoder: nothing is wished, or the same one.

    Where encoders are adapted from time to time, one that was adapted from what is wished is the same.
    """
    if reader is not None:
        return reader.card.identity == live.identity
    if choice is None:
        return True
    wished = card_for(choice)
    prompts = (wished.item_prompt, wished.query_prompt) == (live.item_prompt, live.query_prompt)
    adapted = bool(live.base_identity) and wished.identity == live.base_identity
    return wished == live or (adapts and prompts and adapted)


def base_of(settings: Settings, live: EncoderCard) -> EncoderChoice | None:
    """What an encoder is adapted from: what the settings name, else what the live release began from.

    None where there are no weights: at an address, or by hashed words. Never an adapted one: each adaptation
    begins anew.
    """
    if settings.encoder_url is not None:
        return None
    wish = chosen(settings)
    if wish is None:
        if live.name == HASHED or live.source.startswith(ADDRESS):
            return None
        wish = choice_of(live)
        if live.adapted_from:
            wish = replace(wish, model=live.adapted_from)
    return None if wish.model == HASHED else wish


def reading_with(settings: Settings, folder: Path) -> Settings:
    """The settings of a training that reads with the encoder in a folder, as the folder says."""
    nothing = dict.fromkeys(("encoder_pooling", "encoder_item_prompt", "encoder_query_prompt"))
    return settings.model_copy(update={"encoder_model": str(folder), **nothing})


def _key(settings: Settings) -> str:
    file: Path | None = settings.encoder_key_file
    if file is not None:
        try:
            return file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise EncoderError(f"encoder_key_file: {file} cannot be read: {error}") from None
    return settings.encoder_key.get_secret_value().strip() if settings.encoder_key is not None else ""
