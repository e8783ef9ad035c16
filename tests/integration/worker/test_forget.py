"""A user who is forgotten: by a running worker, and once it is started again."""

import json
from typing import Any

from streams.operate.forget import forget
from tests.worlds.system import START_MS, wait_answered


def test_a_forgotten_users_state_is_gone_and_stays_gone(system: Any) -> None:
    def click(user: str, n: int) -> str:
        event = {
            "event_id": f"{user}-{n}", "user_id": user, "item_id": "1", "event": "click",
            "timestamp": START_MS + n,
        }  # fmt: skip
        system.producer.send(system.topic("clicks"), key=user.encode(), value=json.dumps(event).encode())
        return f"{user}-{n}"

    system.start("worker")
    wait_answered(system, [click("gone", 1), click("gone", 2), click("stays", 3)])
    assert forget(system.settings, "gone", 90)
    assert system.stop("worker") == 0
    assert system.states().keys() == {"stays"}
    system.start("worker", name="again")
    wait_answered(system, [click("stays", 4)])
    assert system.states().keys() == {"stays"}
    click("gone", 1)  # the event's id is forgotten too
    system.state("gone", 1)
