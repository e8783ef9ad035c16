"""Commands for encoders of texts: which there are, texts to vectors, one that learns, several compared."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from streams.cli.options import takes_settings

if TYPE_CHECKING:
    from streams.settings import Settings

encoder = typer.Typer(help="Encoders of texts: list, encode, adapt, compare.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_CHOSEN = (
    "data_dir", "encoder_model", "encoder_url", "encoder_pooling", "encoder_item_prompt",
    "encoder_query_prompt",
)  # fmt: skip


@encoder.command("list")
@takes_settings(*_CHOSEN, "release_store", kafka=False)
def list_encoders(settings: "Settings", as_json: AsJson = False) -> None:
    """Show what can read texts here: chosen, installed, cached, exported, carried by releases."""
    from streams.operate import encoders

    found = list(encoders.listed(settings))
    kept = encoders.kept(settings)
    if as_json:
        read = [{"file": str(path), "texts": count} for path, count in kept]
        typer.echo(json.dumps({"encoders": [each.shown() for each in found], "read": read}, indent=2))
        return
    from rich.table import Table

    from streams.runtime import terminal

    table = Table("encoder", "width", "pooling", "licence", "state", "as", box=None)
    for each in found:
        card = each.card
        what = ("", "", "") if card is None else (str(card.width or ""), card.pooling, card.licence)
        table.add_row(each.name, *what, each.state, each.where)
    terminal.console().print(table, soft_wrap=False)
    for path, count in kept:
        typer.echo(f"{count:,} texts that were read are kept in {path}")


@encoder.command("encode")
@takes_settings(*_CHOSEN, kafka=False)
def encode(
    settings: "Settings",
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to read", show_default=False)] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="A text a line; - is standard input", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write to this file instead, .npy or .jsonl", show_default=False, dir_okay=False),
    ] = None,
    kind: Annotated[Literal["query", "item"], typer.Option("--as", help="Whose prompt they get")] = "query",
) -> None:
    """Read texts: a vector of length 1 each, one JSON line with `text` and `vector`."""
    import numpy as np

    from streams.operate.encoders import opened

    if out is not None and out.suffix not in (".npy", ".jsonl"):
        raise typer.BadParameter(f"expected a name that ends in .npy or .jsonl, got {out.name}")
    if file is not None and str(file) != "-" and not file.is_file():
        raise typer.BadParameter(f"no such file: {file}", param_hint="--file")
    lines: list[str] = list(texts or [])
    if file is not None:
        read = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
        lines += read.splitlines()
    if not lines:
        raise typer.BadParameter("name texts, or a file of them with --file")
    reader = opened(settings, None)
    rows = reader.read(lines, query=kind == "query")
    if out is not None and out.suffix == ".npy":
        np.save(out, rows)
    else:
        written = [
            json.dumps({"text": text, "vector": [round(float(x), 6) for x in row]}, ensure_ascii=False)
            for text, row in zip(lines, rows, strict=True)
        ]
        if out is None:
            typer.echo("\n".join(written))
        else:
            out.write_text("\n".join(written) + "\n", "utf-8")
    spent = getattr(reader, "spent", "")
    typer.echo(f"{len(lines):,} texts by {reader.card.name}{f': {spent}' if spent else ''}", err=True)


@encoder.command("adapt")
@takes_settings(*_CHOSEN, "log_level", kafka=False)
def adapt(
    settings: "Settings",
    interactions: Annotated[
        Path, typer.Option(help="CSV, JSON Lines or Parquet of clicks", exists=True, dir_okay=False)
    ],
    items: Annotated[
        Path, typer.Option(help="CSV, JSON Lines or Parquet of items", exists=True, dir_okay=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder to write the encoder to", file_okay=False)],
    model: Annotated[
        str | None,
        typer.Argument(help="Package, folder or hub name [default: the settings']", show_default=False),
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="The files' own names: user_id=userId", show_default=False)
    ] = None,
    to: Annotated[
        float, typer.Option(help="Share of the events, oldest first, to learn from", min=0.001, max=1.0)
    ] = 1.0,
    time_budget: Annotated[float, typer.Option(help="Minutes that it may take in all", min=0.05)] = 30.0,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="What clicks teach, with weights: next, click, rating, category, keep (next=1,category=0.2)",
            show_default=False,
        ),
    ] = None,
    words: Annotated[
        float | None, typer.Option(help="Passes over the texts with hidden words, before", show_default=False)
    ] = None,
    twins: Annotated[
        float | None,
        typer.Option(help="Passes with each text beside itself under dropout, before", show_default=False),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            help="Upper layers that learn, a number for each part of --passes: 0,2 begins with the "
            "projection behind the pooling alone and then thaws two layers",
            show_default=False,
        ),
    ] = None,
    passes: Annotated[
        str | None,
        typer.Option(help="Passes over the clicked texts in each part: 10,2", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random")] = 0,
) -> None:
    """Let an encoder learn from clicks: what is clicked together comes together.

    Started again with the same files and options it goes on where it was killed. The folder that it writes is
    an encoder as any other: `train --encoder FOLDER`.
    """
    from learner.judging.click_chance import SHOWN
    from streams.training import adapting
    from streams.training.train import Recorded

    given = {"minutes": time_budget, "words": words, "twins": twins}
    options = adapting.options_of(given, tasks, layers, passes)
    adapted = adapting.run(settings, Recorded(interactions, items, to, columns), model, out, options, seed)
    figures = adapted.figures
    if "first_6_after" in figures:
        typer.echo(
            "next items among the first 6 of 101, in the clicks held back: "
            f"{figures['first_6_before']:.3f} before, {figures['first_6_after']:.3f} after "
            f"(± {figures['error']:.3f})",
            err=True,
        )
    if "click_slope" in figures:
        error = figures.get("click_error")
        typer.echo(
            f"the chance of a click, one of {SHOWN + 1} texts: "
            f"1 / (1 + exp(-({figures['click_slope']:.2f} * cosine {figures['click_bias']:+.2f}))); "
            "calibration error "
            f"{'not known: all clicks held back are one user' if error is None else f'{error:.3f}'}",
            err=True,
        )
    typer.echo(f"{out}: {figures['texts']:,.0f} texts, {figures['seconds']:,.0f} s", err=True)


@encoder.command("compare")
@takes_settings(*_CHOSEN, kafka=False)
def compare(
    settings: "Settings",
    interactions: Annotated[
        Path, typer.Option(help="CSV, JSON Lines or Parquet of clicks", exists=True, dir_okay=False)
    ],
    items: Annotated[
        Path, typer.Option(help="CSV, JSON Lines or Parquet of items", exists=True, dir_okay=False)
    ],
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Packages, folders, hub names, exported encoders, hashed-words [default: the settings']",
            show_default=False,
        ),
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="The files' own names: user_id=userId", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of what is drawn")] = 0,
    as_json: AsJson = False,
) -> None:
    """Judge encoders by how well texts alone tell what a user takes next.

    `first 6` is the share of next items among the first 6 of 101 (chance: .059), with its standard error.
    """
    from streams.operate import encoders
    from streams.runtime import terminal

    found = []
    for each in encoders.compare(
        settings, models or [], interactions, items, columns, seed=seed,
        told=lambda text: typer.echo(text, err=True),
    ):  # fmt: skip
        found.append(each)
    if as_json:
        typer.echo(json.dumps([each.shown() for each in found], indent=2))
        return
    from rich.table import Table

    names = ("encoder", "width", "MB", "ms a text", "s for all", "below", "first 6", "±", "agrees", "cost")
    table = Table(*names, box=None)
    for each in found:
        judged = each.judged
        table.add_row(
            each.name, str(each.width), f"{each.megabytes:.1f}", f"{each.ms:.2f}", f"{each.seconds:.1f}",
            f"{judged.below:.3f}", f"{judged.first:.3f}", f"{judged.error:.3f}", f"{each.agreement:.2f}",
            each.spent,
        )  # fmt: skip
    terminal.console().print(table, soft_wrap=False)
