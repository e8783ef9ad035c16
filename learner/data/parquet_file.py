"""Parquet files, packed or not: their header and columns of any type. Knows nothing of what these mean."""

import io
import zlib
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as parquet

from learner.data.faulty import DataError, shown
from learner.data.text_file import packed, unpacked


class ParquetFile:
    """A Parquet file: `header` as it stands, columns of any type."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = io.BytesIO(unpacked(path).read()) if packed(path) else path
            # Nanoseconds, the usual reading of INT96, end in 2262: later times would come round again.
            self._file = parquet.ParquetFile(content, coerce_int96_timestamp_unit="us")
        except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
            self._broken(error)
        self.header: list[str] = list(self._file.schema_arrow.names)

    def columns(self, places: list[int]) -> tuple[list[Any], int]:
        """The columns at `places` of the header, and how many rows there are."""
        names = [self.header[place] for place in places]
        try:
            table = self._file.read(columns=names)
        except (pa.ArrowException, OSError) as error:
            self._broken(error)
        return [table.column(name).combine_chunks() for name in names], self._file.metadata.num_rows

    def _broken(self, error: Exception) -> NoReturn:
        raise DataError(
            f"{self.path}: expected a Parquet file, got {shown(error)}; write it again"
        ) from error
