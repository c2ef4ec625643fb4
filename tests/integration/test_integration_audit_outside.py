"""The audit log is proved from outside of the machine: OpenBao's key signs, a bucket under object lock keeps, both real servers."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import integration_object_store
import integration_signed_s3
import pytest
from click.testing import CliRunner

from mainspring.core import errors, identity, settings
from mainspring.platform import database, plane
from mainspring.platform.audit import checkpoint_files, checkpoints, service, signers, store, verification
from mainspring.platform.cli.main import cli
from mainspring.platform.runs import launcher

sys.path.append(str(Path(__file__).parents[1] / "contract"))
import contract_openbao

pytestmark = pytest.mark.integration

ISSUER = identity.TokenIssuer({"dev": identity.Actor("ana", ("developer",))})


@pytest.fixture(scope="module")
def openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[contract_openbao.Server]:
    with contract_openbao.started(tmp_path_factory.mktemp("openbao")) as server:
        server.call("POST", "transit/keys/mainspring-audit", {"type": "ed25519"})
        yield server


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[integration_object_store.ObjectStore]:
    with integration_object_store.started(tmp_path_factory.mktemp("store")) as found:
        integration_signed_s3.locked_bucket(found.endpoint, "locked")
        yield found


@pytest.fixture
def world(
    openbao: contract_openbao.Server,
    bucket: integration_object_store.ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> settings.Settings:
    """Settings of a control API whose key and checkpoints are elsewhere."""
    for name, value in bucket.options().items():
        monkeypatch.setenv(name.upper(), value)
    token = tmp_path / "audit.token"
    token.write_text(contract_openbao.ROOT)
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "SIGNER": "openbao",
        "OPENBAO_URL": openbao.url,
        "OPENBAO_TOKEN_FILE": str(token),
        "CHECKPOINTS_URL": f"s3://locked/{tmp_path.name}/",
        "OBJECT_LOCK": "compliance",
    }.items():
        monkeypatch.setenv(f"MAINSPRING_AUDIT_{name}", value)
    return settings.load()


async def append(one: plane.ControlPlane, count: int) -> None:
    async with one.database.write() as connection:
        await store.append(connection, [store.Fact("ana", "run.start", "run/r", "done", {})] * count)


def told(s: settings.Settings, story: Callable[[plane.ControlPlane], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        db = database.Database(s.control.database_url)
        kept = checkpoints.embedded(db, s.stack.state_dir, s.audit)
        one = plane.ControlPlane(db, ISSUER, launcher.MemoryLauncher(), s.cost, 2, kept)
        await one.database.open()
        try:
            return await story(one)
        finally:
            await one.database.close()

    return asyncio.run(whole())


async def take(one: plane.ControlPlane, count: int) -> int:
    await append(one, count)
    assert one.checkpointer is not None
    return await one.checkpointer.take()


async def exported(one: plane.ControlPlane) -> bytes:
    return b"".join([piece async for piece in await service.export(one, "Bearer dev")])


def run(*arguments: str) -> Any:
    done = CliRunner().invoke(cli, ["audit", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["data"]


def test_a_log_is_verified_by_openbaos_keys_and_what_the_bucket_has(
    world: settings.Settings, openbao: contract_openbao.Server, tmp_path: Path
) -> None:
    async def story(one: plane.ControlPlane) -> bytes:
        assert await take(one, 3) == 3
        openbao.call("POST", "transit/keys/mainspring-audit/rotate", {})
        assert await take(one, 2) == 5 and await take(one, 70) == 75
        return await exported(one)

    (tmp_path / "log.ndjson").write_bytes(told(world, story))
    (world.stack.state_dir / "audit" / "checkpoints.jsonl").unlink()  # the machine's copy proves nothing here
    assert run("checkpoints", "--out", "signed.jsonl")["checkpoints"] == 3
    keys = run("public-key", "--out", "keys.pem")["keys"]
    assert len(keys) >= 2 and not (world.stack.state_dir / "keys" / "audit.key").exists()
    alone = ("verify", "--export", "log.ndjson", "--checkpoints", "signed.jsonl", "--public-key", "keys.pem")
    assert run(*alone)["rows"] == 75
    signed = [json.loads(line)["key_id"] for line in (tmp_path / "signed.jsonl").read_bytes().splitlines()]
    assert signed[0] == keys[1] and signed[1] == signed[2] == keys[0]
    # The newest key alone does not vouch for what an older one signed.
    newest = verification.load_public(tmp_path / "keys.pem")
    with pytest.raises(verification.BadCheckpoints, match="checkpoint 1 is of another"):
        verification.read_checkpoints((tmp_path / "signed.jsonl").read_bytes().splitlines(True), newest)


def test_nobody_writes_over_a_checkpoint_nor_removes_it(
    world: settings.Settings, bucket: integration_object_store.ObjectStore, tmp_path: Path
) -> None:
    told(world, lambda one: take(one, 4))
    first = f"/locked/{tmp_path.name}/000000000001.json"
    seen = integration_signed_s3.call(bucket.endpoint, "HEAD", first)
    assert seen.headers["x-amz-object-lock-mode"] == "COMPLIANCE"
    version = f"versionId={seen.headers['x-amz-version-id']}"
    # By the bucket's owner, with every right there is.
    assert integration_signed_s3.call(bucket.endpoint, "DELETE", first, version).status_code == 403
    one = checkpoint_files.CheckpointBucket(tmp_path / "copy.jsonl", world.audit.checkpoints_url)
    assert one.append(b"{}\n", size=0) is False and one.size() == 0
    assert integration_signed_s3.call(bucket.endpoint, "GET", first, version).is_success


def test_a_database_and_a_copy_that_were_rewound_together_do_not_agree_with_the_bucket(
    world: settings.Settings, tmp_path: Path
) -> None:
    """Whoever has the whole machine: the bucket gives back what was cut off, and nothing is signed over it."""

    async def story(one: plane.ControlPlane) -> None:
        assert await take(one, 3) == 3 and await take(one, 2) == 5

    told(world, story)
    file = world.stack.state_dir / "audit" / "checkpoints.jsonl"
    file.write_bytes(file.read_bytes().splitlines(True)[0])
    for left in world.stack.state_dir.glob("control.db*"):
        left.unlink()

    async def after(one: plane.ControlPlane) -> None:
        with pytest.raises(errors.CorruptArtifact, match="row 5 is not the one that was signed"):
            await take(one, 3)

    told(world, after)
    assert len(file.read_bytes().splitlines()) == 2
    file.write_bytes(file.read_bytes().replace(b'"sequence":5', b'"sequence":4'))
    with pytest.raises(errors.CorruptArtifact, match="checkpoint 2 of this machine is not the one"):
        told(world, lambda one: one.checkpointer.take())  # type: ignore[union-attr]


def test_two_processes_with_copies_of_their_own_make_one_chain(
    world: settings.Settings, tmp_path: Path
) -> None:
    async def story(one: plane.ControlPlane) -> None:
        other = checkpoints.embedded(one.database, tmp_path / "elsewhere", world.audit)
        assert one.checkpointer is not None
        for count, kept in enumerate((one.checkpointer, other, other, one.checkpointer), 1):
            await append(one, 1)
            # Who was overtaken has what the other wrote, and signs the next time.
            assert count in (await kept.take(), await kept.take())
        assert list(await one.checkpointer.heads()) == [1, 2, 3, 4]

    told(world, story)


def test_without_openbao_or_bucket_appends_go_on_and_checkpoints_are_late(
    world: settings.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = world.audit.openbao_token_file

    async def story(one: plane.ControlPlane) -> None:
        kept = one.checkpointer
        assert kept is not None and await take(one, 1) == 1
        token.write_text("of-nobody")
        kept._good_at -= 30
        with pytest.raises(errors.PermissionDenied, match="renew it"):
            await take(one, 1)
        assert 30 <= kept.late_seconds() < 40
        kept.require_timely()
        kept._good_at -= 40
        with pytest.raises(errors.DependencyDown, match="no audit checkpoint was taken for 7. s"):
            kept.require_timely()
        with pytest.raises(errors.PermissionDenied):
            await service.export(one, "Bearer dev")
        token.write_text(contract_openbao.ROOT)
        assert await kept.take() == 2 and kept.late_seconds() == 0
        away = {"aws_endpoint_url": "http://127.0.0.1:9", "aws_allow_http": "true"}
        monkeypatch.setattr(kept._file, "_options", away)
        with pytest.raises(errors.DependencyDown, match="does not answer"):
            await take(one, 1)
        monkeypatch.undo()

    told(world, story)


def test_what_is_not_as_the_settings_say_is_refused(
    world: settings.Settings, openbao: contract_openbao.Server, tmp_path: Path
) -> None:
    def audit(**changed: Any) -> settings.AuditSettings:
        return world.audit.model_copy(update=changed)

    def signer(s: settings.AuditSettings) -> signers.Signer:
        return signers.chosen(s, tmp_path / "k", ())

    with pytest.raises(errors.Misconfigured, match="openbao_url"):
        signer(audit(openbao_url=""))
    with pytest.raises(errors.Misconfigured, match="type=ed25519"):
        signer(audit(openbao_key="nothing")).refresh()
    with pytest.raises(errors.Misconfigured, match="is of type `aes256-gcm96`"):
        signer(audit(openbao_key="mainspring")).refresh()
    unlocked = audit(checkpoints_url=f"s3://lake/{tmp_path.name}/")
    place = checkpoints.kept(tmp_path / "copy.jsonl", unlocked)
    with pytest.raises(errors.Misconfigured, match="no object lock"):
        place.append(b"{}\n", size=0)
    nowhere = checkpoints.kept(tmp_path / "other.jsonl", audit(checkpoints_url="s3://no-such-bucket/a/"))
    with pytest.raises(errors.MainspringError):
        nowhere.append(b"{}\n", size=0)
    for url in ("http://x/", "s3://UP/", "s3://bucket/no-slash", "/tmp/x"):
        with pytest.raises(errors.InvalidSettings):
            settings.load({"MAINSPRING_AUDIT_CHECKPOINTS_URL": url}, directory=tmp_path)


def test_openbao_may_give_the_audit_signer_nothing_but_signing(
    openbao: contract_openbao.Server, tmp_path: Path
) -> None:
    rules = 'path "transit/sign/mainspring-audit" { capabilities = ["update"] }\npath "transit/keys/mainspring-audit" { capabilities = ["read"] }'
    openbao.call("POST", "sys/policies/acl/audit", {"policy": rules})
    made = openbao.call("POST", "auth/token/create", {"policies": ["audit"], "no_default_policy": True})
    token = tmp_path / "token"
    token.write_text(made["auth"]["client_token"])
    s = settings.AuditSettings(signer="openbao", openbao_url=openbao.url, openbao_token_file=token)
    signer = signers.chosen(s, tmp_path / "k", ())
    signer.public.verify(signer.sign(b"x"), b"x")
    rotate = httpx.post(
        f"{openbao.url}/v1/transit/keys/mainspring-audit/rotate",
        headers={"X-Vault-Token": token.read_text()},
        trust_env=False,
    )
    assert rotate.status_code == 403
