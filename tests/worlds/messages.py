"""Clicks and lists as the topics carry them."""

from streams.wire.contract import Click, ListedItem, Reason, Recommendation, Trigger


def click(n: int, user: str, item: str, **more: object) -> Click:
    return Click(event_id=f"e{n}", user_id=user, item_id=item, event="click", timestamp=n * 1000, **more)  # type: ignore[arg-type]


def answer(n: int, user: str, *items: str) -> Recommendation:
    listed = [ListedItem(item, 1.0, "ann", Reason("for_you")) for item in items]
    return Recommendation(
        recommendation_id=f"c-0-{n}", user_id=user, trigger=Trigger("click", f"e{n}", n * 1000),
        items=listed, release="r", policy="default", scenario=None, created_at=0,
    )  # fmt: skip
