"""`python -m mainspring.platform.portal.schema FILE`: the control API's OpenAPI document, which the pages' types are made of.

Made at every build and kept nowhere, so that it cannot be of another release than the API is.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from litestar.serialization import encode_json, get_serializer

from mainspring.core import identity, settings
from mainspring.platform import app as control_app
from mainspring.platform.runs import launcher

__all__ = ["document"]


def document() -> bytes:
    """As `/schema/openapi.json` answers it."""
    with tempfile.TemporaryDirectory() as folder:
        s = settings.load({}, directory=Path(folder))
        app = control_app.create_app(s, issuer=identity.TokenIssuer({}), launcher=launcher.MemoryLauncher())
        return encode_json(app.openapi_schema.to_schema(), get_serializer(app.type_encoders))


def main(argv: list[str]) -> int:
    if len(argv) != 1:
        print("usage: python -m mainspring.platform.portal.schema FILE", file=sys.stderr)
        return 2
    target = Path(argv[0])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(document())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
