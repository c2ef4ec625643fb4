"""Secrets are compared in constant time: with `==`, how long an answer takes tells how much of a guess was right."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import source_tree

#: The last word of what a secret is called by.
SECRET = re.compile(
    r"(^|_)(token|secret|password|passphrase|credential|credentials|authorization|bearer|hmac|api_key)$"
)
#: Where a caller's secret is held against one that is kept: each by `compare_digest`.
COMPARED = {
    "mainspring.core.api_keys": "keys of serving, by their hash",
    "mainspring.core.identity": "tokens of the embedded issuer",
    "mainspring.platform.cli.payloads": "the token of the codec server",
    "mainspring.platform.login.signing_in": "what a sign-in was begun with",
    "mainspring.platform.monitoring.webhooks": "marks of webhooks",
    "mainspring.platform.service_accounts.store": "secrets of service accounts, by their hash",
}


def name_of(node: ast.expr) -> str:
    """What is compared is called so; empty for what has no name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Call):
        return name_of(node.func.value) if isinstance(node.func, ast.Attribute) else ""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return str(node.slice.value).lower().replace("-", "_")
    return ""


def compared_plainly(path: Path) -> list[str]:
    """Lines that hold a secret against a value with `==` or `!=`. Against a constant: is there one at all."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], ast.Eq | ast.NotEq):
            continue
        sides = [node.left, *node.comparators]
        if any(isinstance(side, ast.Constant) for side in sides):
            continue
        if any(SECRET.search(name_of(side)) for side in sides):
            found.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    return found


def test_no_secret_is_compared_plainly() -> None:
    tree = source_tree.modules()
    assert {found for module in tree.values() for found in compared_plainly(module.path)} == set()
    users = {name for name, module in tree.items() if "compare_digest(" in module.path.read_text()}
    assert users == set(COMPARED)


def test_the_guard_sees_one(tmp_path: Path) -> None:
    seeded = tmp_path / "seeded.py"
    seeded.write_text(
        "def f(token, kept, headers, s):\n"
        "    assert token == kept\n"
        "    assert headers['Authorization'] != s.value\n"
        "    assert s.api_key.encode() == kept\n"
        "    assert token == '' or token is None or len(token) == kept\n"
    )
    assert [found.split(":")[1] for found in compared_plainly(seeded)] == ["2", "3", "4"]
