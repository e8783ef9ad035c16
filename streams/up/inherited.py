"""Settings on their way to a child: as variables of its environment, where nobody else reads a password.

Knows no setting by name.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from streams.settings import ENV_PREFIX, Settings


def inherited(settings: Settings) -> dict[str, str]:
    """Variables by which a child has these settings, whatever file or flag they came from here."""
    found = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        told = settings.provenance[name] != "default"
        if value is not None and (told or value != field.get_default(call_default_factory=True)):
            found[ENV_PREFIX + name.upper()] = _text(value)
    return found


def _text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, dict):
        return json.dumps(value)
    return str(value.absolute() if isinstance(value, Path) else value)
