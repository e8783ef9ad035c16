"""Scenarios over HTTP: the rules that are in force, others in their place, and a list as it would be."""

from typing import Any, Literal

import msgspec
from litestar import Request as HttpRequest
from litestar import Response, delete, get, put
from litestar.datastructures import State

from streams.api.bodies import JSON_TYPES, answer, body_of, decoded, read_query
from streams.api.brokers import NotAcknowledged
from streams.api.ids import path_id
from streams.api.list_routes import K, Timeout
from streams.api.lists import ListOut, Wanted
from streams.api.openapi import Doc
from streams.api.parts import Parts, here
from streams.api.problems import Away, Fault, OffSchema, Problem
from streams.api.versions import in_turn, matched, tagged
from streams.transport.standing import Standing
from streams.wire.contract import UNREADABLE, Id, Request, Rules, decode_rules, encode
from streams.wire.steering import DEFAULT

Asking = HttpRequest[Any, Any, State]
_READ = {"rules", "offset", "said_at", "broken"}  # what a read tells beside the rules


class ScenarioOut(Rules, frozen=True, kw_only=True):
    """A scenario: its rules, and the same as `rules`.

    offset: of their record, null without rules; broken: what is wrong with a newer one
    """

    rules: Rules
    offset: int | None
    said_at: int | None
    broken: str


class ScenariosOut(msgspec.Struct):
    """All of them."""

    items: list[ScenarioOut]
    next: None = None


class PutQuery(msgspec.Struct, frozen=True, kw_only=True):
    """`dry_run=true` changes nothing and shows a list under the rules, that of `user_id` or a stranger's."""

    dry_run: Literal["true", "false"] = "false"
    user_id: Id | None = None
    k: K | None = None
    timeout_ms: Timeout | None = None


@get("/v1/scenarios", opt={"doc": Doc("scenarios", answer=ScenariosOut, errors=())})
async def scenarios(request: Asking) -> Response[bytes]:
    """All scenarios; `default` always exists."""
    parts = here(request)
    names = sorted({DEFAULT, *parts.steering.standings.found})
    return answer(ScenariosOut([_told(parts, name) for name in names]))


@get("/v1/scenarios/{name:str}", opt={"doc": Doc("scenarios", answer=ScenarioOut, errors=(404, 422))})
async def scenario(request: Asking) -> Response[bytes]:
    """The rules of one scenario. ETag is the offset of their record."""
    parts, name = here(request), path_id(request, "name")
    told = _known(parts, name)
    return answer(told, 200, {} if told.offset is None else tagged(told.offset))


@put(
    "/v1/scenarios/{name:str}",
    opt={"doc": Doc("scenarios", query=PutQuery, body=Rules, answer=(ScenarioOut, ListOut),
                    errors=(400, 412, 413, 415, 422, 503), example={"k": 6, "block": ["i4"]})},
)  # fmt: skip
async def put_scenario(request: Asking) -> Response[bytes]:
    """Give a scenario rules, or see what a list would be under them (dry_run=true)."""
    parts, name, asked = here(request), path_id(request, "name"), read_query(request, PutQuery)
    body, _ = await body_of(request, *JSON_TYPES)
    told = decoded(body, dict[str, msgspec.Raw])
    again, is_read = told.get("rules"), told.keys() >= _READ
    if again is not None:
        told = {key: value for key, value in told.items() if key not in _READ}
    rules = decoded(msgspec.json.encode(told), Rules)
    if rules.scenario not in (None, name):
        raise Problem(422, "scenario is not the path's", [Fault("/scenario", f"expected {name!r}")])
    rules = msgspec.structs.replace(rules, scenario=name)
    if again is not None:
        repeated = msgspec.structs.replace(decoded(again, Rules, "/rules"), scenario=name)
        standing = parts.steering.standings.found.get(name)
        in_force = msgspec.structs.replace((standing and standing.rules) or Rules(), scenario=name)
        if repeated != rules and not (is_read and repeated == in_force):
            wrong = "rules are neither those in force nor what stands beside them; leave them out"
            raise Problem(422, wrong, [Fault("/rules", wrong)])
    try:
        decode_rules(value := encode(rules))
    except UNREADABLE as error:
        raise OffSchema(str(error)) from error
    if asked.dry_run == "true":
        return answer(await _tried(parts, asked, name, rules))
    async with in_turn(parts, request, parts.names.scenarios, name):
        standing = parts.steering.standings.found.get(name)
        matched(request, None if standing is None else standing.offset)
        offset = await _sent(parts, name, value)
        await parts.has_read(parts.names.scenarios, 0, offset)
    return answer(_known(parts, name), 200, tagged(offset))


@delete(
    "/v1/scenarios/{name:str}", status_code=200,
    opt={"doc": Doc("scenarios", status=204, errors=(404, 412, 422, 503))},
)  # fmt: skip
async def delete_scenario(request: Asking) -> Response[bytes]:
    """Take a scenario's rules away: its lists go by those of `default`."""
    parts, name = here(request), path_id(request, "name")
    async with in_turn(parts, request, parts.names.scenarios, name):
        standing = parts.steering.standings.found.get(name)
        if standing is None:
            raise Problem(404, "nobody has given this scenario rules")
        matched(request, standing.offset)
        await parts.has_read(parts.names.scenarios, 0, await _sent(parts, name, None))
    return Response(b"", status_code=204)


async def _tried(parts: Parts, asked: PutQuery, name: str, rules: Rules) -> ListOut:
    request = Request(request_id="-", user_id=asked.user_id, scenario=name, k=asked.k or rules.k, rules=rules)
    settings = parts.settings
    wanted = Wanted(
        request=request, max_age_ms=settings.max_age_ms, timeout_ms=asked.timeout_ms or settings.timeout_ms
    )
    return await parts.lists.get(wanted)


async def _sent(parts: Parts, name: str, value: bytes | None) -> int:
    try:
        _, offset = await parts.brokers.send(parts.names.scenarios, name.encode(), value)
    except NotAcknowledged as error:
        raise Away("the broker has not acknowledged it; send it again", 1) from error
    return offset


def _known(parts: Parts, name: str) -> ScenarioOut:
    if name != DEFAULT and name not in parts.steering.standings.found:
        raise Problem(404, "nobody has given this scenario rules")
    return _told(parts, name)


def _told(parts: Parts, name: str) -> ScenarioOut:
    found = parts.steering.standings.found.get(name) or Standing(name, None)
    rules = found.rules or Rules()
    said = {each: getattr(rules, each) for each in rules.__struct_fields__} | {"scenario": name}
    return ScenarioOut(rules=rules, offset=found.offset, said_at=found.at_ms, broken=found.broken, **said)


ROUTES = [scenarios, scenario, put_scenario, delete_scenario]
