"""Which encoder the settings wish for: a model on this machine, or an address. Opened when it is asked for.

Owns the way from settings to what a training takes. Knows no texts.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from learner.text.card import EncoderCard, EncoderChoice, EncoderError
from learner.text.encoder import Encoder, card_of
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


def keeps(live: EncoderCard, choice: EncoderChoice | None, reader: Encoder | None) -> bool:
    """Whether a new release goes on with the live one's encoder: nothing is wished, or the same one."""
    if reader is not None:
        return reader.card.identity == live.identity
    return choice is None or card_of(choice) == live


def _key(settings: Settings) -> str:
    file: Path | None = settings.encoder_key_file
    if file is not None:
        try:
            return file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise EncoderError(f"encoder_key_file: {file} cannot be read: {error}") from None
    return settings.encoder_key.get_secret_value().strip() if settings.encoder_key is not None else ""
