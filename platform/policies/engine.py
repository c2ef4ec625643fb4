"""The policy engine: Cedar in this process, over policies and a schema that are parsed once.

Policies are held against the schema when they are loaded, and one that does not fit stops the start. They are kept in a
set for each action, and those that demand one actor, project or value of an attribute in a set of that (`narrowing.py`): Cedar looks at
every policy of a set, and most are about another action or somebody else. And the entities of a question, the actor and what is asked about, are kept as parsed by all that they are made of: an actor that comes again
with the same roles costs no parsing. An answer is of its question and the set alone, without clock or chance: it is kept, too, and a
new set is a new engine. `bench/control_plane/decisions.py` measures questions that come for the first time and that come again, beside
cedarpy with everything in one set and one handle of all entities.

The only file that imports cedarpy.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import cedarpy

from mainspring.core import canonical, errors
from mainspring.platform.policies import narrowing, questions, sources

#: Parsed slices that are kept, some kB each, and answers, some hundred bytes each: who asks once asks again, about the same.
_SLICES: Final = 4096
_ANSWERS: Final = 16_384

#: Annotations that every policy has: its name on record, and what somebody who is denied does next.
REQUIRED: Final = ("id", "advice")

#: The group of what is answered only once it is on record.
SENSITIVE: Final = "sensitive"

_ACTION: Final = re.compile(r'^action (?:(\w+)|"([^"]+)")(?: in \[([^\]]*)\])?( appliesTo)?', re.MULTILINE)


@dataclass(frozen=True)
class Policy:
    """One policy, parsed: `body` is Cedar's JSON form."""

    id: str
    advice: str
    file: str
    is_ours: bool
    body: Mapping[str, Any]

    @property
    def is_permit(self) -> bool:
        return bool(self.body["effect"] == "permit")

    @property
    def text(self) -> str:
        """As Cedar itself writes it: comments are not part of a policy."""
        return text_of(self.id, self.body)


def text_of(policy_id: str, body: Mapping[str, Any]) -> str:
    """A policy in Cedar's own words, from its JSON form."""
    told: str = cedarpy.format_policies(cedarpy.policies_from_json_str(_json_of({policy_id: body}))).strip()
    return told


class PolicyEngine:
    """The policies in force. Immutable; `decide` does no I/O and may be asked from any thread."""

    def __init__(self, schema: cedarpy.Schema, policies: tuple[Policy, ...]) -> None:
        self._schema = schema
        declared = _declared(schema)
        self._about = {name: _about(groups, policies) for name, groups in declared.items()}
        self._sets = {name: _sets_of(about) for name, about in self._about.items()}
        self._slice = functools.lru_cache(maxsize=_SLICES)(functools.partial(_slice, schema))
        self._answer = functools.lru_cache(maxsize=_ANSWERS)(self._asked)
        self.policies = policies
        self.actions = frozenset(self._about)
        self.sensitive = frozenset(name for name, groups in declared.items() if SENSITIVE in groups)
        self.has_own = any(not policy.is_ours for policy in policies)
        self.version = canonical.digest([[p.id, p.file, dict(p.body)] for p in policies])[:23]

    @classmethod
    def load(cls, own: Path | None = None) -> Self:
        """Ours, and those of an organisation's folder. Errors: InvalidSettings with every problem, by file and id."""
        return cls.of(sources.load(own))

    @classmethod
    def of(cls, texts: sources.Sources) -> Self:
        """Errors: InvalidSettings with every problem, by file and id."""
        try:
            schema = cedarpy.Schema.from_str(texts.schema)
        except ValueError as error:
            raise _invalid([f"`{sources.SCHEMA}`: {error}"]) from error
        found: list[Policy] = []
        problems: list[str] = []
        for is_ours, folder in ((True, texts.ours), (False, texts.own)):
            for file, text in folder.items():
                found += _parse(file, text, is_ours, schema, problems)
        taken: dict[str, str] = {}
        for policy in found:
            if policy.id in taken:
                problems.append(
                    f"`{policy.file}`: policy `{policy.id}` is in `{taken[policy.id]}` too; give each an id of its own"
                )
            taken.setdefault(policy.id, policy.file)
        if problems:
            raise _invalid(problems)
        return cls(schema, tuple(found))

    def decide(self, question: questions.Question) -> questions.Decision:
        """Fails closed: an action that the schema does not have, a question that does not fit it, or a policy that could
        not be evaluated is a no, by a rule id of its own. A `forbid` goes before every `permit`.
        """
        if question.action not in self._sets:
            return questions.Decision(
                False, (questions.UNKNOWN_ACTION,), (f"the schema has no action `{question.action}`",)
            )
        try:
            # By type, too: `True` equals 1, and is another question.
            context = tuple((key, value, type(value)) for key, value in question.context.items())
            return self._answer(question.action, context, *_facts(question))
        except _Undecided as undecided:
            return questions.Decision(False, (questions.ERROR,), undecided.errors)
        # Whatever the engine raises has allowed nothing.
        except Exception as error:  # noqa: BLE001
            return questions.Decision(False, (questions.ERROR,), (repr(error),))

    def _asked(
        self, action: str, context: tuple[tuple[str, str | bool, type], ...], *facts: Any
    ) -> questions.Decision:
        """The answer to a question whose action there is, to be kept. Errors: what the engine raises; _Undecided: neither is kept."""
        who, kind, name, attributes, parents = facts
        what = questions.Resource(kind, name, dict(attributes), parents)
        question = questions.Question(who, action, what, {key: value for key, value, _ in context})
        request = _request(question)
        # What matches in one of the sets would in all of them together: a `forbid` of any goes before every `permit`.
        found: dict[bool, set[str]] = {True: set(), False: set()}
        for some in self._asked_about(action, question):
            answer = cedarpy.is_authorized(request, some, self._slice(*facts), self._schema)
            if answer.diagnostics.errors or answer.decision is cedarpy.Decision.NoDecision:
                raise _Undecided(tuple(answer.diagnostics.errors))
            found[answer.allowed].update(answer.diagnostics.reasons)
        reasons = found[False] or found[True]
        decided = tuple(p.id for p in self._about[action] if p.id in reasons)
        return questions.Decision(bool(reasons) and not found[False], decided)

    def _asked_about(self, action: str, question: questions.Question) -> Iterator[cedarpy.PolicySet]:
        """The sets that hold every policy that can match, one at least."""
        sets = self._sets[action]
        hit = [place for place in narrowing.places(question) if place in sets] if len(sets) > 1 else []
        if all(map(narrowing.is_name, hit)):
            yield sets[None]
        yield from (sets[place] for place in hit)

    def about(self, action: str) -> tuple[Policy, ...]:
        """The policies that are looked at for it."""
        return self._about.get(action, ())

    def advice(self, question: questions.Question, decision: questions.Decision) -> str:
        """What somebody who was denied does next: by the first policy that forbade, or else by those that would permit."""
        if decision.errors:
            return "the policies could not be asked; report it with its cause"
        about = self._about[question.action]
        said = [p.advice for p in about if p.id in decision.policies] or [
            p.advice for p in about if p.is_permit and _is_of(p, question.resource.type)
        ]
        return said[0] if said else "no policy permits it to anybody; ask whoever keeps the policies"


def require(engine: PolicyEngine, question: questions.Question) -> questions.Decision:
    """The decision if it is a yes. Errors: PermissionDenied if nothing permits it, PolicyDenied if something forbids it."""
    decision = engine.decide(question)
    if not decision.allowed:
        raise denial(engine, question, decision)
    return decision


def denial(
    engine: PolicyEngine, question: questions.Question, decision: questions.Decision
) -> errors.PermissionDenied | errors.PolicyDenied:
    """Why not, and what to do next."""
    advice, name = engine.advice(question, decision), question.principal.name
    if not decision.policies:
        roles = "`, `".join(sorted(question.principal.roles))
        has = f"has roles `{roles}`" if roles else "has no role"
        return errors.PermissionDenied(
            f"`{name}` {has} here, and no policy permits `{question.action}`; {advice}",
            actor=name,
            action=question.action,
        )
    return errors.PolicyDenied(
        f"rule `{decision.policies[0]}` denies it: {advice}",
        rule_id=decision.policies[0],
        cause="; ".join(decision.errors)[:1000],
    )


def _request(question: questions.Question) -> dict[str, Any]:
    return {
        "principal": {"type": "Actor", "id": question.principal.name},
        "action": {"type": "Action", "id": question.action},
        "resource": {"type": question.resource.type, "id": question.resource.id},
        "context": dict(question.context),
    }


class _Undecided(Exception):
    """A policy could not be evaluated: that is no answer to keep."""

    def __init__(self, errors: tuple[str, ...]) -> None:
        super().__init__(errors)
        self.errors = errors


def _facts(question: questions.Question) -> tuple[Hashable, ...]:
    """All that a slice is made of, so that it can be kept by it."""
    what = question.resource
    return question.principal, what.type, what.id, tuple(what.attributes.items()), what.parents


def _slice(
    schema: cedarpy.Schema,
    who: questions.Principal,
    kind: str,
    name: str,
    attributes: tuple[tuple[str, str], ...],
    parents: tuple[tuple[str, str], ...],
) -> cedarpy.Entities:
    """Errors: ValueError for entities that are none of the schema's."""
    what = questions.Resource(kind, name, dict(attributes), parents)
    entities = _entities(questions.Question(who, "", what))
    return cedarpy.Entities.from_json_str(json.dumps(entities), schema)


def _entities(question: questions.Question) -> list[dict[str, Any]]:
    """The slice of the world that a question is about: who asks, and what is asked about."""
    who, what = question.principal, question.resource
    attributes = {
        "name": who.name,
        "roles": sorted(who.roles),
        "platform_roles": sorted(who.platform_roles),
    }
    return [
        {"uid": {"type": "Actor", "id": who.name}, "attrs": attributes, "parents": []},
        {
            "uid": {"type": what.type, "id": what.id},
            "attrs": dict(what.attributes),
            "parents": [{"type": kind, "id": name} for kind, name in what.parents],
        },
    ]


def _parse(
    file: str, text: str, is_ours: bool, schema: cedarpy.Schema, problems: list[str]
) -> Iterator[Policy]:
    """The policies of a file; what is wrong with it is added to `problems`."""
    try:
        parsed = json.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        problems.append(f"`{file}`: {' '.join(str(error).split())}")
        return
    if parsed["templates"] or parsed["templateLinks"]:
        problems.append(f"`{file}`: templates have no one who links them here; write policies")
    for place, body in parsed["staticPolicies"].items():
        annotations = body.get("annotations", {})
        lacks = [name for name in REQUIRED if not (annotations.get(name) or "").strip()]
        if lacks:
            problems.append(
                f"`{file}`: policy `{annotations.get('id') or place}` has no `@{'`, `@'.join(lacks)}`; annotate it"
            )
        else:
            yield Policy(annotations["id"], annotations["advice"], file, is_ours, body)
    checked = cedarpy.validate_policies(text, schema)
    for found in checked.errors:
        name = checked.id_annotations_by_policy_id.get(found.policy_id, found.policy_id)
        problems.append(f"`{file}`: policy `{name}`: {' '.join(found.error.split())}")


def _declared(schema: cedarpy.Schema) -> dict[str, frozenset[str]]:
    """Of each action that applies to something the groups that it is in, and itself. Groups are no actions, and one deep.

    Read from the text that Cedar itself writes of a schema, an action a statement: it gives no other form.
    """
    found = {}
    for bare, quoted, parents, applies in _ACTION.findall(str(schema)):
        if applies:
            named = re.findall(r'Action::"([^"]+)"', parents)
            found[bare or quoted] = frozenset({bare or quoted, *named})
    return found


def _about(groups: frozenset[str], policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
    """The policies whose head lets them be about an action: the others could not match, whatever is asked."""

    def is_about(policy: Policy) -> bool:
        scope = policy.body["action"]
        named = scope.get("entities") or ([scope["entity"]] if "entity" in scope else [])
        return scope["op"] == "All" or bool(groups & {one["id"] for one in named})

    return tuple(policy for policy in policies if is_about(policy))


def _sets_of(policies: tuple[Policy, ...]) -> dict[narrowing.Place | None, cedarpy.PolicySet]:
    """Those that are looked at for every question (None: always there), and by what the others demand.

    A set by an attribute has those for every question as well, and is asked in their place: to ask two costs more than some policies twice.
    """
    found: dict[narrowing.Place | None, list[Policy]] = {None: []}
    for policy, demand in zip(policies, narrowing.placed([p.body for p in policies]), strict=True):
        for place in demand or (None,):
            found.setdefault(place, []).append(policy)
    always = found[None]
    return {
        place: _set_of(tuple(some if place is None or narrowing.is_name(place) else [*always, *some]))
        for place, some in found.items()
    }


def _set_of(policies: tuple[Policy, ...]) -> cedarpy.PolicySet:
    """A set whose diagnostics name policies by our ids."""
    return cedarpy.PolicySet.from_json_str(_set_text(policies))


def _set_text(policies: tuple[Policy, ...]) -> str:
    return _json_of({policy.id: policy.body for policy in policies})


def _json_of(bodies: Mapping[str, Mapping[str, Any]]) -> str:
    return json.dumps({"templates": {}, "staticPolicies": bodies, "templateLinks": []})


def _is_of(policy: Policy, kind: str) -> bool:
    """Can it be about a resource of this kind."""
    return bool(policy.body["resource"].get("entity_type", kind) == kind)


def _invalid(problems: list[str]) -> errors.InvalidSettings:
    return errors.InvalidSettings(
        "policies are not usable: " + "; ".join(problems) + "; see platform/policies/README.md",
        problems=tuple(problems),
    )
