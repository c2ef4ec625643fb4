"""Settings of Kafka's client: as they are written, with secrets read where they lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainspring.core import errors, settings
from mainspring.platform.cli import streaming


def test_a_password_is_read_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = settings.SecretSettings(files_dir=str(tmp_path))
    (tmp_path / "kafka").write_text("canary-77aa\n")
    monkeypatch.setenv("KAFKA_USER", "reader")
    file = tmp_path / "client.properties"
    file.write_text(
        f"# of the broker\nsecurity.protocol=SASL_SSL\nsasl.username=env:KAFKA_USER\nsasl.password=file:{tmp_path}/kafka\n"
        "sasl.jaas.config=a=b\n"
    )
    assert streaming.read_client_config(file, keeper) == {
        "security.protocol": "SASL_SSL",
        "sasl.username": "reader",
        "sasl.password": "canary-77aa",
        "sasl.jaas.config": "a=b",
    }
    assert streaming.read_client_config(None, keeper) == {}


@pytest.mark.parametrize(
    ("line", "refusal"),
    [
        ("sasl.password=env:NOT_THERE_AT_ALL", errors.NotFound),
        ("sasl.password=file:/etc/passwd", errors.PermissionDenied),
        ("sasl.password=openbao:kv/kafka#password", errors.Misconfigured),
        ("no value", errors.InvalidSettings),
    ],
)
def test_what_cannot_be_read_ends_the_reader_with_its_reason(
    tmp_path: Path, line: str, refusal: type[errors.MainspringError]
) -> None:
    file = tmp_path / "client.properties"
    file.write_text(line)
    with pytest.raises(refusal):
        streaming.read_client_config(file, settings.SecretSettings(files_dir=str(tmp_path)))
