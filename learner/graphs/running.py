"""ONNX graphs as sessions that run: the one place where they are made, so that nothing goes home.

ONNX Runtime collects usage events (a device's id, the system, the program's path) in the user's cache folder
unless it is told not to, here and by `ORT_DISABLE_TELEMETRY`, which `learner` sets. Owns that; what a
session's options are is its user's business.
"""

from pathlib import Path
from typing import Any

import onnxruntime

onnxruntime.disable_telemetry_events()


def session(model: bytes | Path, options: onnxruntime.SessionOptions) -> Any:
    """A session on the processor. Raises what ONNX Runtime does, whose errors have no base of their own.

    A large model is better given as its file: ONNX Runtime then holds it once while it loads, and not twice.
    """
    given = str(model) if isinstance(model, Path) else model
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
