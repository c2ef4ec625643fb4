"""What serving knows of service accounts' tokens: asked once, kept for seconds, never more of it than it may hold."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from mainspring.core import api_keys, errors, identity, settings
from mainspring.core.contracts import base, service_accounts
from mainspring.core.contracts import masking as contracts
from mainspring.core.protection import masking
from mainspring.serving import assembly
from mainspring.serving.access import accounts, callers

CI: Final = "service-account:flights:ci"
EVERYWHERE: Final = {"dev": ["developer", "viewer"], "staging": ["viewer"], "prod": ["approver", "viewer"]}


class Control:
    """What the control API would say, and how often it was asked."""

    def __init__(self) -> None:
        self.states: dict[str, service_accounts.ServiceTokenState] = {}
        self.asked: Counter[str] = Counter()
        self.at_once = self.most_at_once = 0
        self.fails: errors.MainspringError | None = None
        self.waits: asyncio.Event | None = None

    def let_in(self, token: str, minutes: float = 15.0, **more: Any) -> None:
        found = {"actor": CI, "project": "flights", "roles": EVERYWHERE, **more}
        ends = base.utc_now() + timedelta(minutes=minutes)
        self.states[token] = service_accounts.ServiceTokenState(active=True, expires_at=ends, **found)

    async def state(self, token: str) -> service_accounts.ServiceTokenState:
        self.asked[token] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.waits is not None:
                await self.waits.wait()
            await asyncio.sleep(0)
            if self.fails is not None:
                raise self.fails
            return self.states.get(token, service_accounts.ServiceTokenState(active=False))
        finally:
            self.at_once -= 1

    async def close(self) -> None: ...


class World:
    """Accounts over a control API, and a clock of their own."""

    def __init__(self) -> None:
        self.control, self.seconds = Control(), 1000.0
        self.accounts = accounts.Accounts(self.control, clock=lambda: self.seconds, now=self.now)

    def now(self) -> datetime:
        return base.utc_now() + timedelta(seconds=self.seconds - 1000.0)

    async def knows(self, token: str) -> bool:
        await self.accounts.prepare(token)
        try:
            return self.accounts.find(token).actor == CI
        except errors.Unauthenticated:
            return False


def run(story: Awaitable[None]) -> None:
    async def told() -> None:
        await story

    asyncio.run(told())


def test_an_answer_is_kept_and_asked_for_anew_before_it_ends() -> None:
    async def story() -> None:
        world = World()
        world.control.let_in("msat_a")
        for _ in range(5):
            assert await world.knows("msat_a")
        assert world.control.asked["msat_a"] == 1
        world.seconds += 8.9
        assert await world.knows("msat_a") and world.control.asked["msat_a"] == 1
        del world.control.states["msat_a"]  # disabled, rotated or deleted
        world.seconds += 0.2
        assert not await world.knows("msat_a"), "within ten seconds"
        world.control.let_in("msat_a")
        assert not await world.knows("msat_a") and world.control.asked["msat_a"] == 2, "for some seconds"
        world.seconds += accounts.REFUSED_SECONDS
        assert await world.knows("msat_a")

    run(story())


def test_an_expired_token_counts_no_more_at_once() -> None:
    async def story() -> None:
        world = World()
        world.control.let_in("msat_a", minutes=0.05)
        assert await world.knows("msat_a")
        world.seconds += 3.1
        assert not await world.knows("msat_a")
        assert world.control.asked["msat_a"] == 1, "without asking anybody"
        endless = world.control.states["msat_a"].model_copy(update={"expires_at": None})
        world.control.states["msat_b"] = endless
        assert not await world.knows("msat_b"), "of no end that is known"
        world.control.let_in("msat_c", actor="ana@example.org")
        assert not await world.knows("msat_c"), "who is no account"

    run(story())


def test_one_token_is_asked_about_once_at_a_time_and_nobody_takes_the_answer_along() -> None:
    async def story() -> None:
        world = World()
        world.control.let_in("msat_a")
        world.control.waits = asyncio.Event()
        waiting = [asyncio.create_task(world.knows("msat_a")) for _ in range(50)]
        await asyncio.sleep(0.01)
        waiting[0].cancel()  # whoever came first goes away
        await asyncio.sleep(0)
        world.control.waits.set()
        assert await asyncio.gather(*waiting[1:]) == [True] * 49
        assert world.control.asked == {"msat_a": 1} and not world.accounts._looking

    run(story())


def test_a_flood_of_made_up_tokens_fills_nothing_and_takes_nobody_along() -> None:
    """Ten thousand at once, and for a minute: those that are known are known, others are asked about within bounds."""

    async def story() -> None:
        world = World()
        world.control.let_in("msat_good")
        assert await world.knows("msat_good")
        told = await asyncio.gather(
            *(world.knows(f"msat_{i}") for i in range(10_000)), return_exceptions=True
        )
        kinds = Counter(type(one) for one in told)
        assert kinds == {bool: accounts.MAX_ASKING, errors.Overloaded: 10_000 - accounts.MAX_ASKING}
        assert world.control.most_at_once <= accounts.MAX_ASKING
        before, began = world.control.asked.total(), world.seconds
        for i in range(6_000):  # one after another, a hundred in a second
            world.seconds = began + i / 100
            try:
                assert not await world.knows(f"msat_x{i}")
            except errors.Overloaded as error:
                assert error.retry_after_seconds == 1.0
        seconds = world.seconds - began
        assert world.control.asked.total() - before <= (seconds + 1) * accounts.MAX_NEW_PER_SECOND
        assert await world.knows("msat_good"), "renewed beside the flood"
        assert world.control.asked["msat_good"] == 2
        kept = len(world.accounts._refused) + len(world.accounts._good)
        assert kept <= 2 * accounts.MAX_KEPT and not world.accounts._looking

    run(story())


def test_what_is_kept_is_bounded_and_has_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        monkeypatch.setattr(accounts, "MAX_KEPT", 3)
        world = World()
        for i in range(10):
            world.control.let_in(f"msat_good{i}")
            assert await world.knows(f"msat_good{i}") and not await world.knows(f"msat_bad{i}")
        assert (len(world.accounts._good), len(world.accounts._refused)) == (3, 3)
        assert "msat_" not in repr(vars(world.accounts))
        asked = world.control.asked.total()
        await world.accounts.prepare("msat_" + "x" * 10_000)
        assert world.control.asked.total() == asked, "no token of ours is so long"

    run(story())


@pytest.mark.parametrize(
    "fails",
    [
        errors.DependencyDown("no control API", name="control"),
        errors.DeadlineExceeded("too slow", stage="control"),
        errors.Unauthenticated("the service's own token is not believed"),
        errors.PermissionDenied("it has not the right", actor="x", action="y"),
        errors.NotFound("no token for `service@local`", resource="token", name="x"),
    ],
)
def test_a_control_api_that_does_not_say_is_no_refusal_and_is_let_alone(
    fails: errors.MainspringError, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        world = World()
        world.control.let_in("msat_a")
        assert await world.knows("msat_a")
        world.control.fails = fails
        assert await world.knows("msat_a"), "what it said counts for its time"
        world.seconds += 9.5
        for _ in range(3):
            with pytest.raises(errors.DependencyDown) as told:
                await world.accounts.prepare("msat_a")
            assert told.value.name == "control" and "msat_" not in told.value.message
        assert world.control.asked["msat_a"] == 2, "it is not asked again at once"
        world.seconds += accounts.RETRY_SECONDS
        with pytest.raises(errors.DependencyDown):
            await world.accounts.prepare("msat_a")
        with pytest.raises(errors.Unauthenticated):
            world.accounts.find("msat_a")  # its ten seconds are over
        world.control.fails = None
        world.seconds += accounts.RETRY_SECONDS
        assert await world.knows("msat_a")

    with caplog.at_level(logging.DEBUG):
        run(story())
    assert caplog.text and "msat_" not in caplog.text


def test_without_somebody_to_ask_no_token_counts() -> None:
    async def story() -> None:
        nobody = accounts.Accounts(None)
        await nobody.prepare("msat_a")
        with pytest.raises(errors.Unauthenticated, match="mainspring service-account token"):
            nobody.find("msat_a")
        await nobody.close()

    run(story())


def test_a_process_without_a_services_token_asks_nobody(tmp_path: Path) -> None:
    """As a replica of Ray Serve, whose tokens nobody has."""
    s = settings.load({}, directory=tmp_path)
    assert assembly.introspection(s, identity.TokenIssuer({})) is None
    service = identity.TokenIssuer({"t": identity.Actor(identity.SERVICE, ("service",))})
    assert assembly.introspection(s, service) is not None


def caller(
    roles: dict[str, list[str]], directory: Path, environment: str = "", scope: Any = "predict"
) -> callers.Caller:
    async def story() -> callers.Caller:
        world = World()
        world.control.let_in("msat_a", roles=roles)
        keys = api_keys.KeyRing(directory / "keys.json")
        issuer = accounts.BesideAccounts(identity.TokenIssuer({}), world.accounts)
        known = callers.Callers(issuer, keys, world.accounts, environment=environment, require_token=True)
        shown = "Bearer msat_a"
        await known.prepare(shown, scope)
        with pytest.raises(errors.PermissionDenied, match="changes nothing at serving"):
            callers.admit(known, shown)
        return known.identify(shown, scope)

    return asyncio.run(story())


def test_its_roles_are_those_of_the_environment_and_never_admin(tmp_path: Path) -> None:
    found = caller(EVERYWHERE, tmp_path, "dev")
    assert (found.name, found.project, found.roles_in) == (CI, "flights", "flights")
    assert found.roles == {"developer", "viewer"} and found.scopes == {"predict", "read", "route"}
    assert caller(EVERYWHERE, tmp_path, "prod").roles == {"approver", "viewer"}
    # Of no environment that is known: what it has in every one.
    assert caller(EVERYWHERE, tmp_path, scope="read").roles == {"viewer"}
    everything = dict.fromkeys(("dev", "staging", "prod"), ("admin", "developer", "approver"))
    found = caller({place: list(roles) for place, roles in everything.items()}, tmp_path)
    assert found.scopes == {"predict", "read", "route"}
    for roles, environment in (({"dev": ["developer"]}, ""), ({"dev": ["developer"]}, "prod"), ({}, "dev")):
        with pytest.raises(
            errors.PermissionDenied, match="an admin of `flights` for a role of the account in"
        ):
            caller(roles, tmp_path, environment)
    with pytest.raises(errors.PermissionDenied, match="changes go through the control API"):
        caller(EVERYWHERE, tmp_path, "dev", scope="admin")


def test_where_nobody_must_be_known_one_that_is_not_is_nobody_in_particular(tmp_path: Path) -> None:
    async def story() -> None:
        world = World()
        world.control.fails = errors.DependencyDown("no control API", name="control")
        keys = api_keys.KeyRing(tmp_path / "keys.json")
        issuer = accounts.BesideAccounts(identity.TokenIssuer({}), world.accounts)
        for is_demanded in (False, True):
            known = callers.Callers(issuer, keys, world.accounts, require_token=is_demanded)
            if is_demanded:
                with pytest.raises(errors.DependencyDown):
                    await known.prepare("Bearer msat_a", "predict")
            else:
                await known.prepare("bearer  msat_a", "predict")
                assert known.identify("Bearer msat_a", "predict") is callers.ANONYMOUS
                with pytest.raises(errors.DependencyDown):
                    await known.prepare("Bearer msat_a", "admin")
            with pytest.raises(errors.Unauthenticated):
                callers.admit(known, "Bearer msat_a")

    run(story())


def test_roles_say_nothing_of_what_another_project_masks() -> None:
    rule = contracts.MaskRule(classification="confidential", role="developer", purpose="*", form="clear")

    def section(project: str, view: str) -> contracts.MaskingSection:
        field = contracts.MaskedField(view=view, field="mail", classification="confidential", kind="email")
        return contracts.MaskingSection(project=project, fields=[field], rules=[rule])

    sections = [section("flights", "crew"), section("school", "pupils")]
    rules = masking.Rules(contracts.MaskingDocument(version=1, sections=sections))
    mine = frozenset({"developer"})
    assert rules.forms("crew", ["mail"], mine, "", "flights") == {}
    assert rules.forms("pupils", ["mail"], mine, "", "flights") == {"mail": ("full", "email")}
    assert rules.forms("pupils", ["mail"], mine, "") == {}, "roles of the platform hold in all"
