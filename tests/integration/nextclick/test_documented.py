"""docs/client.md runs as it stands, as `Client`'s and as `AsyncClient`'s, and leaves no method out."""

import ast
import asyncio
import inspect
import re
from typing import Any

from nextclick import AsyncClient, Client, Patience
from tests.worlds.places import ROOT

PAGE = (ROOT / "docs" / "client.md").read_text()
PLAIN = re.findall(r"```python\n(.*?)```", PAGE, re.S)
ASYNC = re.findall(r"```python async\n(.*?)```", PAGE, re.S)
ADDRESS = "http://127.0.0.1:8080"
# The machine that runs tests may be slow: lists are waited for longer than a page would.
PATIENT = Patience(retries=20)


def methods(kind: type) -> set[str]:
    return {name for name, value in vars(kind).items() if not name.startswith("_") and callable(value)}


def test_every_method_is_on_the_page() -> None:
    named = {
        node.func.attr
        for block in PLAIN
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert methods(Client) - {"close"} <= named
    assert methods(Client) == methods(AsyncClient)


def test_both_clients_have_the_same_methods_with_the_same_words() -> None:
    for name in methods(Client):
        one, other = getattr(Client, name), getattr(AsyncClient, name)
        assert (
            str(inspect.signature(one)).partition(" ->")[0]
            == str(inspect.signature(other)).partition(" ->")[0]
        )
        assert one.__doc__
        assert other.__doc__


def test_the_page_runs(over_http: Any) -> None:
    first, *rest = PLAIN
    url = over_http.url
    exec(compile(first.replace(ADDRESS, url), "docs/client.md, 1", "exec"), {})
    with Client(url, patience=PATIENT, timeout_s=60) as client:
        names: dict[str, Any] = {"client": client}
        for n, block in enumerate(rest, 2):
            exec(compile(block.replace(ADDRESS, url), f"docs/client.md, {n}", "exec"), names)


class Awaited(ast.NodeTransformer):
    """`client.x(...)` becomes `await client.x(...)`, a loop over a stream an `async for`."""

    LOOPS = ("stream", "status_stream", "all_items")

    def visit_For(self, node: ast.For) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.iter, ast.Call) and ast.unparse(node.iter.func) in [
            f"client.{x}" for x in self.LOOPS
        ]:
            return ast.AsyncFor(node.target, node.iter, node.body, node.orelse, None)
        return node

    def visit_With(self, node: ast.With) -> ast.AST:
        self.generic_visit(node)
        return ast.AsyncWith(node.items, node.body, None)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        called = ast.unparse(node.func)
        if called == "Client":
            node.func = ast.Name("AsyncClient", ast.Load())
        if called.startswith("client.") and called.rpartition(".")[2] not in self.LOOPS:
            return ast.Await(node)
        return node


async def _run(code: Any, names: dict[str, Any]) -> None:
    made = eval(code, names)
    if inspect.iscoroutine(made):
        await made


def test_the_page_runs_with_await(over_http: Any) -> None:
    async def run() -> None:
        first, *rest = PLAIN
        url = over_http.url
        for n, block in enumerate(
            [first.replace(ADDRESS, url), *(each.replace(ADDRESS, url) for each in ASYNC)]
        ):
            tree = ast.parse(block)
            tree = tree if "async with" in block else ast.fix_missing_locations(Awaited().visit(tree))
            code = compile(tree, f"docs/client.md, async {n}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            await _run(code, {"AsyncClient": AsyncClient})
        async with AsyncClient(url, patience=PATIENT, timeout_s=60) as client:
            names: dict[str, Any] = {"client": client, "AsyncClient": AsyncClient}
            for n, block in enumerate(rest, 2):
                tree = ast.parse(block.replace(ADDRESS, url))
                tree = ast.fix_missing_locations(Awaited().visit(tree))
                code = compile(tree, f"docs/client.md, {n} awaited", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                await _run(code, names)

    asyncio.run(run())
