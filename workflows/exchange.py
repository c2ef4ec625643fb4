"""One JSON exchange with another room, as activities have it: safe to repeat, its errors as the errors they were."""

from __future__ import annotations

from typing import Any

import httpx

from mainspring.core import bearer, errors


async def exchange(
    http: httpx.AsyncClient, name: str, method: str, path: str, body: str = "", *, token: str = ""
) -> Any:
    """What room `name` answers; `token`: to be shown instead of the client's own.

    Errors: the room's own off the wire; DependencyDown where it is silent.
    """
    try:
        answer = await http.request(
            method,
            path,
            content=body or None,
            headers={"content-type": "application/json"},
            auth=bearer.auth(token) or httpx.USE_CLIENT_DEFAULT,
        )
        value = answer.json() if answer.content else {}
    except (httpx.TransportError, ValueError) as error:
        raise errors.DependencyDown(
            f"`{name}` gave no JSON answer: {error!r}; see its log", name=name
        ) from error
    if answer.is_success:
        return value
    wire = value.get("error", value) if isinstance(value, dict) else {}
    if isinstance(wire, dict) and "code" in wire:
        raise errors.from_wire(wire)
    if answer.status_code == 404:
        raise errors.NotFound(f"`{name}` has nothing at `{path}`", resource=name, name=path)
    raise errors.DependencyDown(f"`{name}` answered {answer.status_code} to `{method} {path}`", name=name)
