"""Do two wheels install the same thing? python tools/same_wheel.py A.whl B.whl: exit 0 if so, else the differences.

Compared are every file by SHA-256, the entry points and the metadata that installers read. Two things are
one builder's own and are left out: the name and the bytes of the extension (the compilers' options differ;
what it offers is compared by importing both, see --native), and what dist-info says of the build itself.
"""

from __future__ import annotations

import argparse
import configparser
import email
import hashlib
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

EXTENSION = re.compile(r"\.(cpython|abi3)[^/]*\.so$")
FIELDS = ["Name", "Version", "Summary", "Requires-Python", "Requires-Dist", "Provides-Extra", "Classifier"]

# Both extensions, seen from a caller: the names it offers and what their docstrings say of their arguments.
FACE = """
import sys, types
import mainspring.native._native as module
def lines(owner, prefix):
    for name in sorted(vars(owner)):
        value = vars(owner)[name]
        if not name.startswith("__"):
            print(prefix + name, type(value).__name__, repr(getattr(value, "__doc__", "")) if callable(value) else "")
            if isinstance(value, type):
                lines(value, prefix + name + ".")
lines(module, "")
"""


def requirement(text: str) -> str:
    """One spelling for one requirement: builders order specifiers and quote markers each in their way."""
    wanted, _, marker = text.partition(";")
    head, specifiers = re.match(r"([A-Za-z0-9._-]+\s*(?:\[[^]]*\])?)\s*(.*)", wanted.strip()).groups()  # type: ignore[union-attr]
    extras = re.sub(
        r"\[([^]]*)\]", lambda m: "[" + ",".join(sorted(m[1].replace(" ", "").split(","))) + "]", head
    )
    return f"{extras} {','.join(sorted(specifiers.strip('() ').replace(' ', '').split(',')))} ; {marker.replace(chr(34), chr(39)).strip()}"


def contents(path: pathlib.Path) -> dict[str, str]:
    """What is compared: {"mainspring/core/errors.py": sha256, "[metadata] Name": "mainspring", ...}."""
    found = {}
    with zipfile.ZipFile(path) as wheel:
        for name in wheel.namelist():
            data = wheel.read(name)
            if name.endswith(".dist-info/METADATA"):
                message = email.message_from_bytes(data)
                found["[metadata] description"] = hashlib.sha256(data.partition(b"\n\n")[2]).hexdigest()
                for field in FIELDS:
                    values = message.get_all(field, [])
                    for value in map(requirement, values) if field == "Requires-Dist" else values:
                        found[f"[metadata] {field}: {value}"] = ""
            elif name.endswith(".dist-info/entry_points.txt"):
                parser = configparser.ConfigParser()
                parser.read_string(data.decode())
                for group in parser.sections():
                    for point, target in parser.items(group):
                        found[f"[entry point] {group}: {point}"] = target
            elif name.endswith(".dist-info/licenses/LICENSE") or ".dist-info/" not in name:
                if name.endswith("/"):
                    continue
                key = EXTENSION.sub(".so", name)
                found[key] = "" if key.endswith(".so") else hashlib.sha256(data).hexdigest()
    return found


def differences(ours: dict[str, str], theirs: dict[str, str]) -> list[str]:
    """Lines that say what differs; none if nothing does."""
    lines = [f"only in the first: {key}" for key in sorted(ours.keys() - theirs.keys())]
    lines += [f"only in the second: {key}" for key in sorted(theirs.keys() - ours.keys())]
    lines += [f"differs: {key}" for key in sorted(ours.keys() & theirs.keys()) if ours[key] != theirs[key]]
    return lines


def native_face(path: pathlib.Path) -> str:
    """What the wheel's extension offers, as this interpreter sees it."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as wheel:
        wheel.extractall(folder)
        # -S -E: no editable install or PYTHONPATH in between; numpy's folder is handed over by hand.
        script = f"import sys; sys.path[:0] = {[folder]!r}; sys.path += {sys.path[1:]!r}\n{FACE}"
        run = subprocess.run(
            [sys.executable, "-S", "-E", "-c", script], capture_output=True, text=True, check=False
        )
    if run.returncode:
        sys.exit(f"{path}: its extension does not import:\n{run.stderr}")
    return run.stdout


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="do two wheels install the same thing?")
    parser.add_argument("wheels", nargs=2, type=pathlib.Path)
    parser.add_argument(
        "--native", action="store_true", help="import both extensions and compare what they offer"
    )
    args = parser.parse_args(argv)
    ours, theirs = map(contents, args.wheels)
    wrong = differences(ours, theirs)
    if args.native and not wrong and native_face(args.wheels[0]) != native_face(args.wheels[1]):
        wrong = ["differs: what the extensions offer"]
    files = sum(not key.startswith("[") for key in ours)
    print(
        "\n".join(wrong)
        if wrong
        else f"same: {files} files, {len(ours) - files} lines of metadata and entry points"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
