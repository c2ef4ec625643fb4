"""The OpenID provider as a public client of it asks: codes for tokens, new tokens for old ones, and none any more.

Plain httpx: what OAuth's client libraries would do of it is a dozen lines of form fields, and `core/oidc.py` checks what is signed.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx

from mainspring.core import errors, oidc

__all__ = ["Asked", "Client", "Device", "Provider", "Tokens", "discover_client"]

_TIMEOUT_SECONDS: Final = 10.0
#: How far the provider's clock may be from this machine's.
LEEWAY_SECONDS: Final = 60
#: Where a provider does not say how long its token counts.
_UNSAID_SECONDS: Final = 300.0
_DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass(frozen=True)
class Client:
    """Who asks whom for what: the control API says so."""

    issuer: str
    client_id: str
    audience: str
    scopes: str


@dataclass(frozen=True)
class Asked:
    """What was sent along with a question for a code, and must come back or be shown with it."""

    state: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48), repr=False)

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass(frozen=True)
class Tokens:
    """What a provider gave. `refresh` is empty where the sign-in ends with the token."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    expires_at: float
    subject: str


@dataclass(frozen=True)
class Device:
    """Where somebody else's browser is to go, and what is to be typed there."""

    code: str = field(repr=False)
    user_code: str
    place: str
    whole_place: str
    interval_seconds: float
    expires_seconds: float


class Provider:
    """One provider, found by its discovery document; asked when it is made. Errors of it all: DependencyDown."""

    def __init__(
        self,
        client: Client,
        *,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Errors: InvalidSettings for an issuer that is not itself, or is not to be trusted on the way."""
        self.client, self._transport, self._clock = client, transport, clock
        place = client.issuer.rstrip("/") + "/.well-known/openid-configuration"
        try:
            oidc.require_safe(client.issuer)
            self._found = self._answer("GET", place)
            if self._found.get("issuer") != client.issuer:
                raise ValueError("its discovery document is another issuer's")
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                oidc.require_safe(str(self._found.get(name)))
        except ValueError as error:
            raise errors.InvalidSettings(
                f"the OpenID provider `{client.issuer}` cannot be used: {error}; correct `identity.issuer` of the control API",
                problems=("identity.issuer",),
            ) from error

    @property
    def takes_devices(self) -> bool:
        return bool(self._found.get("device_authorization_endpoint"))

    def place_for(self, asked: Asked, redirect: str) -> str:
        """Where the browser is to go for a code."""
        c = self.client
        query = {
            "client_id": c.client_id,
            "redirect_uri": redirect,
            "response_type": "code",
            "scope": c.scopes,
            "resource": c.audience,
            "code_challenge": asked.challenge,
            "code_challenge_method": "S256",
            "state": asked.state,
            "nonce": asked.nonce,
        }
        if "offline_access" in c.scopes.split():
            query["prompt"] = "consent"  # OpenID Connect 11: without it `offline_access` is to be ignored
        start = str(self._found["authorization_endpoint"])
        return f"{start}{'&' if urlsplit(start).query else '?'}{urlencode(query)}"

    def exchange(self, code: str, asked: Asked, redirect: str) -> Tokens:
        """Errors: Unauthenticated for a code that counts no more or is not ours, an ID token that is not for this question."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "code_verifier": asked.verifier,
        }
        return self._tokens(self._ask("token_endpoint", form), nonce=asked.nonce)

    def renew(self, refresh: str, subject: str) -> Tokens:
        """New tokens for the same person. Errors: Unauthenticated where the sign-in is over."""
        found = self._ask("token_endpoint", {"grant_type": "refresh_token", "refresh_token": refresh})
        fresh = self._tokens({"refresh_token": refresh, **found}, is_renewal=True)
        if fresh.subject not in ("", subject):
            raise errors.Unauthenticated(
                "the provider renewed the sign-in of somebody else; run `mainspring login`"
            )
        return fresh

    def revoke(self, refresh: str) -> bool:
        """The sign-in is over at the provider; False where it has no way to be told (RFC 7009)."""
        if not self._found.get("revocation_endpoint"):
            return False
        self._ask("revocation_endpoint", {"token": refresh, "token_type_hint": "refresh_token"})
        return True

    def begin_device(self) -> Device:
        """Errors: InvalidSettings where the provider takes no devices."""
        if not self.takes_devices:
            raise errors.InvalidSettings(
                f"the OpenID provider `{self.client.issuer}` has no device authorization; leave out `--no-browser`, and open"
                " the address that is printed on this machine",
                problems=("identity.issuer",),
            )
        c = self.client
        found = self._ask("device_authorization_endpoint", {"scope": c.scopes})
        try:
            return Device(
                code=str(found["device_code"]),
                user_code=str(found["user_code"]),
                place=str(found["verification_uri"]),
                whole_place=str(found.get("verification_uri_complete", "")),
                interval_seconds=float(found.get("interval", 5)),
                expires_seconds=float(found["expires_in"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise self._away("its answer is none of a device authorization") from error

    def ask_device(self, device: Device) -> Tokens | str:
        """Tokens, or the word for why there are none yet: `authorization_pending` or `slow_down`. Errors: as for codes."""
        form = {"grant_type": _DEVICE, "device_code": device.code}
        found = self._ask("token_endpoint", form, patiently=True)
        return str(found["error"]) if "error" in found else self._tokens(found)

    def _tokens(self, found: Mapping[str, Any], *, nonce: str = "", is_renewal: bool = False) -> Tokens:
        access, kind = found.get("access_token"), str(found.get("token_type", "")).lower()
        if not isinstance(access, str) or not access or kind != "bearer":
            raise self._away("it gave no bearer token")
        try:
            expires_at = self._clock() + float(found.get("expires_in", _UNSAID_SECONDS))
        except (TypeError, ValueError) as error:
            raise self._away("it does not say how long its token counts") from error
        subject = ""
        if "openid" in self.client.scopes.split() and (not is_renewal or "id_token" in found):
            subject = self._subject(str(found.get("id_token", "")), nonce)
        return Tokens(access, str(found.get("refresh_token") or ""), expires_at, subject)

    def _subject(self, id_token: str, nonce: str) -> str:
        """Whom an ID token is of, by the provider's keys. Errors: Unauthenticated."""
        published = self._answer("GET", str(self._found["jwks_uri"])).get("keys", [])
        claims = oidc.id_claims(
            id_token,
            published,
            issuer=self.client.issuer,
            client_id=self.client.client_id,
            nonce=nonce,
            leeway_seconds=LEEWAY_SECONDS,
            now=self._clock(),
        )
        return str(claims["sub"])

    def _ask(self, endpoint: str, form: dict[str, str], *, patiently: bool = False) -> dict[str, Any]:
        place = str(self._found.get(endpoint))
        oidc.require_safe(place)
        sent = {**form, "client_id": self.client.client_id}
        if endpoint != "revocation_endpoint":
            sent["resource"] = self.client.audience
        return self._answer("POST", place, sent, patiently=patiently)

    def _answer(
        self, method: str, place: str, form: dict[str, str] | None = None, *, patiently: bool = False
    ) -> dict[str, Any]:
        """A JSON object; OAuth's refusals as our errors. What was sent is in no message."""
        host = urlsplit(place).hostname
        # Proxies of the shell are for the outside, and nothing here follows where it is sent: codes and tokens go with it.
        is_near = host in ("127.0.0.1", "::1", "localhost")
        try:
            with httpx.Client(
                timeout=_TIMEOUT_SECONDS, trust_env=not is_near, transport=self._transport
            ) as client:
                answer = client.request(method, place, data=form)
        except httpx.HTTPError as error:
            raise self._away(f"it does not answer ({type(error).__name__})") from error
        if answer.is_success and not answer.content:
            return {}
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._away(f"it answered {answer.status_code} without JSON")
        if answer.is_success:
            return found
        word = str(found.get("error", ""))
        if answer.status_code not in (400, 401, 403) or not word:
            raise self._away(f"it answered {answer.status_code}")
        if patiently and word in ("authorization_pending", "slow_down"):
            return {"error": word}
        raise refusal(word, str(found.get("error_description", "")), self.client)

    def _away(self, why: str) -> errors.DependencyDown:
        return errors.DependencyDown(
            f"the OpenID provider `{self.client.issuer}` cannot be asked: {why}; see that it is up, then try again",
            name="identity",
        )


def refusal(word: str, said: str, client: Client) -> errors.MainspringError:
    """OAuth's word for a refusal, as who must act. `said` is the provider's text for people."""
    told = f"`{word[:60]}`" + (f" ({' '.join(said.split())[:200]})" if said else "")
    if word == "access_denied":
        return errors.PermissionDenied(
            f"the sign-in was not allowed, {told}; run `mainspring login` again and agree, or ask the provider's admin",
            actor="you",
            action="login",
        )
    if word in ("invalid_grant", "expired_token"):
        return errors.Unauthenticated(
            f"the provider does not take this sign-in, {told}: it is over, or was used before; run `mainspring login`"
        )
    if word in ("server_error", "temporarily_unavailable"):
        return errors.DependencyDown(
            f"the OpenID provider `{client.issuer}` has trouble, {told}; try again", name="identity"
        )
    return errors.InvalidSettings(
        f"the OpenID provider does not take client `{client.client_id}`, {told}; register it as public and native with"
        " PKCE and the redirect `http://127.0.0.1/callback`, and for the audience of `identity.audience`",
        problems=("identity.cli_client_id",),
    )


def discover_client(control_url: str) -> Client:
    """What the control API says of how people sign in.

    Errors: DependencyDown; InvalidSettings where nobody signs in from a terminal there, or what it says could have been altered on
    the way.
    """
    try:
        oidc.require_safe(control_url)
    except ValueError as error:
        raise errors.InvalidSettings(
            f"{error}, so anybody on the way could say where to sign in; write its https address into `control.url`",
            problems=("control.url",),
        ) from error
    try:
        answer = httpx.get(f"{control_url}/portal/config.json", timeout=_TIMEOUT_SECONDS, trust_env=False)
        found = answer.raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        raise errors.DependencyDown(
            f"no control API at `{control_url}`; start it with `mainspring up`, or correct `control.url`",
            name="control",
        ) from error
    fields = {
        name: str(found.get(name) or "") for name in ("issuer", "cli_client_id", "audience", "cli_scopes")
    }
    if not fields["issuer"] or not fields["cli_client_id"]:
        raise errors.InvalidSettings(
            f"nobody signs in from a terminal at `{control_url}`; its operator sets `identity.issuer` and"
            " `identity.cli_client_id`. The embedded issuer's actors need no sign-in: `--as developer@local`",
            problems=("identity.cli_client_id",),
        )
    return Client(fields["issuer"], fields["cli_client_id"], fields["audience"], fields["cli_scopes"])
