"""What a process needs beside its settings, opened and joined: the store, the bundles, whom to believe, and the app over them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp

from mainspring.core import errors, identity, settings
from mainspring.core.contracts import service_accounts
from mainspring.core.features import online
from mainspring.core.models import bundle, signing
from mainspring.serving import app, native_front, signed_bundles, tls, usage
from mainspring.serving.models import bundle_models
from mainspring.serving.runtimes import chosen

if TYPE_CHECKING:
    from mainspring.core.client import control
    from mainspring.serving.processes import part

#: What is not received by then waits on disk; a stop must not wait for long.
_USAGE_TIMEOUT_SECONDS: Final = 5.0
#: A caller waits for it.
_INTROSPECTION_TIMEOUT_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Assembled:
    """An app, and what whoever runs it must know."""

    app: ASGIApp
    front: native_front.NativeFront
    certificates: tls.Certificates | None


def assembled(s: settings.Settings, told: part.Part | None, opened: contextlib.ExitStack) -> Assembled:
    """The app of this process, which is one of several if it was `told` so; `opened` closes what it holds.

    Errors: those of the store, of tokens and certificates, and of the app.
    """
    certificates = tls.Certificates.load(s.serving)
    access: online.Access = "own" if told is None else "read" if told.follows else "share"
    store = opened.enter_context(online.OnlineStore(s.serving.online_store, access=access))
    embedded = identity.FollowedTokens(s.control.tokens_file)
    exchange = None
    if told is not None:
        from mainspring.serving.processes import weights  # of one of several processes, which alone needs it

        exchange = weights.Exchange(told.folder)
    loader = signed_bundles.SignedBundleLoader(
        bundle.BundleStore(s.serving.bundle_dir),
        s.serving.trusted_keys_dir,
        chosen.runtimes(s.serving, exchange),
        measurer=chosen.measurer(s.serving),
    )
    front = native_front.NativeFront(s.serving)
    built = app.create_app(
        s,
        online=store,
        loader=loader,
        issuer=believed(s.identity, embedded),
        introspection=introspection(s, embedded),
        models=bundle_models.factories(
            s.serving.tensor_models, loading(s.serving, loader), max_rows=s.serving.max_rows_per_request
        ),
        front=front,
        send_usage=opened.enter_context(usage_sender(s, embedded)),
        certificates=certificates,
        part=told,
    )
    return Assembled(built, front, certificates)


def loading(
    serving: settings.ServingSettings, loader: signed_bundles.SignedBundleLoader
) -> bundle_models.Load:
    """How a bundle is loaded that a setting names: from elsewhere, if it is not here. Errors: those of `fetched.fetch`, too."""
    if not serving.bundle_source:
        return loader.load

    def load(digest: str) -> signed_bundles.SignedBundle:
        from mainspring.core.models import fetched  # a store's client is for those who have one

        trust = signing.TrustedKeys.load(serving.trusted_keys_dir)
        fetched.fetch(serving.bundle_source, digest, serving.bundle_dir, trust)
        return loader.load(digest)

    return load


def believed(s: settings.IdentitySettings, embedded: identity.TokenIssuer) -> identity.Issuer:
    """Whose tokens are taken: as the control API. Errors: InvalidSettings."""
    if not s.issuer:
        return embedded
    from mainspring.core import oidc  # a start without a provider is not for it

    return oidc.issuer(s, embedded)


class ControlIntrospection:
    """The control API, asked with the token of services. Its client is imported for the first account that comes."""

    def __init__(self, s: settings.Settings, embedded: identity.TokenIssuer) -> None:
        self._url, self._embedded = s.control_url, embedded
        self._client: control.AsyncControlClient | None = None
        self._making = asyncio.Lock()

    async def state(self, token: str) -> service_accounts.ServiceTokenState:
        """Errors: any of ours."""
        async with self._making:
            if self._client is None:
                self._client = await asyncio.to_thread(self._made)  # others are answered meanwhile
        return await self._client.introspect_service_token(service_accounts.ServiceTokenQuestion(token=token))

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _made(self) -> control.AsyncControlClient:
        from mainspring.core.client import control

        return control.AsyncControlClient(
            self._url,
            lambda: self._embedded.token_of(identity.SERVICE),
            timeout_seconds=_INTROSPECTION_TIMEOUT_SECONDS,
            retries=0,
        )


def introspection(s: settings.Settings, embedded: identity.TokenIssuer) -> ControlIntrospection | None:
    """None where this process has no token to ask with, as a replica of Ray Serve: no service account is known there."""
    try:
        embedded.token_of(identity.SERVICE)
    except errors.NotFound:
        return None
    return ControlIntrospection(s, embedded)


@contextlib.contextmanager
def usage_sender(s: settings.Settings, embedded: identity.TokenIssuer) -> Iterator[usage.Send]:
    """What tells the control API what was used. Its client is imported with the first report: the start is not for it."""
    with contextlib.ExitStack() as opened:

        @functools.cache
        def client() -> control.ControlClient:
            # One for all: making it reads the system's certificates, some 30 ms that hold the interpreter.
            from mainspring.core.client import control

            made = control.ControlClient(
                s.control_url,
                lambda: embedded.token_of(identity.SERVICE),
                timeout_seconds=_USAGE_TIMEOUT_SECONDS,
            )
            return opened.enter_context(made)

        yield lambda records: client().record_serving_usage(records)
