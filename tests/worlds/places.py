"""Where things lie on this machine."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
DATA = Path(os.environ.get("NEXTCLICK_DATA") or ROOT.parent / "shared" / "data")  # recorded data sets
