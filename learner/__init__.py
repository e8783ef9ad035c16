"""Models, training, signals, metrics and evaluation: everything that learns. Knows no Kafka."""

from kernels.cache import use_cache

use_cache()
