"""The description of the interface, OpenAPI 3.1, made of the types that the handlers read and write.

Owns the document's form. Each handler says in `Doc` what it takes and gives; paths come from the routes.
"""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from streams import __version__
from streams.api.bodies import LINE_TYPES
from streams.api.examples import PARAMETERS
from streams.api.problems import TYPE, ProblemDetails
from streams.wire.keys import Scope

_TEXT = {"type": "string"}
_KEYS = "keys"
# Whatever needs a key may be refused for it, and asked too often.
_REFUSALS = (401, 403, 429)
LISTS: tuple[Scope, ...] = ("public", "read", "write", "admin")
CLICKS: tuple[Scope, ...] = ("public", "write", "admin")
ITEMS: tuple[Scope, ...] = ("write", "admin")
REF = "#/components/schemas/{name}"


@dataclass(frozen=True)
class Doc:
    """What a handler takes and gives.

    query, body, answer: msgspec types, or one of several in a tuple; `answers`: further ones by status
    lines: the body may be NDJSON
    errors: statuses of problems
    example: a body; `asks`: parameters by name, where they are others than `streams.api.examples` has
    scopes: of the keys that it takes, none where it needs no key; by default what `streams.api.keys` says
    """

    tag: str
    query: Any = None
    body: Any = None
    answer: Any = None
    status: int = 200
    answers: dict[int, Any] = field(default_factory=dict)
    media: str = "application/json"
    lines: bool = False
    errors: tuple[int, ...] = (400, 422, 503)
    example: Any = None
    asks: dict[str, Any] = field(default_factory=dict)
    scopes: tuple[Scope, ...] | None = None


@dataclass(frozen=True)
class Route:
    """One method of one path."""

    path: str
    method: str
    name: str
    text: str
    doc: Doc


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The whole description."""
    routes = list(routes)
    kinds = [ProblemDetails, *(kind for each in routes for kind in _kinds(each.doc))]
    found, components = msgspec.json.schema_components(list(dict.fromkeys(kinds)), ref_template=REF)
    schemas = dict(zip(dict.fromkeys(kinds), found, strict=True))
    paths: dict[str, Any] = {}
    for each in routes:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, schemas, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Nextclick", "version": __version__,
            "description": "Recommendations that know the last click. Times: Unix ms; ids: 1 to 256 bytes.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components, "securitySchemes": {_KEYS: {"type": "http", "scheme": "bearer"}},
        },
    }  # fmt: skip


def page(routes: Iterable[Route]) -> str:
    """`/docs`: the same for people, without a line from elsewhere."""
    import html

    rows = []
    for each in sorted(routes, key=lambda route: (route.doc.tag, route.path)):
        summary, _, rest = each.text.partition("\n")
        takes = "".join(
            f"<li><code>{html.escape(name)}</code></li>"
            for kind in (each.doc.query, *_several(each.doc.body))
            if hasattr(kind, "__struct_fields__")
            for name in kind.__struct_encode_fields__
        )
        rows.append(
            f"<details><summary><b>{each.method}</b> <code>{html.escape(each.path)}</code> "
            f"{html.escape(summary)}</summary><p>{html.escape(rest)}</p><ul>{takes}</ul></details>"
        )
    return (
        "<!doctype html><meta charset=utf-8><title>Nextclick</title>"
        "<style>body{font:16px sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
        "summary{cursor:pointer;padding:.3em 0}code{background:#eee}</style><h1>Nextclick</h1>"
        '<p>The whole description, with all types: <a href="/openapi.json">openapi.json</a></p>'
        + "".join(rows)
    )


def _kinds(doc: Doc) -> list[Any]:
    given = (doc.body, doc.answer, *doc.answers.values())
    return [kind for some in given for kind in _several(some) if kind is not str]


def _several(kind: Any) -> tuple[Any, ...]:
    """The types that it may be: one, or several in a tuple."""
    return kind if isinstance(kind, tuple) else () if kind is None else (kind,)


def _operation(route: Route, schemas: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    doc = route.doc
    summary, _, rest = route.text.partition("\n")
    answers = {doc.status: doc.answer, **doc.answers}
    responses: dict[str, Any] = {}
    for status, kind in answers.items():
        responses[str(status)] = {"description": "OK" if status < 400 else "a problem"}
        if kind is not None:
            schema = _any_of([schemas.get(each, _TEXT) for each in _several(kind)])
            responses[str(status)]["content"] = {doc.media: {"schema": schema}}
    problem = {TYPE: {"schema": schemas[ProblemDetails]}}
    for status in (*doc.errors, *(() if doc.scopes == () else _REFUSALS)):
        responses.setdefault(str(status), {"description": "a problem", "content": problem})
    said: dict[str, Any] = {
        "operationId": route.name, "tags": [doc.tag], "summary": summary, "responses": responses,
        "parameters": [
            each | {"example": (PARAMETERS | doc.asks)[each["name"]]}
            for each in (*_path_parameters(route.path), *_query_parameters(doc.query, components))
        ],
        "security": [] if doc.scopes == () else [{_KEYS: []}, {}],  # without any keys there is none to send
    }  # fmt: skip
    if rest.strip():
        said["description"] = inspect.cleandoc(rest)
    if doc.body is not None:
        responses.setdefault("408", {"description": "a problem", "content": problem})
        content: dict[str, Any] = {
            "application/json": {"schema": _any_of([schemas[each] for each in _several(doc.body)])}
        }
        if doc.example is not None:
            content["application/json"]["example"] = doc.example
        if doc.lines:
            content[LINE_TYPES[0]] = {"schema": {"type": "string"}}
        said["requestBody"] = {"required": True, "content": content}
    return said


def _any_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    kind = {"type": "string", "minLength": 1, "maxLength": 256}
    return [{"name": name, "in": "path", "required": True, "schema": kind} for name in names]


def _query_parameters(kind: Any, components: dict[str, Any]) -> list[dict[str, Any]]:
    if kind is None:
        return []
    _, own = msgspec.json.schema_components([kind], ref_template=REF)
    mine = own.pop(kind.__name__)
    for name, schema in own.items():
        components.setdefault(name, schema)
    needed = mine.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in needed, "schema": schema}
        for name, schema in mine["properties"].items()
    ]
