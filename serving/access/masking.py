"""What is shown to whom: one document, in force in all processes of a host, applied to every read of features.

Built as the limits' document: versioned, whole or not at all. A document that cannot be read leaves the one before in force; at
a start it stops the process, so that nothing is shown because a rule was lost.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from mainspring.core import errors, ports, watched
from mainspring.core.contracts import masking as contracts
from mainspring.core.monitoring import tokens
from mainspring.core.protection import masking
from mainspring.serving.access import callers

#: What the request is for, in a word that policies know.
PURPOSE_HEADER: Final = "x-mainspring-purpose"


class Masking:
    """Thread-safe."""

    def __init__(self, path: Path, token_key: Path) -> None:
        """Errors: Misconfigured for a document that cannot be read."""
        self._document = watched.Watched(path, read, contracts.MaskingDocument(version=0))
        self._token_key = token_key
        self._tokeniser: tokens.Tokeniser | None = None
        self._rules = masking.Rules(self._document.content)
        self._document.on_change(self._set_rules)

    @property
    def document(self) -> contracts.MaskingDocument:
        return self._document.get()

    @property
    def views(self) -> frozenset[str]:
        """Views of which some callers see less than is there, as of the last look: it takes no lock and tells nobody."""
        return self._rules.views

    def on_change(self, changed: Callable[[], None]) -> None:
        self._document.on_change(changed)

    def look(self) -> None:
        """See now what other processes changed: the front does not look."""
        self._document.look()

    def apply(self, document: contracts.MaskingDocument) -> contracts.MaskingDocument:
        """Put the next version in force; the same again changes nothing. Errors: Conflict, Overloaded, OSError."""

        def edit(
            current: contracts.MaskingDocument,
        ) -> tuple[contracts.MaskingDocument, bytes]:
            if document.version != current.version + 1 and document != current:
                raise errors.Conflict(
                    f"masking is at version {current.version}, got version {document.version}; read what is in force and"
                    f" send version {current.version + 1}",
                    resource="masking",
                    name="masking",
                )
            return document, document.model_dump_json(indent=1).encode()

        return self._document.change(edit)

    def shown(
        self, view: str, rows: ports.OnlineRows, caller: callers.Caller, purpose: str
    ) -> ports.OnlineRows:
        """The rows as `caller` may see them; the very same where the view is for everybody."""
        self._document.get()  # it may have changed
        forms = self._rules.forms(view, rows.values, caller.roles, purpose, caller.roles_in)
        if not forms:
            return rows
        tokeniser = self._tokens()
        values, valid = dict(rows.values), dict(rows.valid)
        for name, (form, kind) in forms.items():
            values[name], valid[name] = masking.masked(
                values[name], valid[name], f"{view}.{name}", form, kind, tokeniser
            )
        return ports.OnlineRows(values, valid, rows.status, rows.event_us)

    def _tokens(self) -> tokens.Tokeniser:
        if self._tokeniser is None:
            self._tokeniser = tokens.Tokeniser.load(self._token_key)
        return self._tokeniser

    def _set_rules(self) -> None:
        self._rules = masking.Rules(self._document.content)


def read(content: bytes) -> contracts.MaskingDocument:
    """Errors: InvalidSettings with every problem."""
    try:
        return contracts.MaskingDocument.model_validate_json(content)
    except ValidationError as error:
        problems = tuple(f"`{'.'.join(map(str, e['loc']))}`: {e['msg']}" for e in error.errors())
        raise errors.InvalidSettings(
            "masking is not usable: " + "; ".join(problems[:5]), problems=problems
        ) from error
