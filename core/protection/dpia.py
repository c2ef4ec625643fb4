"""From answers to a risk: a table of weights, written down so that two persons come to the same. Pure.

The nine criteria are those of the European data protection board's guidelines (WP 248 rev.01), of which two make an assessment
due; the weights are ours. A measure lessens only what it is against, and never what is special by law below medium.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mainspring.core.contracts import dpia

__all__ = ["HIGH", "MEDIUM", "Assessment", "assess", "template"]

#: Scores from which on a risk is medium, and high.
MEDIUM: Final = 3
HIGH: Final = 6

_CRITERIA: Final = (
    ("special_categories", 3, "data of special categories or offences"),
    ("automated_decisions", 3, "scores that decide about persons"),
    ("large_scale", 2, "large scale"),
    ("systematic_monitoring", 2, "systematic monitoring"),
    ("vulnerable_persons", 2, "persons who cannot freely refuse"),
    ("denies_service", 2, "can keep a person from a right or a service"),
    ("matched_datasets", 1, "data of different purposes are matched"),
    ("new_technology", 1, "effects that are not known yet"),
    ("leaves_jurisdiction", 1, "data leave their jurisdiction"),
)
#: What lessens which criteria, by one each.
_MEASURES: Final = (
    (
        "is_sealed",
        ("special_categories", "large_scale", "leaves_jurisdiction"),
        "restricted columns are sealed",
    ),
    ("is_minimal", ("large_scale", "matched_datasets"), "every column is needed"),
    ("human_review", ("automated_decisions", "denies_service"), "a person reviews"),
    ("limited_retention", ("systematic_monitoring",), "what is kept is removed"),
)
_BY_LAW: Final = ("special_categories", "automated_decisions")


@dataclass(frozen=True)
class Assessment:
    """What follows from the answers."""

    score: int
    risk: dpia.Risk
    findings: tuple[str, ...]


def assess(answers: dpia.DpiaAnswers) -> Assessment:
    """More that applies never lowers the score, and more measures never raise it."""
    weights, findings = {}, []
    for name, weight, words in _CRITERIA:
        if getattr(answers, name):
            weights[name] = weight
            findings.append(f"+{weight} {words}")
    for name, against, words in _MEASURES:
        lessened = [criterion for criterion in against if weights.get(criterion, 0) > 0]
        if getattr(answers, name) and lessened:
            for criterion in lessened:
                weights[criterion] -= 1
            findings.append(f"-{len(lessened)} {words}")
    score = sum(weights.values())
    risk: dpia.Risk = "high" if score >= HIGH else "medium" if score >= MEDIUM else "low"
    if risk == "low" and any(getattr(answers, name) for name in _BY_LAW):
        risk = "medium"
        findings.append("medium at least, by law")
    return Assessment(score, risk, tuple(findings))


def template() -> str:
    """The questionnaire as TOML, its questions as comments; answers are left out, so that it does not parse before they are in."""
    lines = [
        "# Data protection impact assessment: answer every question, then `mainspring dpia submit PROJECT FILE`."
    ]
    for name, field in dpia.DpiaAnswers.model_fields.items():
        lines += ["", f"# {field.description}"]
        if name == "lawful_basis":
            lines.append(
                "# consent, contract, legal-obligation, vital-interests, public-task or legitimate-interests"
            )
        how = "# true or false" if field.annotation is bool else "# in words"
        lines.append(f"{name} = " + (how if field.is_required() else '# ["care", "billing"], or []'))
    return "\n".join(lines) + "\n"
