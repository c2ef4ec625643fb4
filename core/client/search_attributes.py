"""What Temporal can be searched by: our search attributes, their registration, and how starts come to have them.

They are Temporal's own index, so they are in plain text where payloads are encrypted: names, digests and who asked, no data.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from temporalio import client as temporal
from temporalio import common, service
from temporalio.api.enums import v1 as enums
from temporalio.api.operatorservice import v1 as operator

from mainspring.core import errors
from mainspring.core.client import connection
from mainspring.core.contracts import base

if TYPE_CHECKING:
    from mainspring.core import settings

__all__ = [
    "KEYS",
    "FoundRun",
    "LabelledStarts",
    "Registered",
    "Wanted",
    "bootstrap",
    "filter_of",
    "found",
    "register",
]

_Key = common.SearchAttributeKey[str]


class Wanted(base.Request):
    """Which runs to find; what is empty is not asked for."""

    project: str = ""
    environment: str = ""
    process: str = ""
    """A workflow type without `mainspring.` and version: `TrainModel`."""
    endpoint: str = ""
    requested_by: str = ""
    bundle_digest: str = ""


#: By field of :class:`Wanted`. Temporal keeps ten keywords of a namespace, of which these are six.
KEYS: Final[Mapping[str, _Key]] = {
    "project": common.SearchAttributeKey.for_keyword("MainspringProject"),
    "environment": common.SearchAttributeKey.for_keyword("MainspringEnvironment"),
    "process": common.SearchAttributeKey.for_keyword("MainspringProcess"),
    "endpoint": common.SearchAttributeKey.for_keyword("MainspringEndpoint"),
    "requested_by": common.SearchAttributeKey.for_keyword("MainspringRequestedBy"),
    "bundle_digest": common.SearchAttributeKey.for_keyword("MainspringBundle"),
}

#: Fields of a request that say it; the first that says something counts.
_SAID_BY: Final[Mapping[str, tuple[str, ...]]] = {
    **{field: (field,) for field in KEYS if field not in ("process", "requested_by")},
    # What a schedule or an alert starts has nobody who requested it, but somebody who answers for it.
    "requested_by": ("requested_by", "prompted_by", "on_behalf_of"),
}

_KEYWORD: Final = enums.IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD

#: A SQL database behind Temporal takes no longer keyword.
_LONGEST: Final = 255

#: What a namespace has is asked again after this long: it may be bootstrapped, or made anew, while a client lives.
_KNOWN_SECONDS: Final = 60.0
_ASK: Final = timedelta(seconds=5)

_LOG: Final = logging.getLogger("mainspring.client")


class Registered(base.Message):
    """What a bootstrap found, and what it made: names of search attributes."""

    namespace: str
    present: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """What a look without a change would add."""


class FoundRun(base.Message):
    """A workflow as Temporal's index has it; an attribute that it was not started with is empty."""

    run_id: str
    process: str
    status: str
    """`running`, `completed`, `failed`, `canceled`, `terminated`, `continued_as_new`, `timed_out`."""
    started_at: base.UtcTime
    ended_at: base.UtcTime | None = None
    project: str = ""
    environment: str = ""
    endpoint: str = ""
    requested_by: str = ""
    bundle_digest: str = ""


async def register(client: temporal.Client, *, dry_run: bool = False) -> Registered:
    """Register in the client's namespace those of our attributes that it has not; the same again changes nothing.

    Errors: Conflict for a name that is there as another type; NotFound for the namespace; DependencyDown.
    """
    types = await _types(client)
    names = [key.name for key in KEYS.values()]
    for name in names:
        if types.get(name, _KEYWORD) != _KEYWORD:
            raise _taken(name, types[name], client.namespace)
    absent = tuple(name for name in names if name not in types)
    present = tuple(name for name in names if name in types)
    if dry_run or not absent:
        return Registered(namespace=client.namespace, present=present, missing=absent)
    asked = operator.AddSearchAttributesRequest(
        namespace=client.namespace, search_attributes=dict.fromkeys(absent, _KEYWORD)
    )
    try:
        await client.operator_service.add_search_attributes(asked, retry=True)
    except service.RPCError as error:
        raise _refused(error, client.namespace) from error
    # Temporal says yes to a name that somebody else has just taken, whatever its type.
    now = await _types(client)
    for name in absent:
        if now.get(name, _KEYWORD) != _KEYWORD:
            raise _taken(name, now[name], client.namespace)
    return Registered(namespace=client.namespace, present=present, added=absent)


def bootstrap(where: settings.WorkflowSettings, *, dry_run: bool = False) -> Registered:
    """As :func:`register`, of the namespace in the settings, for who is in no event loop."""

    async def alone() -> Registered:
        # No payload is sent, so no key is needed: who operates Temporal may have none.
        client = await connection.connect(where.address, namespace=where.namespace)
        return await register(client, dry_run=dry_run)

    return asyncio.run(alone())


def _taken(name: str, kind: int, namespace: str) -> errors.Conflict:
    told = enums.IndexedValueType.Name(kind).removeprefix("INDEXED_VALUE_TYPE_").lower()  # type: ignore[arg-type]
    return errors.Conflict(
        f"namespace `{namespace}` has `{name}` as `{told}`, expected `keyword`; remove it with `temporal operator"
        f" search-attribute remove --name {name}`, or give us a namespace of our own in `workflow.namespace`",
        resource="search attribute",
        name=name,
    )


def _refused(error: service.RPCError, namespace: str) -> errors.MainspringError:
    if error.status is service.RPCStatusCode.NOT_FOUND:
        return errors.NotFound(
            f"temporal has no namespace `{namespace}`; make it with `temporal operator namespace create --namespace"
            f" {namespace}`, or correct `workflow.namespace`",
            resource="namespace",
            name=namespace,
        )
    return errors.DependencyDown(
        f"temporal answered `{error.message}` about search attributes of namespace `{namespace}`; look at its log, or"
        " register them as whoever operates it",
        name="temporal",
    )


async def _types(client: temporal.Client) -> Mapping[str, int]:
    asked = operator.ListSearchAttributesRequest(namespace=client.namespace)
    try:
        answer = await client.operator_service.list_search_attributes(asked, timeout=_ASK)
    except service.RPCError as error:
        raise _refused(error, client.namespace) from error
    return dict(answer.custom_attributes)


class LabelledStarts:
    """Starts workflows with those of our attributes that the namespace has; one without any starts them all the same."""

    def __init__(self, client: temporal.Client) -> None:
        self._client = client
        self._known: frozenset[str] = frozenset()
        self._asked_at: float | None = None
        self._has_told = False

    async def start(self, name: str, request: base.Message, **options: Any) -> None:
        """As `Client.start_workflow`, whose errors are these."""
        labels = await self.attributes(name, request)
        try:
            await self._client.start_workflow(name, request, search_attributes=labels, **options)
        except service.RPCError as error:
            if not labels.search_attributes or error.status is not service.RPCStatusCode.INVALID_ARGUMENT:
                raise
            # Frontends learn of a bootstrap, and of a removal, one after the other: a run is worth more than its labels.
            self._asked_at = None
            await self._client.start_workflow(name, request, **options)

    async def attributes(self, name: str, request: base.Message) -> common.TypedSearchAttributes:
        """Of a process and what it is started with."""
        known = await self.known()
        values = _values(name, request)
        return common.TypedSearchAttributes(
            [
                common.SearchAttributePair(KEYS[field], value)
                for field, value in values.items()
                if KEYS[field].name in known
            ]
        )

    async def known(self) -> frozenset[str]:
        """The names of ours that the namespace has. Where it does not say: none."""
        if self._asked_at is not None and time.monotonic() - self._asked_at < _KNOWN_SECONDS:
            return self._known
        try:
            types = await _types(self._client)
        except errors.MainspringError:
            types = {}
        ours = {key.name for key in KEYS.values()}
        self._known = frozenset(name for name in ours if types.get(name) == _KEYWORD)
        self._asked_at = time.monotonic()
        if missing := sorted(ours - self._known):
            self._tell(missing)
        return self._known

    def _tell(self, missing: list[str]) -> None:
        if not self._has_told:
            _LOG.warning(
                "namespace `%s` has not %s as search attributes: runs start, and are not found by them; run `mainspring"
                " workflow bootstrap`",
                self._client.namespace,
                ", ".join(f"`{name}`" for name in missing),
            )
        self._has_told = True


def _values(name: str, request: base.Message) -> Mapping[str, str]:
    said = {
        field: next((v for v in (getattr(request, s, "") for s in sources) if isinstance(v, str) and v), "")
        for field, sources in _SAID_BY.items()
    }
    said["process"] = _process(name)
    return {field: value[:_LONGEST] for field, value in said.items() if value}


def _process(name: str) -> str:
    """`TrainModel` of `mainspring.TrainModel.v1`, so that a search goes over all versions."""
    parts = name.split(".")
    return parts[1] if len(parts) == 3 and parts[0] == "mainspring" else name


def filter_of(wanted: Wanted) -> str:
    """In Temporal's language of lists; empty: whatever there is. Errors: InvalidRequest."""
    given = {field: value for field, value in wanted.model_dump().items() if value}
    return " AND ".join(f"{KEYS[field].name} = '{_quoted(field, value)}'" for field, value in given.items())


def _quoted(field: str, value: str) -> str:
    # Temporal's parser takes these, in whatever way they are written, for something else, and finds nothing.
    if len(value) > _LONGEST or not value.isprintable() or set(value) & {"\\", '"'}:
        raise errors.InvalidRequest(
            f"`{field}` can be searched for with up to {_LONGEST} printable characters, none of them a backslash or a"
            " double quote; list without it, and choose of what comes",
            field=field,
        )
    return value.replace("'", "''")


async def found(
    client: temporal.Client, known: frozenset[str], wanted: Wanted, *, limit: int
) -> AsyncIterator[FoundRun]:
    """Of ours those that are `wanted`, newest first. `known`: what the namespace has.

    Errors: NotFound for an attribute that the namespace has not; InvalidRequest; DependencyDown.
    """
    query = filter_of(wanted)
    for field, value in wanted.model_dump().items():
        if value and KEYS[field].name not in known:
            raise errors.NotFound(
                f"namespace `{client.namespace}` has no search attribute `{KEYS[field].name}`, or does not say; run"
                " `mainspring workflow bootstrap`: what starts from then on is found",
                resource="search attribute",
                name=KEYS[field].name,
            )
    try:
        async for one in client.list_workflows(
            query or "WorkflowType STARTS_WITH 'mainspring.'", limit=limit
        ):
            yield _run(one)
    except service.RPCError as error:
        raise errors.DependencyDown(
            f"temporal answered `{error.message}`; look at its log", name="temporal"
        ) from error


def _run(one: temporal.WorkflowExecution) -> FoundRun:
    said = {field: one.typed_search_attributes.get(key) or "" for field, key in KEYS.items()}
    return FoundRun(
        run_id=one.id,
        status=one.status.name.lower() if one.status is not None else "",
        started_at=one.start_time,
        ended_at=one.close_time,
        **{**said, "process": said["process"] or _process(one.workflow_type)},
    )
