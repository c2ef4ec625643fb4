"""What reports, evaluations, cards and the catalog show of columns that are not for everybody. Pure: who sees what is told beforehand.

Numbers of a column that is not seen as it is are left out (an extreme is somebody's, and numbers have no form between clear and
null); a category's name is shown in the form that is said. Counts, shares and indices of spread stay: they are of many rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from mainspring.core.contracts import catalog, evaluation, masking, monitoring
from mainspring.core.monitoring import tokens

__all__ = ["Shown", "card", "cell", "entry", "examined", "finding", "part", "report", "result"]

_HIDDEN: Final = "***"
#: Of these the end is what their owner knows them by.
_ENDS: Final = frozenset({"card_number", "bank_account", "phone"})
#: What stands for many values, or for none, is no value.
_NO_VALUES: Final = frozenset({evaluation.OTHER, evaluation.MISSING, "any other", ""})
_TOKEN: Final = re.compile(r"tok_[0-9a-f]{32}")
#: Where a finding's message goes on with values.
_EXAMPLES: Final = ", such as "


class Shown:
    """How columns are shown, by the names that reports call them. Immutable."""

    def __init__(self, forms: Mapping[str, tuple[masking.Form, str]], tokeniser: tokens.Tokeniser) -> None:
        """`forms`: of those that are not seen as they are, the form and what the column tells of persons."""
        self._forms, self._tokeniser = forms, tokeniser

    def hides(self, column: str) -> bool:
        """Is it anything else than as it is."""
        return column in self._forms

    def value(self, column: str, value: str) -> str:
        """One value; a token stays one."""
        form, kind = self._forms.get(column, ("clear", ""))
        if form == "clear" or value in _NO_VALUES or value.startswith("\0"):  # sums call the rest so
            return value
        if form == "full":
            return _HIDDEN
        if _TOKEN.fullmatch(value):
            return value
        (token,) = self._tokeniser.column(column, [value])
        return part(value, kind) if form == "partial" else str(token)


def report(found: monitoring.MonitorReport, shown: Shown) -> monitoring.MonitorReport:
    """A report of a served model."""
    slices = tuple(s.model_copy(update={"value": shown.value(s.column, s.value)}) for s in found.slices)
    findings = []
    for one in found.findings:
        subject, message = finding(one.subject, one.message, shown)
        findings.append(one.model_copy(update={"subject": subject, "message": message}))
    columns = tuple(_column(c, shown) if shown.hides(c.name) else c for c in found.columns)
    return found.model_copy(update={"slices": slices, "findings": tuple(findings), "columns": columns})


def finding(subject: str, message: str, shown: Shown) -> tuple[str, str]:
    """Subject and message of a finding, and so of its alert: `column`, or `column=value` of a slice."""
    column, is_slice, value = subject.partition("=")
    if not shown.hides(column):
        return subject, message
    told = f"{column}={shown.value(column, value)}" if is_slice else subject
    return told, message.partition(_EXAMPLES)[0]


def examined(found: evaluation.Evaluation, shown: Shown) -> evaluation.Evaluation:
    """What a candidate does on parts of its test split, and to groups."""
    return found.model_copy(
        update={
            "slices": [s.model_copy(update={"value": shown.value(s.column, s.value)}) for s in found.slices],
            "fairness": [
                f.model_copy(
                    update={
                        "groups": [
                            g.model_copy(update={"value": shown.value(f.column, g.value)}) for g in f.groups
                        ]
                    }
                )
                for f in found.fairness
            ],
        }
    )


def result(found: Mapping[str, Any], shown: Shown) -> dict[str, Any]:
    """What a run answered, as it is stored; one without an evaluation is as it was."""
    raw = found.get("evaluation")
    if not isinstance(raw, Mapping):
        return dict(found)
    told = examined(evaluation.Evaluation.model_validate(raw), shown)
    return {**found, "evaluation": {**raw, **told.model_dump(mode="json", include={"slices", "fairness"})}}


def card(text: str, found: evaluation.Evaluation, shown: Shown) -> str:
    """A model's card: its tables name the values that `found` has. A column's name and value are the cells that a row begins with."""
    values = {
        **{(f"| {cell(s.column)} | ", s.value): s.column for s in found.slices},
        **{("| ", g.value): f.column for f in found.fairness for g in f.groups},
    }
    replaced = [
        (f"{before}{cell(value)} |", f"{before}{cell(shown.value(column, value))} |")
        for (before, value), column in values.items()
        if shown.value(column, value) != value
    ]
    lines = []
    for line in text.split("\n"):
        for was, is_now in replaced:
            if line.startswith(was):
                line = is_now + line[len(was) :]
                break
        lines.append(line)
    return "\n".join(lines)


def entry(found: catalog.CatalogEntry, forms: Mapping[str, masking.Form]) -> catalog.CatalogEntry:
    """An entry of the catalog without the statistics of columns whose class is not seen as it is. `forms`: by class."""
    columns = tuple(
        c.model_copy(update={"low": None, "high": None, "mean": None})
        if forms.get(_class(c), "clear") != "clear"
        else c
        for c in found.columns
    )
    return found.model_copy(update={"columns": columns})


def _class(column: catalog.CatalogColumn) -> catalog.Classification:
    """What is of a person is confidential at least."""
    is_milder = column.classification not in masking.CLASSES
    return "confidential" if column.is_pii and is_milder else column.classification


def _column(found: monitoring.ColumnFound, shown: Shown) -> monitoring.ColumnFound:
    values = tuple(shown.value(found.name, v) for v in found.new_values)
    numbers: dict[str, object] = {"mean": None, "mean_reference": None, "deviation": None, "quantiles": {}}
    return found.model_copy(update={"new_values": values, **numbers})


def part(value: str, kind: str) -> str:
    """What is left: little enough of a short value that nobody guesses the rest."""
    if kind in _ENDS:
        return _HIDDEN + value[-2:] if len(value) >= 10 else _HIDDEN
    if kind == "email" and value.count("@") == 1:
        return value[0] + _HIDDEN + "@" + _HIDDEN if value[0] != "@" else _HIDDEN
    return value[0] + _HIDDEN if len(value) >= 4 else _HIDDEN


def cell(text: str) -> str:
    """Data's own words in a table of a card."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
