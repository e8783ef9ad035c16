"""Models, training, signals, metrics and evaluation: everything that learns. Knows no Kafka."""

import os

from kernels.cache import use_cache

use_cache()
# Nothing goes home: ONNX Runtime looks as it is imported, and would begin a file of usage events at once.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
