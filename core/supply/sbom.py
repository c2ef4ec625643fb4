"""A bundle's bill of materials in CycloneDX 1.6 JSON: the packages that it was made with, and the data and plan it was made of.

The same environment and data give the same bytes: no serial number and no time, which the signed provenance has. A bundle has it
as a listed file, so the signature covers it.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from mainspring.core import canonical, errors
from mainspring.core.supply import environment

FILE: Final = "sbom.cdx.json"

_SPEC: Final = "1.6"
_MODEL: Final = "model"
_MODEL_KIND: Final = "machine-learning-model"
_PYPI: Final = "pkg:pypi/"
#: Component types that are code.
_CODE: Final = frozenset({"library", "framework", "application"})
_EXTRAS: Final = re.compile(r"\s*\[[^\]]*\]\s*$")


@dataclass(frozen=True)
class Input:
    """Data or a fitted plan, named by content: `digest` is `sha256:<hex>`."""

    name: str
    digest: str
    description: str = ""


def render(
    name: str,
    version: str,
    inputs: Iterable[Input],
    packages: Iterable[environment.Package],
    python: str,
    *,
    licence: str = "",
    kind: str = _MODEL_KIND,
) -> bytes:
    """Canonical JSON of the bill of `name`: of a model, whose `version` is the run that made it, or of another `kind` of
    CycloneDX's component types; `licence`: its own, in SPDX's words."""
    libraries = [_library(package) for package in packages]
    data = [_data(i) for i in inputs]
    runtime = {"type": "platform", "bom-ref": f"python@{python}", "name": "python", "version": python}
    components = [*libraries, *data, runtime]
    return canonical.dumps(
        {
            "bomFormat": "CycloneDX",
            "specVersion": _SPEC,
            "version": 1,
            "metadata": {
                "component": {
                    "type": kind,
                    "bom-ref": _MODEL,
                    "name": name,
                    "version": version,
                    **({"licenses": [{"expression": licence}]} if licence else {}),
                }
            },
            "components": components,
            "dependencies": [
                {"ref": _MODEL, "dependsOn": sorted(str(c["bom-ref"]) for c in components)},
            ],
        }
    )


@dataclass(frozen=True)
class Listed:
    """What a bill lists, its components' components too."""

    packages: tuple[environment.Package, ...] = ()
    """Those whose purl is `pkg:pypi/...`, ours or another tool's; one that is listed twice is here twice."""
    unnamed: tuple[str, ...] = ()
    """Other libraries and frameworks: name, version and why no list of packages can have them."""


def packages_of(data: bytes, artifact: str) -> tuple[environment.Package, ...]:
    """The packages of :func:`listed`. Errors: as there."""
    return listed(data, artifact).packages


def listed(data: bytes, artifact: str) -> Listed:
    """Errors: CorruptArtifact for what is no CycloneDX bill, or names a package otherwise than its purl does."""
    try:
        bill = json.loads(data)
        if bill["bomFormat"] != "CycloneDX":
            raise ValueError("it is of another format")
        components = tuple(_walk(bill["components"]))
        return Listed(
            tuple(_package(c) for c in components if _is_pypi(c)),
            tuple(_unnamed(c) for c in components if c.get("type") in _CODE and not _is_pypi(c)),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise errors.CorruptArtifact(
            f"`{artifact}` is no CycloneDX bill of materials: {error!r}; build the bundle again",
            artifact=artifact,
            expected="CycloneDX JSON",
            got=repr(error),
        ) from error


def _walk(components: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for component in components:
        yield component
        yield from _walk(component.get("components", []))


def _is_pypi(component: dict[str, Any]) -> bool:
    return str(component.get("purl", "")).lower().startswith(_PYPI)


def _unnamed(component: dict[str, Any]) -> str:
    return f"{component.get('name', '')} {component.get('version', '')} (it has no purl of `{_PYPI}`)"


def _library(package: environment.Package) -> dict[str, Any]:
    purl = f"pkg:pypi/{package.name}@{urllib.parse.quote(package.version, safe='')}"
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "purl": purl,
    }
    if package.expression:
        return found | {"licenses": [{"expression": package.expression}]}
    if package.licences:
        return found | {"licenses": [{"license": {"name": name}} for name in package.licences]}
    return found


def _data(made: Input) -> dict[str, Any]:
    hexadecimal = made.digest.removeprefix("sha256:")
    found: dict[str, Any] = {
        "type": "data",
        "bom-ref": f"{made.name}@{made.digest}",
        "name": made.name,
        "version": made.digest,
        "hashes": [{"alg": "SHA-256", "content": hexadecimal}],
    }
    return found | ({"description": made.description} if made.description else {})


def _package(component: dict[str, Any]) -> environment.Package:
    choices = component.get("licenses", [])
    names = [c["license"].get("id") or c["license"]["name"] for c in choices if "license" in c]
    expression = next((str(c["expression"]) for c in choices if "expression" in c), "")
    name, version = _named(component)
    return environment.Package(name, version, expression, tuple(map(str, names)))


def _named(component: dict[str, Any]) -> tuple[str, str]:
    """Of one word: a bill that calls a package by two names would have one asked and the other installed."""
    name = environment.normalised(_EXTRAS.sub("", str(component["name"])))
    version = str(component["version"])
    path = re.split(r"[?#]", str(component["purl"])[len(_PYPI) :], maxsplit=1)[0]
    of_purl, _, purl_version = urllib.parse.unquote(path).partition("@")
    if environment.normalised(of_purl) != name or purl_version not in ("", version):
        raise ValueError(f"`{name} {version}` has the purl of `{of_purl} {purl_version}`")
    return name, version
