"""What documents name beside `mainspring` commands: targets of make, modules with their options, files and tests of the tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import documents

from mainspring.core import settings

#: Folders of the tree; what begins with one of them and a slash is a path.
_TREE: Final = "native|core|serving|workflows|platform|bench|tests|tools|third_party|docs"
_PATH: Final = re.compile(rf"(?:{_TREE}|\.ci)/[\w./*-]*\w/?(?:::\w+)?")
#: A word to be replaced, such as NOUN.
_FILLED_IN: Final = re.compile(r"[A-Z]{3}")
#: Files and others' functions that are called like a setting.
_NO_SETTINGS: Final = frozenset({"workflow.py", "control.db", "ray.init", "workflow.patched"})
_MODULE: Final = re.compile(r"python -m mainspring\.([\w.]+)((?: +[^\s|&;`]+)*)")
_MAKE: Final = re.compile(r"(?:^|[;&] *)make ((?:[a-z-]+)(?: [a-z-]+)*)(?= |$|;|&)", re.MULTILINE)


def unknown_settings(path: Path) -> list[str]:
    """Settings by their dotted names, or as variables, that `core/settings/` does not have."""
    known = {*settings.KEYS, *_NO_SETTINGS}
    groups = {key.partition(".")[0] for key in settings.KEYS}
    variables = {
        f"{settings.PREFIX}{key.replace('.', '_').upper()}" for key in settings.KEYS
    } | settings.RESERVED
    found = []
    for span in documents.spans(path):
        name = span.partition(" = ")[0]
        is_dotted = re.fullmatch(r"([a-z]+)\.[a-z_]+", name)
        is_module = (documents.ROOT / name.replace(".", "/")).with_suffix(".py").exists()
        if is_dotted and is_dotted[1] in groups and not is_module and name not in known:
            found.append(f"`{name}`: no such setting")
        found += [
            f"`{variable}`: no such variable"
            for variable in re.findall(rf"\b{settings.PREFIX}[A-Z_]*[A-Z]\b(?!\*)", span)
            if variable not in variables
        ]
    return found


def code(path: Path) -> Iterator[str]:
    """Everything that stands as code: blocks of commands, indented ones, and single lines within text."""
    yield from (block.commands for block in documents.blocks(path))
    yield from documents.indented(path)
    yield from documents.spans(path)


def problems(path: Path, *, read_as: Path | None = None) -> list[str]:
    """A line for each thing that is not there; `read_as` is where the document stands, if not where it lies."""
    root, place = documents.ROOT, read_as or path
    found: list[str] = []
    for text in code(path):
        bare = "\n".join(line.split(" #")[0] for line in text.splitlines())
        found += _targets(bare, root)
        for module, words in _MODULE.findall(bare):
            found += _module(module, words.split(), root)
    for span in documents.spans(path):
        said = _PATH.fullmatch(span)
        if said is not None and not _FILLED_IN.search(span) and not _is_there(span, place, root):
            found.append(f"`{span}` is not there")
    return list(dict.fromkeys(found))


def _targets(text: str, root: Path) -> list[str]:
    there = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = [name for said in _MAKE.findall(text) for name in said.split()]
    return [f"`make {name}`: no such target" for name in named if name not in there]


def _module(module: str, words: list[str], root: Path) -> list[str]:
    """A module that can be run, and options that its text has. `bench NAME` is the suite's own `__main__`."""
    if module == "bench" and words:
        folders = dict(re.findall(r'"(\w+)": "(\w+)"', _constant(root / "bench/__main__.py", "FOLDERS")))
        if f'"{words[0]}":' not in _constant(root / "bench/__main__.py", "SUITES"):
            return [f"`python -m mainspring.bench {words[0]}`: no such suite"]
        module = f"bench.{folders.get(words[0], words[0])}"
    place = root / module.replace(".", "/")
    file = place / "__main__.py" if place.is_dir() else place.with_suffix(".py")
    if not file.is_file():
        return [f"`python -m mainspring.{module}`: no such module"]
    sources = [file, *(file.parent.glob("*.py") if place.is_dir() else ()), root / "bench/suite.py"]
    text = "".join(source.read_text(encoding="utf-8") for source in sources if source.is_file())
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    return [f"`python -m mainspring.{module}` has no `{o}`" for o in options if f'"{o}"' not in text]


def _constant(file: Path, name: str) -> str:
    found = re.search(
        rf"^{name}\b.*?^\}}|^{name}\b[^\n]*", file.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return found[0] if found else ""


def _is_there(said: str, document: Path, root: Path) -> bool:
    """A path, a pattern of some or the beginning of a name (`docs/adr/0001`), from the top, the document's folder or one
    above it; of a test, its name in the file, too."""
    name, _, test = said.partition("::")
    name = name.rstrip("/")
    for start in [p for p in document.parents if p.is_relative_to(root)]:
        files = [*start.glob(name), *(start.glob(f"{name}-*") if re.search(r"/\d{4}$", name) else ())]
        if files and (not test or f"def {test}(" in files[0].read_text(encoding="utf-8")):
            return True
    return False
