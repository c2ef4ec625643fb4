"""Examples of configuration in the documents are taken by what reads them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import documents
import pytest

from mainspring.core import errors, settings
from mainspring.core.contracts import alerts
from mainspring.platform.gitops import document

_TOML = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_GROUPS = {key.partition(".")[0] for key in settings.KEYS}
EXAMPLES = [
    (path, text) for path in documents.documents() for text in _TOML.findall(path.read_text(encoding="utf-8"))
]


def load(text: str, folder: Path) -> settings.Settings:
    (folder / "mainspring.toml").write_text(text, encoding="utf-8")
    return settings.load({}, directory=folder)


def test_settings_of_the_documents_load(tmp_path: Path) -> None:
    found = [text for _, text in EXAMPLES if set(tomllib.loads(text)) <= _GROUPS]
    assert len(found) >= 3
    for text in found:
        load(text, tmp_path)
    with pytest.raises(errors.InvalidSettings, match="did you mean `identity.audience`"):
        load('[identity]\naudiense = "x"\n', tmp_path)


def test_alert_rules_of_the_documents_are_ones() -> None:
    found = [told for _, text in EXAMPLES if "rules" in (told := tomllib.loads(text)) and "receivers" in told]
    assert [alerts.AlertRules.model_validate(one).rules[0].name for one in found] == ["drift"]


def test_the_document_of_a_repository_is_read(tmp_path: Path) -> None:
    (text,) = re.findall(
        r"^```yaml\n(# mainspring.yaml.*?)^```$", (documents.DOCS / "gitops.md").read_text(), re.M | re.S
    )
    digest = f"sha256:{'0' * 64}"
    (tmp_path / "mainspring.yaml").write_text(text.replace("sha256:...", digest))
    found = document.read(tmp_path)
    assert found.project == "flight-delay" and found.deployments[0].bundle == digest
