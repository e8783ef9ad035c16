"""What to make of brokers that refuse a topic's settings: hosts allow some, up to limits of their own.

Owns which settings are wishes (all but the kind of cleanup) and how their limits are read from what brokers
say. Knows no admin client.
"""

import re
from collections.abc import Mapping

# Without it a topic is another one: states would be deleted, or clicks compacted.
NEEDED = "cleanup.policy"
_MOST = re.compile(
    r"(?:max(?:imum)?|limit|at most|up to|exceed(?:s|ed)?|less than or equal to)\D*?(\d+)", re.IGNORECASE
)


def allowed(configs: Mapping[str, str], said: str) -> dict[str, str] | None:
    """The settings to try next, after brokers refused these and `said` why; None: nothing is left to try.

    Of the settings that are named there, one whose limit is named gets that, the others go; without a name
    all that are wishes go.
    """
    named = [name for name in configs if _names(said, name)]
    if NEEDED in named:
        return None
    refused = named or [name for name in configs if name != NEEDED]
    if not refused:
        return None
    most = limit_in(said, configs[named[0]]) if len(named) == 1 else None
    if most is not None:
        return {**configs, named[0]: str(most)}
    return {name: value for name, value in configs.items() if name not in refused}


def limit_in(said: str, wanted: str) -> int | None:
    """The most that brokers allow where they say it, and it is less than what was wanted."""
    found = [int(number) for number in _MOST.findall(said)]
    below = [number for number in found if wanted.isdigit() and 0 < number < int(wanted)]
    return below[-1] if below else None


def _names(said: str, setting: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(setting)}(?!\w|\.\w)", said) is not None
