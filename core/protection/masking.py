"""How a value is shown that is not for everybody. Pure: who may see what is a document's, and policies made it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mainspring.core.contracts import masking
from mainspring.core.monitoring import tokens
from mainspring.core.protection import showing

__all__ = ["Rules", "masked"]


@dataclass(frozen=True)
class _Field:
    kind: str
    project: str
    seen: Mapping[tuple[str, str], masking.Form]
    """By role and purpose."""
    purposes: frozenset[str] | None
    """What it may be used for; None: whatever rules say."""


class Rules:
    """A document, ready to be asked. Immutable."""

    def __init__(self, document: masking.MaskingDocument) -> None:
        self._views: dict[str, dict[str, list[_Field]]] = {}
        for section in document.sections:
            of_class: dict[str, dict[tuple[str, str], masking.Form]] = {}
            for rule in section.rules:
                seen = of_class.setdefault(rule.classification, {})
                key = (rule.role, rule.purpose)
                seen[key] = _more(seen.get(key, "full"), rule.form)
            for one in section.fields:
                fields = self._views.setdefault(one.view, {}).setdefault(one.field, [])
                said = None if one.purposes is None else frozenset(one.purposes)
                seen = of_class.get(one.classification, {})
                fields.append(_Field(one.kind, section.project, seen, said))

    @property
    def views(self) -> frozenset[str]:
        """Views that have a field which is not for everybody."""
        return frozenset(self._views)

    def forms(
        self, view: str, fields: Iterable[str], roles: frozenset[str], purpose: str, roles_in: str = ""
    ) -> dict[str, tuple[masking.Form, str]]:
        """How each of `fields` is shown that is not shown as it is, with its kind. Empty for a view that is for everybody.

        `roles_in`: the project that the roles are of, which say nothing of what another project says; "": of all.
        """
        known = self._views.get(view)
        if known is None:
            return {}
        found: dict[str, tuple[masking.Form, str]] = {}
        for field in fields:
            claims = known.get(field, [])
            form: masking.Form = "clear"
            for claim in claims:
                held = roles if roles_in in ("", claim.project) else frozenset[str]()
                form = _less(form, _seen(claim, held, purpose))
            if form != "clear":
                found[field] = form, claims[0].kind
        return found


def masked(
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    name: str,
    form: masking.Form,
    kind: str,
    tokeniser: tokens.Tokeniser,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Values and validity as `form` shows them; `name` is the column, of which tokens are.

    Shapes:  (n,) both, as given.
    Missing: what is null stays so. Numbers and booleans have no form between clear and null: they become null.
    """
    if form == "clear":
        return values, valid
    if values.dtype.kind not in "OUT" or form == "full":
        empty = np.full(values.shape, "", dtype=object) if values.dtype.kind in "OUT" else _empty(values)
        return empty, np.zeros(valid.shape, np.bool_)
    told = [v if ok else None for v, ok in zip(values.tolist(), valid.tolist(), strict=True)]
    if form == "hash":
        shown = ["" if t is None else t for t in tokeniser.column(name, told)]
    else:
        shown = ["" if v is None else showing.part(str(v), kind) for v in told]
    return np.array(shown, dtype=object), valid


def _empty(values: NDArray[Any]) -> NDArray[Any]:
    """What the store answers for a null of that type."""
    return np.full(values.shape, np.nan if values.dtype.kind == "f" else 0, dtype=values.dtype)


def _seen(field: _Field, roles: frozenset[str], purpose: str) -> masking.Form:
    form: masking.Form = "full"
    if field.purposes is not None and purpose not in field.purposes:
        return form
    for role in roles:
        for asked in (purpose, "*"):
            form = _more(form, field.seen.get((role, asked), "full"))
    return form


def _more(one: masking.Form, other: masking.Form) -> masking.Form:
    return min(one, other, key=masking.FORMS.index)


def _less(one: masking.Form, other: masking.Form) -> masking.Form:
    return max(one, other, key=masking.FORMS.index)
