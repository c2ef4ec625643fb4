"""Advisories and licences are asked of what a bundle lists; what cannot be read, compared or trusted counts against it."""

import dataclasses
import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bundle_contents import CONTENTS
from packaging.version import Version

from mainspring.core import errors, policy, settings
from mainspring.core.models import bundle, signing
from mainspring.core.supply import admission, advisories, builders, environment, gates, provenance, sbom

NOW = datetime(2026, 11, 20, tzinfo=UTC)
HIGH = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"


def record(**changes: Any) -> dict[str, Any]:
    """An OSV record about `demo` from 1.0 up to 1.2."""
    events = [{"introduced": "1.0"}, {"fixed": "1.2"}]
    return {
        "id": "PYSEC-1",
        "modified": "2026-11-01T00:00:00Z",
        "aliases": ["CVE-2026-1"],
        "severity": [{"type": "CVSS_V3", "score": HIGH}],
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": "Demo"},
                "ranges": [{"type": "ECOSYSTEM", "events": events}],
            }
        ],
    } | changes


def affected(version: str, *events: dict[str, str], versions: tuple[str, ...] = ()) -> bool:
    about: dict[str, Any] = {"versions": list(versions)}
    if events:
        about["ranges"] = [{"type": "ECOSYSTEM", "events": list(events)}]
    return advisories.is_affected(version, about)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        *(("0.9", False), ("1.0", True), ("1.0.post1", True), ("1.1", True), ("1.2rc1", True)),
        *(("1.2", False), ("1.2.0", False), ("1.10", False), ("1.1+cpu", True), ("1!1.1", False)),
    ],
)
def test_ranges_are_compared_as_pep_440_has_it(version: str, expected: bool) -> None:
    assert affected(version, {"introduced": "1.0"}, {"fixed": "1.2"}) is expected


def test_the_other_forms_of_osv() -> None:
    assert affected("0.0.1", {"introduced": "0"})
    assert affected("9", {"introduced": "0"})
    assert affected("1.2", {"introduced": "0"}, {"last_affected": "1.2"})
    assert not affected("1.2.1", {"introduced": "0"}, {"last_affected": "1.2"})
    twice = ({"introduced": "1"}, {"fixed": "1.5"}, {"introduced": "2"}, {"fixed": "2.5"})
    assert [affected(v, *twice) for v in ("1.4", "1.5", "2.0", "2.4", "2.5")] == [
        True,
        False,
        True,
        True,
        False,
    ]
    assert affected("1.0.0", versions=("1.0",)) and not affected("1.1", versions=("1.0",))
    assert affected("3", versions=("1.0",)) is False
    assert advisories.is_affected("1", {}), "a record without versions is about all"
    assert affected("not-a-version", {"introduced": "1"}, {"fixed": "2"}), "what has no order is not cleared"
    assert affected("1", {"introduced": "what"}), "a range that has no order clears nobody"


def test_ranges_equal_a_plain_reading_of_them() -> None:
    """An oracle: walk every version in order and switch on and off."""
    choose = random.Random(7)
    line = [f"{a}.{b}" for a in range(4) for b in range(4)]
    for _ in range(400):
        cuts = sorted(choose.sample(range(len(line)), choose.choice((1, 2, 3, 4))))
        events, inside, truth, at = [], False, {}, 0
        for i, version in enumerate(line):
            if at < len(cuts) and cuts[at] == i:
                events.append({"fixed" if inside else "introduced": version})
                inside, at = not inside, at + 1
            truth[version] = inside
        choose.shuffle(events)
        assert {v: affected(v, *events) for v in line} == truth
        assert [Version(v) for v in line] == sorted(map(Version, line))


@pytest.mark.parametrize(
    ("vector", "score"),
    [  # FIRST's own examples, and CVEs of the national database
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8),
        ("CVSS:3.0/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1),
        ("CVSS:3.0/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4),
        ("CVSS:3.0/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", 3.1),
        ("CVSS:3.0/AV:L/AC:L/PR:H/UI:N/S:U/C:L/I:L/A:L", 4.2),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 10.0),
        ("CVSS:3.0/AV:P/AC:H/PR:H/UI:R/S:U/C:N/I:N/A:N", 0.0),
        ("CVSS:2.0/AV:N", None),
        ("", None),
    ],
)
def test_scores(vector: str, score: float | None) -> None:
    assert advisories.cvss3(vector) == score


def test_severity_is_the_database_s_word_else_the_score_else_the_worst() -> None:
    assert advisories.severity_of(record()) == "high"
    assert advisories.severity_of(record(database_specific={"severity": "MODERATE"})) == "medium"
    assert advisories.severity_of(record(severity=[])) == "critical"
    assert advisories.severity_of(record(severity=[{"type": "CVSS_V3", "score": "nonsense"}])) == "critical"


def feed(tmp_path: Path, *records: Any) -> Path:
    folder = tmp_path / "advisories"
    folder.mkdir(exist_ok=True)
    for i, value in enumerate(records):
        (folder / f"{i}.json").write_text(json.dumps(value))
    return folder


def test_a_feed_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    assert advisories.Feed.load(tmp_path / "absent") is None
    folder = feed(tmp_path, record(), [record(id="PYSEC-2", withdrawn="2026-11-02T00:00:00Z")])
    loaded = advisories.Feed.load(folder)
    assert loaded is not None and loaded.newest == datetime(2026, 11, 1, tzinfo=UTC)
    (found,) = loaded.findings([environment.Package("demo", "1.1"), environment.Package("demo2", "1.1")])
    assert str(found) == "demo 1.1: PYSEC-1 (high; fixed in 1.2)"
    for wrong in ("", "{", "3", "[3]", '{"id": "x"}', '{"id":"x","modified":"yesterday"}', "[" * 100_000):
        (folder / "bad.json").write_text(wrong)
        with pytest.raises(errors.CorruptArtifact, match=r"bad\.json"):
            advisories.Feed.load(folder)


@pytest.mark.parametrize(
    ("package", "denied"),
    [
        (environment.Package("a", "1", "MIT"), ""),
        (environment.Package("a", "1", "GPL-3.0-only"), "GPL-3.0-only"),
        (environment.Package("a", "1", "AGPL-3.0-or-later"), "AGPL-3.0-or-later"),
        (environment.Package("a", "1", "LGPL-3.0-only"), ""),
        (environment.Package("a", "1", "MIT OR GPL-2.0-only"), ""),
        (environment.Package("a", "1", "GPL-2.0-only OR AGPL-3.0-only"), "GPL-2.0-only"),
        (environment.Package("a", "1", "MIT AND GPL-2.0-only"), "GPL-2.0-only"),
        (environment.Package("a", "1", "(MIT OR GPL-2.0-only) AND BSD-3-Clause"), "GPL-2.0-only"),
        (environment.Package("a", "1", "BUSL-1.1"), "BUSL-1.1"),
        (
            environment.Package("a", "1", "", ("GNU General Public License v3 (GPLv3)",)),
            "GNU General Public License v3 (GPLv3)",
        ),
        (environment.Package("a", "1", "", ("GNU Lesser General Public License v3 (LGPLv3)",)), ""),
        (environment.Package("a", "1", "", ("MIT License", "GPLv2")), "GPLv2"),
        (environment.Package("a", "1", "", ("Business Source License 1.1",)), "Business Source License 1.1"),
        (environment.Package("a", "1", "", ("BSL 1.1",)), "BSL 1.1"),
        (environment.Package("a", "1"), ""),
    ],
)
def test_licences(package: environment.Package, denied: str) -> None:
    assert gates.denied_licence(package, gates.Licences().deny) == denied


def test_rules_that_cannot_be_read_allow_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    assert gates.Rules.load(path) == gates.Rules()
    for wrong, field in (
        ("[licences]\ndenied = []\n", "licences.denied"),
        ('[packages]\ndeny = { a = "about 2" }\n', "packages.deny.a"),
        ('[vulnerabilities]\ndeny_from = { prod = "awful" }\n', "vulnerabilities.deny_from.prod"),
        ('[vulnerabilities]\ndeny_from = { moon = "low" }\n', "vulnerabilities.deny_from.moon"),
        (
            '[[vulnerabilities.accept]]\nid = "X"\nreason = "why"\nby = "me"\n',
            "vulnerabilities.accept.0.until",
        ),
        *(
            (f"[packages]\nallow = {{ {names} }}\n", "packages.allow")
            for names in ('"num*" = ""', '"numpy[all]" = ""', '"" = ""', 'Foo_Bar = "", foo-bar = ">=1"')
        ),
        ('[packages]\nallow = { a = "about 2" }\n', "packages.allow.a"),
        ('[packages]\ndeny = { "left-*" = "" }\n', "packages.deny"),
        ("[licences\n", "cannot be read"),
    ):
        path.write_text(wrong)
        with pytest.raises(errors.InvalidSettings, match=field):
            gates.Rules.load(path)


def ask(
    rules: str, where: str, *packages: environment.Package, records: tuple[Any, ...] = ()
) -> gates.Findings:
    import tomllib

    known = advisories.Feed(records) if records else None
    return gates.ask(gates.Rules.model_validate(tomllib.loads(rules)), known, packages, where, NOW)


def test_what_stands_against_packages_depends_on_where() -> None:
    old, new = environment.Package("demo", "1.1"), environment.Package("demo", "1.2")
    for where, expected in (("dev", 0), ("staging", 0), ("prod", 1), ("moon", 1)):
        found = ask("", where, old, records=(record(),))
        assert len(found.vulnerabilities) == expected and not found.feed
    assert ask("", "prod", new, records=(record(),)) == gates.Findings()
    critical = record(database_specific={"severity": "CRITICAL"})
    assert len(ask("", "staging", old, records=(critical,)).vulnerabilities) == 1
    gpl = environment.Package("g", "1", "GPL-3.0-only")
    assert [len(ask("", where, gpl).licences) for where in ("dev", "staging", "prod")] == [0, 1, 1]
    excepted = '[licences]\nallow_packages = { G = "decided by legal" }\n'
    assert ask(excepted, "prod", gpl).licences == ()
    denied = '[packages]\ndeny = { Demo = "<1.2", evil = "" }\n'
    evil = environment.Package("evil", "7")
    assert ask(denied, "dev", old, new, evil).packages == ("demo 1.1 (<1.2)", "evil 7 (every version)")


@pytest.mark.parametrize(
    ("name", "version", "says"),
    [
        ("numpy", "2.4.1", ""),
        ("numpy", "1.26.4", "allowed is >=2"),
        ("numpy", "2.5rc1", "allowed is >=2"),
        ("numpy", "built-here", "allowed is >=2"),
        ("foo-bar", "0.1rc1", ""),
        ("foo-bar", "built-here", ""),
        ("torch", "2.6.0+cpu", ""),
        ("torch", "2.6.1", "allowed is <=2.6"),
        ("edge", "3.0b2", ""),
        ("edge", "3.0a9", "allowed is >=3.0b1"),
        ("numpyy", "2.4.1", "not on the list"),
    ],
)
def test_only_what_is_on_the_list_is_allowed_where_there_is_one(name: str, version: str, says: str) -> None:
    rules = '[packages]\nallow = { NumPy = ">=2", Foo_Bar = "", torch = "<=2.6", edge = ">=3.0b1" }\n'
    found = ask(rules, "dev", environment.Package(name, version))
    assert found.unlisted == ((f"{name} {version} ({says})",) if says else ()) and found.needs_bill
    elsewhere = rules + 'environments = ["prod"]\n'
    assert ask(elsewhere, "dev", environment.Package(name, version)) == gates.Findings()
    both = rules + "deny = { foo_bar = '' }\n"
    assert bool(ask(both, "dev", environment.Package(name, version)).packages) == (name == "foo-bar")


def test_a_risk_is_accepted_for_a_time_and_by_any_of_its_names() -> None:
    old = environment.Package("demo", "1.1")
    accept = '[[vulnerabilities.accept]]\nid = "{}"\nuntil = {}\nreason = "unreachable"\nby = "ana"\n'
    for name, until, left in (
        ("PYSEC-1", "2026-11-20", 0),
        ("CVE-2026-1", "2026-12-31", 0),
        ("PYSEC-1", "2026-11-19", 1),
        ("PYSEC-9", "2026-12-31", 1),
    ):
        assert len(ask(accept.format(name, until), "prod", old, records=(record(),)).vulnerabilities) == left


def test_an_old_feed_or_none_where_one_is_required_clears_nobody() -> None:
    new = environment.Package("demo", "1.2")
    stale = record(modified="2026-10-01T00:00:00Z")
    assert "50 days old" in ask("", "prod", new, records=(stale,)).feed
    assert ask("", "dev", new, records=(stale,)).feed == ""
    assert ask("", "prod", new).feed == ""
    required = '[vulnerabilities]\nrequired_in = ["prod"]\n'
    assert "no advisory" in ask(required, "prod", new).feed


class Home:
    def __init__(self, directory: Path) -> None:
        self.settings = settings.load({}, directory=directory)
        self.key = signing.ensure_key(self.settings.models.signing_key)
        self.key.publish(self.settings.serving.trusted_keys_dir)
        self.store = bundle.BundleStore(self.settings.serving.bundle_dir)
        self.gate = admission.Admission(self.settings)

    def write(self, builder: str, *packages: environment.Package) -> str:
        bill = sbom.render("flight-delay", "run_1", (), packages, "3.11")
        contents = dataclasses.replace(CONTENTS, extra_files={sbom.FILE: bill})
        return self.store.write(contents, self.key, provenance.Build(builder=builder)).digest

    def denied(self, digest: str, where: str = "prod") -> str:
        with pytest.raises(errors.PolicyDenied) as refused:
            self.gate.require(digest, where)
        return refused.value.rule_id


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_stored_bundle_is_asked_by_what_holds_today(home: Home) -> None:
    digest = home.write(builders.TRAIN, environment.Package("demo", "1.1"))
    home.gate.require(digest, "prod")
    folder = home.settings.models.advisories_dir
    folder.mkdir(parents=True)
    (folder / "1.json").write_text(json.dumps(record(modified=datetime.now(UTC).isoformat())))
    assert home.denied(digest) == "supply.vulnerabilities"
    home.gate.require(digest, "dev")
    answers = {r.rule_id: r.reason for r in home.gate.ask(digest, "prod").rules}
    assert "PYSEC-1 (high; fixed in 1.2)" in answers["supply.vulnerabilities"]
    (folder / "1.json").write_text("{")
    with pytest.raises(errors.CorruptArtifact):
        home.gate.require(digest, "dev")


def test_by_hand_is_for_dev(home: Home) -> None:
    digest = home.write(builders.LIBRARY)
    home.gate.require(digest, "dev")
    assert {home.denied(digest, where) for where in ("staging", "prod")} == {"supply.builder"}
    imported = home.store.write(CONTENTS, home.key, provenance.Build(builder=builders.IMPORT)).digest
    assert home.denied(imported) == "supply.bill"


def test_a_bill_that_is_none_denies(home: Home) -> None:
    contents = dataclasses.replace(CONTENTS, extra_files={sbom.FILE: b"{}"})
    digest = home.store.write(contents, home.key, provenance.Build(builder=builders.TRAIN)).digest
    with pytest.raises(errors.CorruptArtifact, match="no CycloneDX bill"):
        home.gate.require(digest, "dev")


class Listing(Home):
    """One where an allow-list is in force."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        path = self.settings.models.supply_rules
        path.parent.mkdir(parents=True)
        path.write_text('[packages]\nallow = { Demo = ">=1", foo-bar = "" }\n')

    def billed(self, bill: bytes | None, materials: tuple[provenance.Material, ...] = ()) -> str:
        contents = dataclasses.replace(CONTENTS, extra_files={} if bill is None else {sbom.FILE: bill})
        build = provenance.Build(builder=builders.TRAIN, materials=materials)
        return self.store.write(contents, self.key, build).digest


def bill_of(*components: dict[str, Any]) -> bytes:
    """As somebody else's tool may write one."""
    return json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": components}).encode()


def component(name: str, version: str = "1", **changes: Any) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{version}"
    return {"type": "library", "name": name, "version": version, "purl": purl} | changes


@pytest.mark.parametrize(
    ("bill", "rule", "words"),
    [
        (bill_of(component("demo"), component("Foo_Bar[fast]", purl="pkg:pypi/foo-bar@1")), "", ""),
        (bill_of(component("demo"), component("evil")), "supply.allowed", "evil 1 (not on the list)"),
        (bill_of(component("demo"), component("demo", "0.9")), "supply.allowed", "demo 0.9 (allowed is >=1)"),
        (bill_of(component("demo", "2.0rc1")), "supply.allowed", "demo 2.0rc1"),
        (bill_of(component("demo", components=[component("evil")])), "supply.allowed", "evil 1"),
        (bill_of(component("evil", purl="PKG:PyPI/evil@1")), "supply.allowed", "evil 1"),
        (bill_of(component("demo", purl="pkg:npm/demo@1")), "supply.allowed", "no purl of `pkg:pypi/`"),
        (bill_of({"type": "framework", "name": "demo", "version": "1"}), "supply.allowed", "demo 1"),
        (None, "supply.allowed", "no bill of materials"),
    ],
)
def test_no_bill_gets_a_package_past_the_list(
    tmp_path: Path, bill: bytes | None, rule: str, words: str
) -> None:
    home = Listing(tmp_path)
    digest = home.billed(bill)
    if not rule:
        home.gate.require(digest, "prod")
        return
    assert home.denied(digest, "dev") == rule
    assert words in {r.rule_id: r.reason for r in home.gate.ask(digest, "dev").rules}[rule]


@pytest.mark.parametrize("purl", ["pkg:pypi/evil@1", "pkg:pypi/demo@0.9", "pkg:pypi/%65vil@1?x=demo#demo"])
def test_a_package_of_two_names_is_none(tmp_path: Path, purl: str) -> None:
    home = Listing(tmp_path)
    digest = home.billed(bill_of(component("demo", purl=purl)))
    with pytest.raises(errors.CorruptArtifact, match="has the purl of"):
        home.gate.require(digest, "dev")


def test_a_bill_that_leaves_a_package_of_its_environment_out_is_found(tmp_path: Path) -> None:
    home = Listing(tmp_path)
    installed = (environment.Package("demo", "1.1"), environment.Package("evil", "1"))
    lock = environment.digest(installed)
    assert lock == environment.digest(reversed(installed)) != environment.digest(installed[:1])
    named = (provenance.Material(provenance.ENVIRONMENT, {"sha256": lock.removeprefix("sha256:")}),)
    short = sbom.render("flight-delay", "run_1", (), installed[:1], "3.11")
    digest = home.billed(short, named)
    assert home.denied(digest, "dev") == "supply.bill"
    assert "other packages than the environment" in home.gate.ask(digest, "dev").rules[1].reason
    home.gate.require(home.billed(sbom.render("flight-delay", "run_2", (), installed[:1], "3.11")), "dev")


def test_a_list_is_asked_anew_by_each_deployment(tmp_path: Path) -> None:
    home = Listing(tmp_path)
    digest = home.write(builders.TRAIN, environment.Package("demo", "1.1"))
    home.gate.require(digest, "prod")
    home.settings.models.supply_rules.write_text('[packages]\nallow = { other = "" }\n')
    assert home.denied(digest) == "supply.allowed", "what was deployed once is no right to be deployed again"
    home.settings.models.supply_rules.unlink()
    home.gate.require(digest, "prod")


def test_facts_say_no_by_name_and_not_without_end() -> None:
    many = tuple(f"p{i} 1" for i in range(9))
    facts = policy.SupplyFacts("d", "prod", "b", is_governed=True, has_bill=True, denied_licences=many)
    (no,) = [r for r in policy.admit_supply(facts).rules if not r.allowed]
    assert no.rule_id == "supply.licences" and "p4 1 and 4 more" in no.reason
    assert policy.admit_supply(dataclasses.replace(facts, denied_licences=())).allowed
