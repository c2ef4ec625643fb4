"""Secrets that others keep, read where they are used: from OpenBao, a mounted file, or a variable of the process.

A place says where one lies (`core/contracts/secrets.py`): `openbao:MOUNT/PATH#FIELD`, `file:/PATH`, `env:NAME`. What lies there is
kept in memory for a short while, so that one that was rotated is taken without a restart, and goes into no message.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import httpx

from mainspring.core import errors, settings
from mainspring.core.contracts import secrets
from mainspring.core.protection import openbao

__all__ = ["MASK", "Resolver", "Secret", "is_place", "mask", "masked"]

MASK: Final = "***"
_MAX_BYTES: Final = 64 * 1024
#: What is shorter is in any text by chance, and masking it would tell where.
_MIN_MASKED: Final = 6
_PLACE: Final = re.compile(secrets.PLACE)


class Secret:
    """A value that shows itself only to who asks for it by `reveal()`: in no repr, no f-string, no pickle."""

    __slots__ = ("_place", "_value")

    def __init__(self, value: str, place: str) -> None:
        self._value, self._place = value, place

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self._place})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not sent or kept; send its place, and read it there")


class Resolver:
    """Reads what places lead to, each at most once in `cache_seconds`. Thread-safe."""

    def __init__(
        self,
        s: settings.SecretSettings,
        *,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._s, self._clock = s, clock
        self._vault = openbao.KeyValue(
            s.openbao_url, s.openbao_token_file, settings_group="secrets", transport=transport
        )
        self._known: dict[str, tuple[Secret, float]] = {}
        self._lock = threading.Lock()

    def read(self, place: str) -> Secret:
        """For an operator's setting, which may name any place.

        Errors: InvalidRequest for what is no place; NotFound where nothing lies there; PermissionDenied where it may not be read;
        DependencyDown; Misconfigured without an OpenBao.
        """
        _check(place)
        with self._lock:
            found = self._known.get(place)
            if found is not None and self._clock() < found[1]:
                return found[0]
        # Two may read it at once; neither waits for the other's server.
        fresh = Secret(self._read(place), place)
        with self._lock:
            self._known[place] = fresh, self._clock() + self._s.cache_seconds
        return fresh

    def read_for(self, project: str, place: str) -> Secret:
        """For a reference of a project, which leads to the project's own places alone.

        Errors: PermissionDenied beyond those; those of :meth:`read`.
        """
        _check(place)
        own = [one.format(project=project) for one in self._s.project_places.split(",") if one]
        if not any(place.startswith(one) for one in own):
            raise errors.PermissionDenied(
                f"`{place}` is not project `{project}`'s, whose secrets lie below {' or '.join(f'`{o}`' for o in own) or 'nothing'};"
                " put it there, or widen `secrets.project_places`",
                actor=f"project `{project}`",
                action="secret.use",
            )
        if place.startswith("file:"):
            below = next(one for one in own if place.startswith(one)).removeprefix("file:")
            self._file(place, Path(below))  # not by a link to another project's either
        return self.read(place)

    def _read(self, place: str) -> str:
        kind, _, rest = place.partition(":")
        if kind == "env":
            value = settings.variable(rest)
            if not value:
                raise _nothing(place, "no such variable is set for this process")
            return value
        if kind == "file":
            return self._file(place, Path(self._s.files_dir))
        if not self._s.openbao_url:
            raise errors.Misconfigured(
                f"`{place}` is in OpenBao, and `secrets.openbao_url` is not set; set it, and `secrets.openbao_token_file`"
            )
        path, _, field = rest.partition("#")
        return self._vault.read(path, field)

    def _file(self, place: str, root: Path) -> str:
        """What is mounted there, without the line's end that editors put behind it."""
        try:
            path = Path(place.removeprefix("file:")).resolve(strict=True)
            if not path.is_relative_to(root.resolve()):
                raise errors.PermissionDenied(
                    f"`{place}` lies outside of `{root}`; mount it there, or change `secrets.files_dir`",
                    actor="this process",
                    action="secret.use",
                )
            if not path.is_file() or path.stat().st_size > _MAX_BYTES:
                raise _nothing(place, "it is no file of a secret's size")
            return path.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise _nothing(place, f"it cannot be read ({type(error).__name__})") from error


def is_place(text: str) -> bool:
    """Does it say where a secret lies, and is not one itself."""
    return bool(_PLACE.fullmatch(text))


def mask(text: str, values: Iterable[str]) -> str:
    """The text without any of the values, nor a line of one of several lines."""
    parts = {part for value in values for part in (value, *value.splitlines()) if len(part) >= _MIN_MASKED}
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, MASK)
    return text


def masked(wire: Mapping[str, Any], values: Iterable[str]) -> dict[str, Any]:
    """As :func:`mask`, in every text of a document."""
    known = tuple(values)

    def of(one: Any) -> Any:
        if isinstance(one, str):
            return mask(one, known)
        if isinstance(one, Mapping):
            return {mask(str(key), known): of(value) for key, value in one.items()}
        if isinstance(one, list | tuple):
            return [of(item) for item in one]
        return one

    return {key: of(value) for key, value in wire.items()}


def _check(place: str) -> None:
    # `..` would lead out of a place that is below another.
    if not is_place(place) or {".", ".."} & set(re.split(r"[:/#]", place)):
        raise errors.InvalidRequest(
            f"`{place[:80]}` says not where a secret lies; write `openbao:MOUNT/PATH#FIELD`, `file:/PATH` or `env:NAME`",
            field="place",
        )


def _nothing(place: str, why: str) -> errors.NotFound:
    return errors.NotFound(
        f"no secret lies at `{place}`: {why}; put it there, or correct the reference",
        resource="secret",
        name=place,
    )
