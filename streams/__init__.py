"""Everything that touches Kafka, Faust, HTTP, the clock or the environment."""

import os

from kernels.cache import use_cache

__version__ = "0.1.0"

# NumPy's BLAS, FAISS and numba read these when they are loaded, which no module of this package has done yet.
# Work here comes in small pieces: a second thread of BLAS spins between them, and a worker at 100 clicks/s
# took 11.6 ms of processor time a click instead of 5.8. What the environment says stands.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

use_cache()
