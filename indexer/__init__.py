"""Vectors in, nearest items out. Knows neither models nor streams."""

from kernels.cache import use_cache

use_cache()
