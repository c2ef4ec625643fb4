"""The embedded issuer's token by which services know one another: lines of one file, which all of them follow. Blocking."""

from __future__ import annotations

from mainspring.core import errors, identity, settings, token_files
from mainspring.core.contracts import keys
from mainspring.workflows.key_rotation import messages

__all__ = ["ServiceTokens"]


class ServiceTokens:
    """Reads the file at each call. One caller at a time changes something."""

    def __init__(self, in_force: settings.Settings) -> None:
        self._path = in_force.control.tokens_file
        self._is_believed = in_force.identity.embedded or not in_force.identity.issuer

    def prepare(self, request: keys.KeyRequest, mark: str) -> messages.Turn:
        """The new token is believed, and nobody shows it yet. With the same `mark` again it is the same token.

        Errors: Misconfigured where a provider alone is believed; NotFound without a token of services.
        """
        if not self._is_believed:
            raise errors.Misconfigured(
                "tokens of the embedded issuer are not believed here (`identity.embedded` is off); rotate at the provider"
            )
        new = token_files.add(self._path, identity.SERVICE, mark)
        return messages.Turn(request=request, old=token_files.ids(self._path, identity.SERVICE)[0], new=new)

    def secret(self, token_id: str) -> str:
        """Errors: NotFound for one that was withdrawn."""
        return token_files.token(self._path, identity.SERVICE, token_id)

    def switch(self, turn: messages.Turn) -> bool:
        return token_files.promote(self._path, identity.SERVICE, turn.new)

    def withdraw(self, turn: messages.Turn) -> messages.Withdrawn:
        """All but the one in use: what rotations that broke off have left counts no more either."""
        others = token_files.ids(self._path, identity.SERVICE)[1:]
        return messages.Withdrawn(key_ids=token_files.drop(self._path, identity.SERVICE, others))
