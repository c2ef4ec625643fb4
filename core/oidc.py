"""Bearer tokens of an OpenID provider: signed JWTs, checked against the keys that it publishes.

What is trusted comes from settings: the issuer, the audience, the algorithms. What a token says of itself chooses among
that and adds nothing: keys in its header are not looked at, `none` and shared-secret algorithms cannot be configured.
The provider is asked for its keys when a token names one that is not known (it rotated), and when they are old (it may
have withdrawn one); a provider that is away leaves the known ones in force for a while.

The only file that imports joserfc.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from joserfc import errors as jose
from joserfc import jwk, jwt
from joserfc.jwt import JWTClaimsRegistry

from mainspring.core import errors, identity, settings

__all__ = ["ALGORITHMS", "BesideEmbedded", "OidcIssuer", "id_claims", "is_jwt", "issuer", "require_safe"]

_LOG: Final = logging.getLogger(__name__)

#: Asymmetric signatures only: whoever can check a token must not be able to make one.
ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
    "EdDSA",
)
_MIN_RSA_BITS: Final = 2048
_MAX_TOKEN_CHARACTERS: Final = 16_384
_TYPES: Final = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})
#: A provider is asked for unknown keys at most so often: tokens that name keys by chance must not make us its attacker.
RETRY_SECONDS: Final = 5.0
#: Keys of a provider that does not answer any more are in force for so long.
MAX_AGE_SECONDS: Final = 24 * 3600.0
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class OidcIssuer:
    """The actors that one OpenID provider vouches for. One event loop; `authenticate` itself does no I/O."""

    def __init__(
        self,
        s: settings.IdentitySettings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Errors: InvalidSettings for an issuer without TLS that is not on this machine, no audience, other algorithms."""
        self._s = s
        self._algorithms = _checked(s)
        self._transport, self._clock, self._monotonic = transport, clock, monotonic
        self._keys: dict[str, jwk.Key] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def prepare(self, authorization: str | None) -> None:
        """Have the keys that this token needs, if the provider has them. Errors: DependencyDown if there are none at all."""
        token = _bearer(authorization)
        if not is_jwt(token):
            return
        kid = _header(token).get("kid")
        if self._is_fresh(kid):
            return
        async with self._fetching:
            if self._is_fresh(kid) or self._monotonic() - self._tried_at < RETRY_SECONDS:
                self._require_keys()
                return
            self._tried_at = self._monotonic()
            try:
                self._keys = await self._fetch()
                self._fetched_at = self._monotonic()
            except (httpx.HTTPError, ValueError, KeyError, TypeError, jose.JoseError) as error:
                _LOG.warning("no keys from the OpenID provider `%s`: %r", self._s.issuer, error)
            self._require_keys()

    def authenticate(self, authorization: str | None) -> identity.Actor:
        """The actor that a token is for. Errors: Unauthenticated, which says what is wrong and never the token."""
        token = _bearer(authorization)
        if not token:
            raise errors.Unauthenticated("no bearer token; send `Authorization: Bearer <token>`")
        if not is_jwt(token) or len(token) > _MAX_TOKEN_CHARACTERS:
            raise _refused("it is no signed JWT")
        header = _header(token)
        key = self._key_of(header)
        try:
            claims = jwt.decode(token, key, algorithms=self._algorithms).claims
            self._rules().validate(claims)
        except jose.ExpiredTokenError as error:
            raise _refused("it has expired") from error
        except (jose.JoseError, ValueError) as error:
            raise _refused(str(error)) from error
        return self._actor(claims)

    def _rules(self) -> JWTClaimsRegistry:
        s = self._s
        return JWTClaimsRegistry(
            now=int(self._clock()),
            leeway=s.leeway_seconds,
            iss={"essential": True, "value": s.issuer},
            aud={"essential": True, "value": s.audience},
            exp={"essential": True},
            sub={"essential": True},
        )

    def _key_of(self, header: Mapping[str, Any]) -> jwk.Key:
        """The published key that a token names. Errors: Unauthenticated."""
        if header.get("alg") not in self._algorithms:
            raise _refused(f"its algorithm is none of {', '.join(self._algorithms)}")
        if str(header.get("typ", "")).lower() not in _TYPES:
            raise _refused("it is no access token")
        kid = header.get("kid")
        key = self._keys.get(kid) if isinstance(kid, str) else None
        if kid is None and len(self._keys) == 1:
            key = next(iter(self._keys.values()))
        if key is None:
            raise _refused("the provider has published no key of that name")
        if key.alg and key.alg != header["alg"]:
            raise _refused("its key is for another algorithm")
        return key

    def _actor(self, claims: Mapping[str, Any]) -> identity.Actor:
        account = claims.get(self._s.account_claim) if self._s.account_claim else None
        if isinstance(account, str) and identity.is_account(account):
            # What it may do is its membership's to say: a claim about roles adds nothing.
            return identity.Actor(account, ())
        name = claims.get(self._s.name_claim)
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > 200:
            raise _refused(f"claim `{self._s.name_claim}` is no name")
        # The embedded issuer's actors: whoever may choose a name at the provider must not be taken for one of them.
        if name.lower().endswith(identity.LOCAL):
            raise _refused(f"names that end with `{identity.LOCAL}` are the embedded issuer's")
        if identity.is_account(name):
            raise _refused(f"names that begin with `{identity.ACCOUNT}` are service accounts'")
        return identity.Actor(name, self._roles(claims))

    def _roles(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        """Those of our roles that the claim has, or that its groups stand for; what else it has is other systems'."""
        named = _words(claims, self._s.roles_claim)
        # Names of groups have spaces: a text is one group, not its words.
        groups = _words(claims, self._s.groups_claim, splits=False)
        by_group = {role for group, role in self._s.roles_of_groups() if group in groups}
        return tuple(r for r in identity.ROLES if f"{self._s.roles_prefix}{r}" in named or r in by_group)

    def _is_fresh(self, kid: Any) -> bool:
        is_known = bool(self._keys) if kid is None else isinstance(kid, str) and kid in self._keys
        return is_known and self._monotonic() - self._fetched_at < self._s.keys_cache_seconds

    def _require_keys(self) -> None:
        if self._monotonic() - self._fetched_at > MAX_AGE_SECONDS:
            self._keys = {}
        if not self._keys:
            raise errors.DependencyDown(
                f"no keys of the OpenID provider `{self._s.issuer}` are known; see that it answers, then try again",
                name="identity",
            )

    async def _fetch(self) -> dict[str, jwk.Key]:
        """The provider's keys by name, by its discovery document."""
        # Proxies of the environment are not for a loopback address, and nothing here follows where it is sent.
        async with httpx.AsyncClient(timeout=5.0, trust_env=False, transport=self._transport) as client:
            place = self._s.issuer.rstrip("/") + "/.well-known/openid-configuration"
            found = (await client.get(place)).raise_for_status().json()
            if found["issuer"] != self._s.issuer:
                raise ValueError("the discovery document is another issuer's")
            require_safe(str(found["jwks_uri"]))
            answer = (await client.get(found["jwks_uri"])).raise_for_status().json()
        return _usable(answer["keys"])


def is_jwt(token: str) -> bool:
    """Does it look like a signed JWT: three parts. Says nothing of what it is worth."""
    return token.count(".") == 2


def id_claims(
    token: str,
    published: list[dict[str, Any]],
    *,
    issuer: str,
    client_id: str,
    nonce: str,
    leeway_seconds: int,
    now: float,
) -> Mapping[str, Any]:
    """What an ID token says of who signed in, to the client that asked; `published` are the provider's keys.

    `nonce`: what was sent along with the question; empty where nothing could be. Errors: Unauthenticated.
    """
    header = _header(token)
    rules = JWTClaimsRegistry(
        now=int(now),
        leeway=leeway_seconds,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": client_id},
        exp={"essential": True},
        iat={"essential": True},
        sub={"essential": True},
        nonce={"essential": True, "value": nonce} if nonce else {},
    )
    try:
        keys = _usable(published)
        key = keys.get(str(header.get("kid"))) or (next(iter(keys.values())) if len(keys) == 1 else None)
        if key is None:
            raise ValueError("the provider has published no key of that name")
        claims = jwt.decode(token, key, algorithms=list(ALGORITHMS)).claims
        rules.validate(claims)
    except jose.ExpiredTokenError as error:
        raise _no_sign_in("it has expired, by this machine's clock; set the clock") from error
    except (jose.JoseError, ValueError) as error:
        raise _no_sign_in(str(error)) from error
    if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and claims.get("azp") != client_id:
        raise _no_sign_in("it is for other clients, too, and was not issued to this one")
    return claims


def _no_sign_in(why: str) -> errors.Unauthenticated:
    return errors.Unauthenticated(f"the provider's ID token is not accepted: {why}; sign in again")


def _usable(published: list[dict[str, Any]]) -> dict[str, jwk.Key]:
    """Public keys for signatures by name; others are left out, and one bad key does not take the rest with it."""
    keys: dict[str, jwk.Key] = {}
    for one in published:
        if one.get("kty") not in ("RSA", "EC", "OKP") or one.get("use", "sig") != "sig":
            continue
        if "d" in one:
            _LOG.warning(
                "key `%s` of the OpenID provider is left out: it is private, and public now", one.get("kid")
            )
            continue
        if one["kty"] == "RSA" and len(_decoded(str(one.get("n", "")))) * 8 < _MIN_RSA_BITS:
            _LOG.warning("key `%s` of the OpenID provider is too short and left out", one.get("kid"))
            continue
        try:
            key = jwk.import_key(one)
        except (jose.JoseError, ValueError, TypeError) as error:
            _LOG.warning("key `%s` of the OpenID provider is left out: %r", one.get("kid"), error)
            continue
        keys[str(one.get("kid") or key.thumbprint())] = key
    if not keys:
        raise ValueError("the provider publishes no usable key")
    return keys


def _words(claims: Mapping[str, Any], path: str, *, splits: bool = True) -> set[str]:
    """What a claim has, a list or words; dots lead into objects, unless a claim is called so, as a URL is."""
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for part in path.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return set(found.split()) if splits else {found}
    return {one for one in found if isinstance(one, str)} if isinstance(found, list) else set()


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _header(token: str) -> dict[str, Any]:
    """What a token says of itself, unchecked; empty if it says nothing readable."""
    try:
        found = json.loads(_decoded(token[:_MAX_TOKEN_CHARACTERS].partition(".")[0]))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _refused(why: str) -> errors.Unauthenticated:
    return errors.Unauthenticated(f"the bearer token is not accepted: {why}; log in again")


def require_safe(url: str) -> None:
    """What is sent there can be read on the way by nobody: https, or this machine. Errors: ValueError."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ValueError(f"`{url}` is not https")


def _checked(s: settings.IdentitySettings) -> tuple[str, ...]:
    """The algorithms in force. Errors: InvalidSettings with every problem."""
    algorithms = tuple(name.strip() for name in s.algorithms.split(",") if name.strip())
    problems = []
    try:
        require_safe(s.issuer)
    except ValueError as error:
        problems.append(f"`identity.issuer`: {error}")
    if not s.audience:
        problems.append("`identity.audience` is empty: any client's token would do")
    if wrong := [a for a in algorithms if a not in ALGORITHMS] or ([] if algorithms else ["nothing"]):
        problems.append(
            f"`identity.algorithms` has `{'`, `'.join(wrong)}`; choose among {', '.join(ALGORITHMS)}"
        )
    if problems:
        raise errors.InvalidSettings(
            "settings of the identity provider are not usable: " + "; ".join(problems),
            problems=tuple(problems),
        )
    return algorithms


class BesideEmbedded:
    """An OpenID provider's tokens, and the embedded issuer's beside them: services of this machine have those."""

    def __init__(self, provider: OidcIssuer, embedded: identity.TokenIssuer) -> None:
        self._provider, self._embedded = provider, embedded

    async def prepare(self, authorization: str | None) -> None:
        await self._provider.prepare(authorization)

    def authenticate(self, authorization: str | None) -> identity.Actor:
        """By the form of the token: neither issuer is asked about the other's. Errors: Unauthenticated."""
        chosen = self._provider if is_jwt(_bearer(authorization)) else self._embedded
        return chosen.authenticate(authorization)


def issuer(s: settings.IdentitySettings, embedded: identity.TokenIssuer) -> identity.Issuer:
    """Who is believed, by settings: the embedded issuer, the provider, or both. Errors: InvalidSettings."""
    if not s.issuer:
        return embedded
    provider = OidcIssuer(s)
    return BesideEmbedded(provider, embedded) if s.embedded else provider
