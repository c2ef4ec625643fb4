"""What the pages are made of and know of their surroundings, chosen once in `app.py`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from mainspring.core import settings
from mainspring.platform.portal import bundle

__all__ = ["Pages", "PortalConfig"]


class PortalConfig(BaseModel):
    """What anybody may know who can load the page: how to sign in."""

    model_config = ConfigDict(frozen=True)

    issuer: str = ""
    """The OpenID provider; empty: there is none."""
    client_id: str = ""
    audience: str = ""
    scopes: str = ""
    embedded: bool = True
    """Are development tokens taken."""
    cli_client_id: str = ""
    cli_scopes: str = ""
    """`mainspring login` asks here, too."""

    @classmethod
    def of(cls, s: settings.IdentitySettings) -> PortalConfig:
        if not s.issuer:
            return cls()
        return cls(
            issuer=s.issuer,
            client_id=s.portal_client_id,
            audience=s.audience,
            scopes=s.portal_scopes,
            embedded=s.embedded,
            cli_client_id=s.cli_client_id,
            cli_scopes=s.cli_scopes,
        )


class Pages:
    """The bundle, read when the first page is asked for; looked for again while there is none. One event loop."""

    def __init__(self) -> None:
        self._found = bundle.Bundle({})

    def current(self) -> bundle.Bundle:
        if not self._found.is_built:
            self._found = bundle.Bundle.load()
        return self._found
