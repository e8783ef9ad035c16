"""Texts read by a server: any address that speaks as OpenAI's embeddings do (Ollama, vLLM, TEI, hosted ones).

Owns the wire: batches, time limits, what is tried again and what is not, what it cost. An encoder as
`learner.text.encoder` has it, handed to trainings; never on the hot path. The key is sent and never written.
"""

import hashlib
import ipaddress
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
import msgspec
import numpy as np
from numpy.typing import NDArray

from learner.text.card import ADDRESS, EncoderCard, EncoderError

MOST_TEXTS, MOST_CHARACTERS = 64, 40_000  # of a request; servers take 32 to 2,048 texts
_CUT = 4_000  # characters of a text: descriptions say most in their first sentences
_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)
_TRIES = 5
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_PROBE = "a tea pot"  # what an address is asked first, to know how wide its vectors are

Floats = NDArray[np.float32]


class TextServerError(EncoderError):
    """An address that does not read texts as it should: says what it answered and what to do."""


class _Row(msgspec.Struct):
    index: int
    embedding: list[float]


class _Usage(msgspec.Struct):
    total_tokens: int = 0
    prompt_tokens: int = 0


class _Answer(msgspec.Struct):
    data: list[_Row]
    usage: _Usage = field(default_factory=_Usage)


@dataclass(frozen=True)
class Address:
    """Where texts are read, and how.

    url: what `/embeddings` is put behind, such as http://127.0.0.1:11434/v1
    model: as the server calls it
    key: that the server asks for; nobody prints this
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    item_prompt: str = ""
    query_prompt: str = ""
    timeout_s: float = 30.0


@dataclass
class Spent:
    """What reading has cost so far."""

    texts: int = 0
    requests: int = 0
    tokens: int = 0  # as the server counts them; 0 where it does not

    def __str__(self) -> str:
        tokens = f", {self.tokens:,} tokens" if self.tokens else ""
        return f"{self.texts:,} texts by {self.requests:,} requests{tokens}"


class TextServer:
    """Reads texts at an address. `card` names the model; `spent` counts.

    `wait` sleeps between tries; tests hand in one that does not.
    """

    def __init__(self, address: Address, wait: Callable[[float], None] = time.sleep) -> None:
        """Asks the address once. Raises TextServerError, which says what is wrong with it."""
        self._address, self._wait = address, wait
        self._url = f"{_checked(address)}/embeddings"
        self.spent = Spent()
        headers = {"Authorization": f"Bearer {address.key}"} if address.key else {}
        limits = httpx.Timeout(address.timeout_s, connect=min(5.0, address.timeout_s))
        # No redirects: the key would go wherever they lead.
        self._http = httpx.Client(headers=headers, timeout=limits, follow_redirects=False)
        self._width = 0
        self._width = len(self._asked([_PROBE])[0])
        known = hashlib.sha256(f"{address.url.rstrip('/')} {address.model} {self._width}".encode())
        self.card = EncoderCard(
            name=address.model, licence="as its server says", model=address.model,
            source=f"{ADDRESS}{address.url}", identity=known.hexdigest()[:32], width=self._width,
            pooling="as its server does", item_prompt=address.item_prompt, query_prompt=address.query_prompt,
        )  # fmt: skip

    def read(
        self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None, *, query: bool = False
    ) -> Floats:
        """Vectors (n, D) float32 of length 1, 0 where a text is blank. Raises TextServerError."""
        prompt = self.card.query_prompt if query else self.card.item_prompt
        rows = np.zeros((len(texts), self.card.width), np.float32)
        said = [place for place, text in enumerate(texts) if text.strip()]
        done = len(texts) - len(said)
        for places in _batches(said, [len(text) for text in texts]):
            rows[places] = self._asked([(prompt + texts[place])[:_CUT] for place in places])
            done += len(places)
            if progress is not None:
                progress(done, len(texts))
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
        return rows

    def _asked(self, texts: list[str]) -> Floats:
        """Vectors (n, D) of up to 64 texts."""
        body = {"model": self._address.model, "input": texts, "encoding_format": "float"}
        rows, usage = self._checked_rows(self._sent(msgspec.json.encode(body)), len(texts))
        self.spent.texts += len(texts)
        self.spent.tokens += usage.total_tokens or usage.prompt_tokens
        return rows

    def _sent(self, body: bytes) -> bytes:
        """The answer to a request, which is sent again where that may help."""
        wait_s = _FIRST_WAIT_S
        for tried in range(1, _TRIES + 1):
            self.spent.requests += 1
            told_s = 0.0
            try:
                answer = self._http.post(
                    self._url, content=body, headers={"Content-Type": "application/json"}
                )
            except httpx.HTTPError as error:
                why = self._hidden(f"does not answer ({type(error).__name__}: {error})")
            else:
                if answer.status_code == httpx.codes.OK:
                    return answer.content
                why = f"answers {answer.status_code} ({_excerpt(self._hidden(answer.text))})"
                if answer.status_code not in _AGAIN:
                    raise TextServerError(f"{self._url}: {why}; {_mend(answer.status_code, self._address)}")
                told_s = _seconds(answer.headers.get("Retry-After", ""))
            if tried == _TRIES:
                break
            self._wait(min(max(wait_s, told_s), _LONGEST_WAIT_S))
            wait_s *= 2
        raise TextServerError(
            f"{self._url}: {why}, {_TRIES} times; what was read so far is kept, so start again later"
        )

    def _hidden(self, text: str) -> str:
        """The text without the key: a server may say it back."""
        return text.replace(self._address.key, "…") if self._address.key else text

    def _checked_rows(self, content: bytes, count: int) -> tuple[Floats, _Usage]:
        """Vectors in the texts' order. Raises TextServerError where they are not what was asked for."""
        try:
            answer = msgspec.json.decode(content, type=_Answer)
        except msgspec.DecodeError as error:
            raise TextServerError(
                f"{self._url}: expected embeddings as OpenAI's API has them, got something else ({error}); "
                "check the address: it ends before /embeddings, mostly in /v1"
            ) from None
        rows = sorted(answer.data, key=lambda row: row.index)
        if [row.index for row in rows] != list(range(count)):
            raise TextServerError(
                f"{self._url}: expected {count} vectors, got {len(rows)}; try a smaller batch"
            )
        widths = {len(row.embedding) for row in rows}
        if len(widths) != 1 or not min(widths) or (self._width and widths != {self._width}):
            raise TextServerError(
                f"{self._url}: expected vectors of {self._width or 'one and the same'} width, got "
                f"{sorted(widths)}; has the model {self._address.model} changed? start again to read all anew"
            )
        made = np.array([row.embedding for row in rows], np.float32)
        if not np.isfinite(made).all() or not np.linalg.norm(made, axis=1).all():
            raise TextServerError(f"{self._url}: expected finite vectors, got others; try another model")
        return made, answer.usage


def _batches(places: Sequence[int], characters: Sequence[int]) -> list[list[int]]:
    """Places of texts that go into one request each."""
    batches: list[list[int]] = []
    size = 0
    for place in places:
        length = min(characters[place], _CUT)
        if not batches or len(batches[-1]) == MOST_TEXTS or size + length > MOST_CHARACTERS:
            batches.append([])
            size = 0
        batches[-1].append(place)
        size += length
    return batches


def _checked(address: Address) -> str:
    """The address without its last slash. Raises TextServerError where a key would be readable on its way."""
    parts = urlsplit(address.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise TextServerError(f"encoder_url: expected http://HOST:PORT/v1 or https://…, got {address.url!r}")
    if parts.username or parts.password or parts.query:
        raise TextServerError(
            "encoder_url: expected no user, password or query; a key has a setting of its own"
        )
    if not address.model:
        raise TextServerError("encoder_url needs encoder_model, the model as the server calls it")
    if not all("!" <= letter <= "~" for letter in address.key):
        raise TextServerError("encoder_key: expected visible ASCII characters without blanks; check the key")
    if address.key and parts.scheme == "http" and not _here(parts.hostname):
        raise TextServerError(f"{address.url}: a key would go over the network in the clear; use https")
    return address.url.rstrip("/")


def _here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _mend(status: int, address: Address) -> str:
    if status in (401, 403):
        return "check encoder_key" if address.key else "it asks for a key: set encoder_key_file"
    if status == 404:
        return f"check the address and whether it has the model {address.model}"
    return "check the address, and what the model takes"


def _excerpt(text: str) -> str:
    return " ".join(text.split())[:200]


def _seconds(said: str) -> float:
    """What `Retry-After` says; 0 where it names a date or nothing."""
    try:
        seconds = float(said)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
