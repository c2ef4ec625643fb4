"""Bearer tokens: what is taken, and every forgery that is not. A provider's documents, without the network."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from joserfc import jwk, jwt

from mainspring.core import errors, identity, oidc, settings

ISSUER = "https://login.example.org/tenant"
NOW = 1_800_000_000
GOOD = {"iss": ISSUER, "aud": "mainspring", "sub": "ana", "roles": ["developer"], "iat": NOW, "exp": NOW + 60}
RSA = jwk.RSAKey.generate_key(2048, {"kid": "r1", "use": "sig"}, private=True)
EC = jwk.ECKey.generate_key("P-256", {"kid": "e1"}, private=True)
OTHER = jwk.RSAKey.generate_key(2048, {"kid": "r1"}, private=True)


class Provider:
    """Answers discovery and keys; counts how often it was asked for them."""

    def __init__(self, *keys: Any) -> None:
        self.keys = [key.as_dict(private=False) for key in keys]
        self.asked = 0
        self.is_down = False
        self.discovery: dict[str, Any] = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.is_down:
            raise httpx.ConnectError("no route")
        if request.url.path.endswith("/.well-known/openid-configuration"):
            return httpx.Response(200, json=self.discovery)
        self.asked += 1
        return httpx.Response(200, json={"keys": self.keys})


class World:
    """An issuer over a provider, and the time of both."""

    def __init__(self, *keys: Any, **fields: Any) -> None:
        self.provider = Provider(*(keys or (RSA, EC)))
        self.elapsed = 0.0
        s = settings.IdentitySettings(**{"issuer": ISSUER, "audience": "mainspring", **fields})
        self.issuer = oidc.OidcIssuer(
            s,
            transport=httpx.MockTransport(self.provider.answer),
            clock=lambda: NOW + self.elapsed,
            monotonic=lambda: self.elapsed,
        )

    def actor(self, token: str) -> identity.Actor:
        asyncio.run(self.issuer.prepare(f"Bearer {token}"))
        return self.issuer.authenticate(f"Bearer {token}")


def token(key: Any = RSA, alg: str = "RS256", header: dict[str, Any] | None = None, **claims: Any) -> str:
    body = {k: v for k, v in {**GOOD, **claims}.items() if v is not None}
    return jwt.encode({"alg": alg, "kid": key.kid, **(header or {})}, body, key, algorithms=[alg])


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def handmade(header: dict[str, Any], sign: Callable[[bytes], bytes], **claims: Any) -> str:
    text = ".".join(b64(json.dumps(part).encode()) for part in (header, {**GOOD, **claims}))
    return f"{text}.{b64(sign(text.encode()))}"


def test_a_good_token_is_an_actor_with_our_roles() -> None:
    world = World()
    assert world.actor(token(roles=["approver", "root", "developer"])) == identity.Actor(
        "ana", ("developer", "approver")
    )
    assert world.actor(token(EC, "ES256", aud=["other", "mainspring"], roles="viewer x")).roles == ("viewer",)
    assert world.actor(token(roles=None)).roles == ()
    assert world.provider.asked == 1


GROUPS = "ML Developers=developer;CN=ML Leads,OU=Teams,DC=example=approver; ops=admin"


def test_groups_of_the_provider_stand_for_roles_where_the_settings_say_so() -> None:
    world = World(group_roles=GROUPS)
    brokered = ["ML Developers", "CN=ML Leads,OU=Teams,DC=example", "everybody"]
    assert world.actor(token(roles=None, groups=brokered)).roles == ("developer", "approver")
    assert world.actor(token(roles=["viewer"], groups=["ops"])).roles == ("viewer", "admin")
    assert world.actor(token(roles=None, groups="ML Developers")).roles == ("developer",)
    assert World().actor(token(roles=None, groups=[*brokered, "developer", "admin"])).roles == ()
    url = "https://example.org/claims/groups"
    named = World(group_roles=GROUPS, groups_claim=url)
    assert named.actor(token(roles=None, **{url: ["ops"]})).roles == ("admin",)
    nested = World(group_roles=GROUPS, groups_claim="saml.member_of")
    assert nested.actor(token(roles=None, saml={"member_of": ["ops"]})).roles == ("admin",)


@pytest.mark.parametrize(
    "groups",
    [["ml developers"], ["ML", "Developers"], "x ops", [["ops"]], {"ops": True}, 7, None, ["ops "], [None]],
)
def test_what_is_no_group_of_ours_gives_no_role(groups: Any) -> None:
    assert World(group_roles=GROUPS).actor(token(roles=None, groups=groups)).roles == ()


@pytest.mark.parametrize("written", ["ops", "ops=root", "ops=service", "=admin;", "a=admin;;b=admin", ";"])
def test_groups_that_stand_for_no_role_are_refused(written: str) -> None:
    with pytest.raises(errors.InvalidSettings, match="identity.group_roles"):
        settings.load({"MAINSPRING_IDENTITY_GROUP_ROLES": written})


def test_a_client_that_is_a_service_account_is_one_where_the_settings_say_so() -> None:
    name = "service-account:flights:ci"
    by_client = World(account_claim="azp")
    assert by_client.actor(token(azp=name, roles=["admin"])) == identity.Actor(name, ())
    # Another client's token is its user's, and a name that somebody chose is still no account's.
    for other in ("portal", 7, None, [name]):
        assert by_client.actor(token(azp=other)).name == "ana"
    for world, claims in ((by_client, {"sub": name}), (World(), {"sub": name, "azp": name})):
        with pytest.raises(errors.Unauthenticated, match="service accounts'"):
            world.actor(token(**claims))
    assert World().actor(token(azp=name)).name == "ana"


def test_roles_and_names_come_from_the_claims_of_settings() -> None:
    world = World(roles_claim="realm_access.roles", roles_prefix="ms:", name_claim="email")
    found = world.actor(token(realm_access={"roles": ["ms:admin", "developer"]}, email="ana@example.org"))
    assert found == identity.Actor("ana@example.org", ("admin",))
    for wrong in ({"email": "ana"}, {"email": "ana", "realm_access": "ms:admin"}):
        assert world.actor(token(**wrong)).roles == ()
    for name in (
        None,
        "",
        "  ",
        7,
        ["ana"],
        "a\nb",
        "x" * 201,
        "approver@local",
        "Admin@LOCAL",
        "service-account:a:b",
        "Service-Account:a:b",
    ):
        with pytest.raises(errors.Unauthenticated):
            world.actor(token(email=name))


PUBLIC_PEM = RSA.as_pem(private=False)
FORGED: dict[str, Callable[[], str]] = {
    "no algorithm": lambda: handmade({"alg": "none", "kid": "r1"}, lambda _: b""),
    "no algorithm, spelled otherwise": lambda: handmade({"alg": "nOnE", "kid": "r1"}, lambda _: b""),
    "the public key as a shared secret": lambda: handmade(
        {"alg": "HS256", "kid": "r1"}, lambda text: hmac.digest(PUBLIC_PEM, text, hashlib.sha256)
    ),
    "the published key as a shared secret": lambda: handmade(
        {"alg": "HS256", "kid": "r1"},
        lambda text: hmac.digest(json.dumps(RSA.as_dict(private=False)).encode(), text, hashlib.sha256),
    ),
    "an algorithm that is not pinned": lambda: token(alg="PS256"),
    "another key kind's algorithm": lambda: token(header={"kid": "e1"}),
    "another key under a known name": lambda: token(OTHER),
    "a key that it brings itself": lambda: token(OTHER, header={"jwk": OTHER.as_dict(private=False)}),
    "a key from elsewhere": lambda: token(OTHER, header={"jku": "https://evil.example/keys"}),
    "an unknown key": lambda: token(header={"kid": "zz"}),
    "no key name among several": lambda: handmade({"alg": "RS256"}, lambda _: b"x"),
    "a key name that is no text": lambda: handmade({"alg": "RS256", "kid": ["r1"]}, lambda _: b"x"),
    "an extension it insists on": lambda: handmade(
        {"alg": "RS256", "kid": "r1", "crit": ["x"], "x": 1}, lambda _: b"x"
    ),
    "another's claims under its signature": lambda: ".".join(
        (token().split(".")[0], token(sub="eve").split(".")[1], token().split(".")[2])
    ),
    "no signature": lambda: token().rsplit(".", 1)[0] + ".",
    "another audience": lambda: token(aud="elsewhere"),
    "no audience": lambda: token(aud=None),
    "half an audience": lambda: token(aud=["mainspring", 7]),
    "another issuer": lambda: token(iss="https://login.example.org/other"),
    "no issuer": lambda: token(iss=None),
    "nobody": lambda: token(sub=None),
    "expired": lambda: token(exp=NOW - 31),
    "no end": lambda: token(exp=None),
    "an end that is no number": lambda: token(exp="2099-01-01"),
    "an end that never comes": lambda: handmade(
        {"alg": "RS256", "kid": "r1"}, lambda _: b"x", exp=float("nan")
    ),
    "not yet valid": lambda: token(nbf=NOW + 31),
    "from the future": lambda: token(iat=NOW + 31),
    "an ID token's cousin": lambda: token(header={"typ": "logout+jwt"}),
    "no text": lambda: "a.b.c",
    "a header that is a list": lambda: f"{b64(b'[1]')}.e30.x",
    "encrypted": lambda: "a.b.c.d.e",
    "too long": lambda: token(pad="x" * 20_000),
    "one part": lambda: "abc",
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_token_is_nobodys(name: str, caplog: pytest.LogCaptureFixture) -> None:
    forged = FORGED[name]()
    with pytest.raises(errors.Unauthenticated, match="bearer token is not accepted") as refused:
        World().actor(forged)
    assert forged not in refused.value.message + caplog.text


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic YTpi"])
def test_no_token_is_told_what_to_send(header: str | None) -> None:
    world = World()
    asyncio.run(world.issuer.prepare(header))
    with pytest.raises(errors.Unauthenticated, match="send `Authorization: Bearer <token>`"):
        world.issuer.authenticate(header)
    assert world.provider.asked == 0


def test_clocks_may_differ_by_the_leeway() -> None:
    world = World()
    for claims in ({"exp": NOW - 29}, {"nbf": NOW + 30}, {"iat": NOW + 30}):
        assert world.actor(token(**claims)).name == "ana"
    with pytest.raises(errors.Unauthenticated, match="expired"):
        World(leeway_seconds=0).actor(token(exp=NOW))


def test_a_new_key_is_fetched_once_and_a_withdrawn_one_ends() -> None:
    world = World(RSA)
    world.actor(token())
    world.provider.keys = [EC.as_dict(private=False)]
    world.elapsed = 10
    assert world.actor(token(EC, "ES256")).name == "ana"  # unknown: fetched again
    with pytest.raises(errors.Unauthenticated, match="no key of that name"):
        world.actor(token())
    assert world.provider.asked == 2


def test_a_withdrawn_key_is_taken_no_longer_than_the_cache() -> None:
    world = World(RSA, EC, keys_cache_seconds=60)
    world.actor(token())
    world.provider.keys = [EC.as_dict(private=False)]
    world.elapsed = 59
    assert world.actor(token(exp=NOW + 600)).name == "ana"
    world.elapsed = 61
    with pytest.raises(errors.Unauthenticated):
        world.actor(token(exp=NOW + 600))


def test_invented_key_names_do_not_hammer_the_provider() -> None:
    world = World()
    world.actor(token())
    for i in range(50):
        world.elapsed = 10 + i / 100
        with pytest.raises(errors.Unauthenticated):
            world.actor(token(header={"kid": f"k{i}"}))
    assert world.provider.asked == 2


def test_a_provider_that_is_away_leaves_its_keys_in_force_for_a_day(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.provider.is_down = True
    for _ in range(2):
        with pytest.raises(errors.DependencyDown, match="OpenID provider"):
            world.actor(token())
    world.provider.is_down, world.elapsed = False, 10
    assert world.actor(token(exp=NOW + 10**6)).name == "ana"
    world.provider.is_down = True
    world.elapsed = 10 + oidc.MAX_AGE_SECONDS - 1
    with caplog.at_level(logging.WARNING):
        assert world.actor(token(exp=NOW + 10**6)).name == "ana"
    assert "no keys from the OpenID provider" in caplog.text
    world.elapsed += 10
    with pytest.raises(errors.DependencyDown):
        world.actor(token(exp=NOW + 10**6))


@pytest.mark.parametrize(
    ("discovery", "keys"),
    [
        ({"issuer": "https://evil.example"}, None),
        ({"jwks_uri": "http://login.example.org/keys"}, None),
        ({"jwks_uri": "file:///etc/passwd"}, None),
        ({}, []),
        ({}, [{"kty": "oct", "k": "c2VjcmV0", "kid": "r1"}]),
        ({}, [RSA.as_dict(private=True)]),
        ({}, [{**RSA.as_dict(private=False), "use": "enc"}]),
        ({}, [{"kty": "RSA", "kid": "r1", "n": "AQAB", "e": "AQAB"}]),
        ({}, [{"kty": "EC", "kid": "r1", "crv": "P-256", "x": "AA", "y": "AA"}]),
    ],
)
def test_documents_that_are_not_right_give_no_keys(discovery: dict[str, Any], keys: Any) -> None:
    world = World()
    world.provider.discovery |= discovery
    if keys is not None:
        world.provider.keys = keys
    with pytest.raises(errors.DependencyDown):
        world.actor(token())


def test_one_key_needs_no_name_and_a_key_may_be_for_one_algorithm() -> None:
    assert World(EC).actor(jwt.encode({"alg": "ES256"}, GOOD, EC, algorithms=["ES256"])).name == "ana"
    pinned = jwk.RSAKey.import_key({**RSA.as_dict(private=True), "alg": "PS256"})
    with pytest.raises(errors.Unauthenticated, match="another algorithm"):
        World(pinned).actor(token())


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"issuer": "http://login.example.org"}, "is not https"),
        ({"audience": ""}, "any client's token would do"),
        ({"algorithms": "RS256,none"}, "`none`"),
        ({"algorithms": "HS256"}, "`HS256`"),
        ({"algorithms": " , "}, "`nothing`"),
    ],
)
def test_settings_that_would_trust_anybody_are_refused(fields: dict[str, str], why: str) -> None:
    with pytest.raises(errors.InvalidSettings, match=why):
        World(**fields)


def test_the_embedded_issuer_is_beside_it_or_not() -> None:
    embedded = identity.TokenIssuer({"dev-1": identity.Actor("developer@local", ("developer",))})
    s = settings.IdentitySettings(issuer=ISSUER, audience="mainspring")
    assert oidc.issuer(settings.IdentitySettings(), embedded) is embedded
    assert oidc.issuer(s, embedded).authenticate("Bearer dev-1").name == "developer@local"
    only = oidc.issuer(s.model_copy(update={"embedded": False}), embedded)
    for sent in ("Bearer dev-1", f"Bearer {token()}"):  # the second: no keys were fetched
        with pytest.raises(errors.Unauthenticated):
            only.authenticate(sent)
