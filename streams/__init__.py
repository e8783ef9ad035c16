"""Everything that touches Kafka, Faust, HTTP, the clock or the environment."""

import os

from kernels.cache import use_cache

# NumPy's BLAS, FAISS and numba read these when they are loaded, which no module of this package has done yet.
# Work here comes in small pieces: a second thread of BLAS spins between them, and a worker at 100 clicks/s
# took 11.6 ms of processor time a click instead of 5.8. What the environment says stands.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

use_cache()


def __getattr__(name: str) -> str:
    """`__version__`, as it was installed; looked up when somebody asks, since that takes a moment."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("nextclick")
    except PackageNotFoundError:  # a folder on the path, and nothing installed
        return "0+unknown"
