"""One `nextclick up` for each data folder: the lock, and the end of what a killed one has left there.

Knows nothing of what is run.
"""

import os
from pathlib import Path

from streams.runtime.slots import Slot, SlotError, take_slot
from streams.up.children import sweep


class AlreadyUp(Exception):  # noqa: N818 (it names what is the matter)
    """Another `up` has this data folder: says which."""

    exit_code = os.EX_TEMPFAIL  # 75: once that one has ended a start helps


class Claim:
    """The data folder, for one `up` at a time; held until the end of the process or of the block.

    What an `up` that was killed has left running is ended here. `killed`: how many processes that were.
    """

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / "up"
        self.children = self.folder / "children.json"
        self._pid = self.folder / "pid"
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._slot: Slot = take_slot(data_dir, "up-", 0)
        except SlotError:
            holder = self._pid.read_text() if self._pid.exists() else "unknown"
            raise AlreadyUp(
                f"the data folder {data_dir} is in use by another `nextclick up` or demo (process {holder}); "
                "stop that one, or name another folder with --data-dir"
            ) from None
        self._pid.write_text(str(os.getpid()))
        self.killed = sweep(self.children)

    def __enter__(self) -> "Claim":
        return self

    def __exit__(self, *_: object) -> None:
        self._slot.release()
