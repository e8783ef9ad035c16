"""How far long work is, on a terminal and in a pipe."""

import io

from rich.console import Console

from streams.runtime.progress import EVERY_S, Lines, bars


def test_in_a_pipe_a_step_says_when_it_begins_now_and_then_and_when_it_is_done() -> None:
    said: list[str] = []
    clock = [100.0]
    tell = Lines(said.append, lambda: clock[0])
    for second in range(121):
        clock[0] = 100.0 + second
        tell("student", second / 120, f"epoch {second // 10}")
    assert said[0] == "student: begins (epoch 0)"
    assert said[-1] == "student: done after 120 s (epoch 12)"
    between = said[1:-1]
    assert len(between) == 120 / EVERY_S - 1
    assert between[0] == "student: 17% after 20 s (epoch 2)"
    tell("student", 1.0, "again")
    assert said[-1] == "student: done after 120 s (epoch 12)"  # said once


def test_steps_at_once_have_lines_of_their_own() -> None:
    said: list[str] = []
    clock = [0.0]
    tell = Lines(said.append, lambda: clock[0])
    tell("one", 0.0, "")
    tell("two", 0.0, "")
    clock[0] = EVERY_S
    tell("one", 0.5, "")
    tell("two", 1.0, "")
    assert said == ["one: begins", "two: begins", "one: 50% after 20 s", "two: done after 20 s"]


def test_a_step_done_at_once_says_one_line() -> None:
    said: list[str] = []
    Lines(said.append, lambda: 0.0)("items", 1.0, "3 of 3")
    assert said == ["items: done after 0 s (3 of 3)"]


def test_a_pipe_gets_lines_without_codes_and_a_terminal_bars() -> None:
    pipe, screen = io.StringIO(), io.StringIO()
    for out, terminal in ((pipe, False), (screen, True)):
        with bars(Console(file=out, force_terminal=terminal, width=80)) as tell:
            tell("[red]load", 0.25, "")
            tell("[red]load", 1.0, "all")
    assert pipe.getvalue() == "[red]load: begins\n[red]load: done after 0 s (all)\n"
    assert "\x1b[" in screen.getvalue()
    assert "━" in screen.getvalue()
