"""Records kept as bytes: a million items of a catalogue in 150 MB instead of 700.

Owns the packing, by number in memory and by line in a file. Knows nothing of what the records say.
"""

from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from typing import Generic, TypeVar, overload

import msgspec
import numpy as np

_NOTHING = b"\x80"  # an empty map
_AT_ONCE = 1024  # lines unpacked at one time while iterating
T = TypeVar("T", bound=msgspec.Struct)


class Records(MutableMapping[int, T], Generic[T]):
    """A dict from numbers, dense from 0 on, to structs of one kind; a read unpacks, in a microsecond."""

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._packed: list[bytes | None] = []
        self._count = 0
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(kind).decode

    def __getstate__(self) -> tuple[type[T], list[bytes | None], int]:
        return self._kind, self._packed, self._count  # other processes make their own encoder and decoder

    def __setstate__(self, state: tuple[type[T], list[bytes | None], int]) -> None:
        self.__init__(state[0])  # type: ignore[misc]
        _, self._packed, self._count = state

    def __getitem__(self, number: int) -> T:
        packed = self.kept(number)
        if packed is None:
            raise KeyError(number)
        return self._decode(packed)

    def __setitem__(self, number: int, record: T) -> None:
        self.put(number, self.pack(record))

    def pack(self, record: T) -> bytes:
        """The record as `put` takes it. Raises OverflowError for integers beyond 64 bits."""
        return self._encode(record)

    def kept(self, number: int) -> bytes | None:
        """The record as it is kept, the same object until another one comes; None where there is none."""
        return self._packed[number] if 0 <= number < len(self._packed) else None

    def put(self, number: int, packed: bytes) -> None:
        """Keeps a packed record."""
        if number < 0:
            raise KeyError(number)
        if number >= len(self._packed):
            self._packed.extend([None] * (number + 1 - len(self._packed)))
        self._count += self._packed[number] is None
        self._packed[number] = packed

    def raw(self, numbers: Iterable[int]) -> list[bytes]:
        """Records as MessagePack, for who wants few of their fields; of what has none an empty map."""
        kept, end = self._packed, len(self._packed)
        return [(kept[number] if number < end else None) or _NOTHING for number in numbers]

    def __delitem__(self, number: int) -> None:
        if number not in self:
            raise KeyError(number)
        self._packed[number] = None
        self._count -= 1

    def __contains__(self, number: object) -> bool:
        return (
            isinstance(number, int) and 0 <= number < len(self._packed) and self._packed[number] is not None
        )

    def __iter__(self) -> Iterator[int]:
        return (number for number, packed in enumerate(self._packed) if packed is not None)

    def __len__(self) -> int:
        return self._count

    def holds(self, number: int, record: T) -> bool:
        """Whether this very record is there; quicker than unpacking the one that is."""
        return number < len(self._packed) and self._packed[number] == self._encode(record)


class Lines(Sequence[T], Generic[T]):
    """Structs of one kind as JSON, one a line, each unpacked when asked for."""

    def __init__(self, lines: bytes, kind: type[T]) -> None:
        self._lines = lines
        ends = np.flatnonzero(np.frombuffer(lines, np.uint8) == ord("\n"))
        if lines and not lines.endswith(b"\n"):
            ends = np.append(ends, len(lines))
        self._bounds = np.concatenate([[-1], ends])
        self._decoder = msgspec.json.Decoder(kind)

    def __len__(self) -> int:
        return len(self._bounds) - 1

    @overload
    def __getitem__(self, row: int) -> T: ...
    @overload
    def __getitem__(self, row: slice) -> list[T]: ...
    def __getitem__(self, row: int | slice) -> T | list[T]:
        if isinstance(row, slice):
            first, last, step = row.indices(len(self))
            if step != 1 or last <= first:
                return [self[number] for number in range(first, last, step)]
            return self._decoder.decode_lines(self._lines[self._bounds[first] + 1 : self._bounds[last]])
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row %= len(self)
        return self._decoder.decode(self._lines[self._bounds[row] + 1 : self._bounds[row + 1]])

    def __iter__(self) -> Iterator[T]:
        for first in range(0, len(self), _AT_ONCE):
            yield from self[first : first + _AT_ONCE]
