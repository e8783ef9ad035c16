"""What the demo shows: its steps, the figures as they come, one user followed by title, and a summary.

Owns the look of the demo. Knows the scoreboard and messages, no processes and no Kafka.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live as Screen
from rich.panel import Panel
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from streams.demo.drift import DriftWorld
from streams.demo.scoreboard import Scoreboard
from streams.wire.contract import Click, Recommendation


@contextmanager
def step(console: Console, title: str) -> Iterator[None]:
    """One line of progress with its time."""
    started = time.monotonic()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(title, total=None)
        yield
    console.print(f"[green]✓[/] {title} [dim]{time.monotonic() - started:.1f} s[/]")


@dataclass
class Follower:
    """One user, followed by title."""

    titles: dict[str, str]
    user: str | None = None
    clicked: str = ""
    listed: list[tuple[str, str]] = field(default_factory=list)
    before: set[str] = field(default_factory=set)
    _item: str = ""

    def see_click(self, click: Click) -> None:
        """Follows the first live user; moves to another when the user falls silent is the caller's part."""
        if not click.is_interest:
            return
        if self.user is None:
            self.user = click.user_id
        if click.user_id == self.user:
            self._item = self.titles.get(click.item_id, click.item_id)

    def see_list(self, recommendation: Recommendation) -> None:
        """Takes the followed user's newest list."""
        if recommendation.user_id != self.user:
            return
        self.before = {title for title, _ in self.listed}
        self.clicked = self._item
        self.listed = [
            (
                self.titles.get(place.item_id, place.item_id),
                self._because(place.reason.kind, place.reason.items),
            )
            for place in recommendation.items[:5]
        ]

    def _because(self, kind: str, items: list[str]) -> str:
        if kind == "because_clicked" and items:
            return "because of " + self.titles.get(items[0], items[0])
        return {"for_you": "for this taste", "popular": "popular now", "new": "new", "explore": "a try"}.get(
            kind, kind
        )


def show(
    console: Console, board: Scoreboard, follower: Follower, expected: int, over: Callable[[], bool]
) -> None:
    """Draws the figures, `expected` clicks in all, until it is over."""
    started, shown_at, shown_clicks, speed = time.monotonic(), time.monotonic(), 0, 0.0
    with Screen(console=console, refresh_per_second=4, transient=False) as screen:
        while True:
            done, now = over(), time.monotonic()
            if now - shown_at >= 1.0:
                speed = (board.clicks - shown_clicks) / (now - shown_at)
                shown_at, shown_clicks = now, board.clicks
            screen.update(draw(board, follower, speed, expected, now - started))
            if done:
                return
            time.sleep(0.2)


def draw(board: Scoreboard, follower: Follower, speed: float, expected: int, seconds: float) -> Group:
    """The screen: `speed` in clicks/s, `expected` clicks in all, `seconds` since the first."""
    figures = Table.grid(padding=(0, 3))
    figures.add_row(
        f"[bold]{board.clicks:,}[/] of {expected:,} clicks", f"[bold]{speed:,.0f}[/] clicks/s",
        f"freshness p50 [bold]{board.freshness(0.5, 5000):.0f}[/] ms, "
        f"p99 [bold]{board.freshness(0.99, 5000):.0f}[/] ms",
        f"[dim]{seconds:.0f} s[/]",
    )  # fmt: skip
    hits = Table.grid(padding=(0, 3))
    recent = list(board.recent)
    for name, rate, column in (
        ("Nextclick", board.hit_rate, 0), ("popularity", board.popular_hit_rate, 1),
    ):  # fmt: skip
        lately = sum(pair[column] for pair in recent) / max(len(recent), 1)
        bar = "█" * round(100 * rate) if board.scored else ""
        style = "green" if column == 0 else "yellow"
        hits.add_row(
            name, Text(bar, style), f"[bold]{rate:.1%}[/]", f"[dim]last {len(recent):,}: {lately:.1%}[/]"
        )
    if board.before is not None:
        was, now = board.before, board.since
        hits.add_row("[dim]before / since the change[/]", "", f"{was.hit_rate:.1%} / {now.hit_rate:.1%}")
    lines = [
        Text.assemble("user ", (follower.user or "…", "bold"), " clicked ", (follower.clicked or "…", "bold"))
    ]
    for title, because in follower.listed:
        mark = "  " if title in follower.before else "→ "
        lines.append(Text.assemble((mark, "green"), title, ("  " + because, "dim")))
    return Group(
        Panel(
            Group(figures, Text(), Text("the next click was among the ten items before it:"), hits),
            title="live",
        ),
        Panel(Group(*lines), title="now recommends"),
    )


def summary(board: Scoreboard, seconds: float) -> Panel:
    """The figures of a whole run."""
    table = Table.grid(padding=(0, 2))
    table.add_row("clicks answered", f"{board.lists:,} of {board.clicks:,} in {seconds:.0f} s")
    table.add_row("freshness", f"p50 {board.freshness(0.5):.0f} ms, p99 {board.freshness(0.99):.0f} ms")
    table.add_row("hit rate@10", f"{board.hit_rate:.1%} over {board.scored:,} clicks")
    table.add_row("popularity", f"{board.popular_hit_rate:.1%} at the same moments")
    for name, rates in board.by_release.items():
        table.add_row(
            name,
            f"{rates.hit_rate:.1%} over {rates.scored:,} clicks (popularity {rates.popular_hit_rate:.1%})",
        )
    if board.before is not None:
        was, now = board.before, board.since
        table.add_row(
            "the world changed",
            f"before {was.hit_rate:.1%} (popularity {was.popular_hit_rate:.1%}), "
            f"since then {now.hit_rate:.1%} ({now.popular_hit_rate:.1%})",
        )
    return Panel(table, title="summary")


def said(world: DriftWorld) -> str:
    """What happens at the change, for the user."""
    change = world.change
    who = f"of {change.genres[0]} and {change.genres[1]}" if change.genres else "drawn by chance"
    return (
        f"\n[bold]The world changes[/]: {change.users:,} users {who} swap tastes, {change.items:,} items are "
        "replaced by new ones\n"
    )
