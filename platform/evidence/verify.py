"""Verifies an evidence pack offline: `python verify.py PACK.zip --key AUDIT_PUBLIC.pem`, with `cryptography` and nothing of Mainspring.

What it proves: the pack is whole and as it was signed; each audit row in it is a row of the log at the length that the pack names,
and that log is one that a signed checkpoint names; each bundle's manifest, signature and provenance belong together, and its
files that are here are those of the manifest. What it cannot prove: that nothing was left out, and that the key is whose you think it
is: get `AUDIT_PUBLIC.pem` from the platform by another way (it lies beside its checkpoints). Without `--key` the pack's own is taken,
and that is said.

Exit codes: 0 proved, 1 not, 2 it cannot be read.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

SCHEMA = "mainspring.evidence/v1"
DOMAIN = b"mainspring.evidence.v1\x00"
CHECKPOINT_DOMAIN = b"mainspring.audit-checkpoint.v1\x00"
BUNDLE_DOMAIN = b"mainspring.bundle.v1\x00"
MANIFEST, SIGNATURE, KEY = "manifest.json", "signature.json", "keys/audit.pem"
MAX_BYTES = 1 << 31


class NotProved(Exception):
    """What is wrong, in words."""


def verify(pack: Path, key: Path | None = None) -> dict[str, Any]:
    """What was proved. Errors: NotProved; OSError, zipfile.BadZipFile if it cannot be read."""
    files = _read(pack)
    manifest = _signed_manifest(files, key.read_bytes() if key is not None else None)
    _whole(files, manifest)
    rows = _audit(files, manifest["log"], files[KEY])
    bundles = sorted({name.split("/")[1] for name in files if name.startswith("bundles/")})
    attested = sum(_bundle(files, name) for name in bundles)
    return {
        "project": manifest["project"],
        "model": manifest["model"],
        "period": manifest["period"],
        "files": len(manifest["files"]),
        "audit_rows": rows,
        "bundles": len(bundles),
        "bundles_with_provenance": attested,
        "key_id": _digest(_public(files[KEY]).public_bytes_raw()),
    }


def _read(pack: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(pack) as archive:
        members = archive.infolist()
        names = [m.filename for m in members]
        if len(set(names)) != len(names):
            raise NotProved("a name is in the pack twice")
        if sum(m.file_size for m in members) > MAX_BYTES:
            raise NotProved(f"the pack unpacks to more than {MAX_BYTES} bytes")
        return {name: archive.read(name) for name in names}


def _signed_manifest(files: dict[str, bytes], trusted: bytes | None) -> dict[str, Any]:
    for name in (MANIFEST, SIGNATURE, KEY):
        if name not in files:
            raise NotProved(f"`{name}` is missing")
    public = _public(files[KEY])
    if trusted is not None and not set(_publics(files[KEY])) <= set(_publics(trusted)):
        raise NotProved("the pack is signed by another key than the one you gave")
    signature = json.loads(files[SIGNATURE])
    expected = {"algorithm": "ed25519", "key_id": _digest(public.public_bytes_raw())}
    if {name: value for name, value in signature.items() if name != "signature"} != expected:
        raise NotProved("the signature is of another key or algorithm")
    # Hexadecimal in capitals would be the same signature in other bytes.
    if _canonical({**signature, "signature": signature["signature"].lower()}) != files[SIGNATURE]:
        raise NotProved(f"`{SIGNATURE}` has another layout")
    _check(
        public, signature["signature"], DOMAIN + files[MANIFEST], "the manifest was not signed by this key"
    )
    manifest = json.loads(files[MANIFEST])
    if manifest["schema"] != SCHEMA:
        raise NotProved(f"the pack is of schema `{manifest['schema']}`, this verifies `{SCHEMA}`")
    return dict(manifest)


def _whole(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
    listed = manifest["files"]
    here = set(files) - {MANIFEST, SIGNATURE}
    if here != set(listed):
        raise NotProved(f"missing or extra files: {sorted(here ^ set(listed))}")
    for name, digest in listed.items():
        if _digest(files[name]) != digest:
            raise NotProved(f"`{name}` was changed")


def _audit(files: dict[str, bytes], log: dict[str, Any], pem: bytes) -> int:
    """Every row hashes to its leaf, every leaf leads to the root, and the log's head is one that a checkpoint signed."""
    heads = _checkpoints(files["audit/checkpoints.jsonl"], _publics(pem))
    size, root = int(log["rows"]), bytes.fromhex(log["merkle_root"])
    if size and heads.get(size) != log["head"]:
        raise NotProved(f"no checkpoint signs the head of the log at {size} rows")
    rows, proofs = files["audit/rows.jsonl"].splitlines(), files["audit/proofs.jsonl"].splitlines()
    if len(rows) != len(proofs):
        raise NotProved(f"{len(rows)} audit rows have {len(proofs)} proofs")
    for row, line in zip(rows, proofs, strict=True):
        proof, value = json.loads(line), json.loads(row)
        number = int(value["row"]["sequence"])
        leaf = hashlib.sha256(row[row.index(b'"row":') + 6 : -1]).digest()
        if leaf.hex() != value["hash"].removeprefix("sha256:") or int(proof["sequence"]) != number:
            raise NotProved(f"audit row {number} was changed")
        path = [bytes.fromhex(p) for p in proof["path"]]
        if not is_included(leaf, number - 1, size, path, root):
            raise NotProved(f"audit row {number} is not in the signed log")
    return len(rows)


def is_included(leaf: bytes, index: int, size: int, path: list[bytes], root: bytes) -> bool:
    """RFC 9162, 2.1.3.2."""
    if not 0 <= index < size:
        return False
    node, last = hashlib.sha256(b"\x00" + leaf).digest(), size - 1
    for sibling in path:
        if last == 0:
            return False
        if index & 1 or index == last:
            node = hashlib.sha256(b"\x01" + sibling + node).digest()
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\x01" + node + sibling).digest()
        index, last = index >> 1, last >> 1
    return last == 0 and node == root


def _checkpoints(data: bytes, publics: dict[str, ed25519.Ed25519PublicKey]) -> dict[int, str]:
    """Length of the log -> the hash it had then. Each is signed for itself, by one of the keys that the log has had."""
    heads: dict[int, str] = {}
    for line in data.splitlines():
        body = json.loads(line)
        signature, words = body.pop("signature"), "a checkpoint was not signed by this key"
        if body["key_id"] not in publics:
            raise NotProved(words)
        _check(publics[body["key_id"]], signature, CHECKPOINT_DOMAIN + _canonical(body), words)
        heads[int(body["sequence"])] = str(body["head"])
    return heads


def _bundle(files: dict[str, bytes], name: str) -> bool:
    """Whether it has a provenance, which then is right as well."""
    here = {
        path.split("/", 2)[2]: data for path, data in files.items() if path.startswith(f"bundles/{name}/")
    }
    manifest, digest = here["manifest.json"], f"sha256:{name}"
    if _digest(manifest) != digest:
        raise NotProved(f"the manifest of bundle `{name}` is not the one of its name")
    for path, entry in json.loads(manifest)["files"].items():
        if path in here and _digest(here[path]) != entry["digest"]:
            raise NotProved(f"`{path}` of bundle `{name}` is not what its manifest says")
    signature = json.loads(here["signature.json"])
    signer = _signer(files, signature["key_id"], name)
    _check(
        signer, signature["signature"], BUNDLE_DOMAIN + digest.encode(), f"bundle `{name}` is not signed so"
    )
    if "provenance.intoto.json" not in here:
        return False
    envelope = json.loads(here["provenance.intoto.json"])
    payload, kind = base64.b64decode(envelope["payload"], validate=True), envelope["payloadType"].encode()
    (only,) = envelope["signatures"]
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    sealed = base64.b64decode(only["sig"], validate=True).hex()
    _check(
        _signer(files, only["keyid"], name),
        sealed,
        message,
        f"the provenance of bundle `{name}` is not signed so",
    )
    if json.loads(payload)["subject"][0]["digest"] != {"sha256": name}:
        raise NotProved(f"the provenance of bundle `{name}` is of another one")
    return True


def _signer(files: dict[str, bytes], key_id: str, bundle: str) -> ed25519.Ed25519PublicKey:
    pem = files.get(f"keys/bundles/{key_id.removeprefix('sha256:')}.pem")
    if pem is None:
        raise NotProved(f"the key that signed bundle `{bundle}` is not in the pack")
    public = _public(pem)
    if _digest(public.public_bytes_raw()) != key_id:
        raise NotProved(f"the key that signed bundle `{bundle}` is another one than its name says")
    return public


def _check(key: ed25519.Ed25519PublicKey, signature: str, message: bytes, words: str) -> None:
    try:
        key.verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError) as error:
        raise NotProved(words) from error


def _publics(pem: bytes) -> dict[str, ed25519.Ed25519PublicKey]:
    """By id: a file has the newest key first, and those that it replaced."""
    end = b"-----END PUBLIC KEY-----\n"
    found = [_public(block + end) for block in pem.split(end)[:-1]] or [_public(pem)]
    return {_digest(key.public_bytes_raw()): key for key in found}


def _public(pem: bytes) -> ed25519.Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise NotProved("a key is no public key in PEM") from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise NotProved("a key is not Ed25519")
    return key


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def main() -> int:
    parser = argparse.ArgumentParser(prog="verify.py", description="Verify an evidence pack offline.")
    parser.add_argument("pack", type=Path)
    parser.add_argument("--key", type=Path, help="the public key of the platform's audit log, PEM")
    asked = parser.parse_args()
    try:
        found = verify(asked.pack, asked.key)
    except NotProved as error:
        print(f"not proved: {error}", file=sys.stderr)
        return 1
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        zipfile.BadZipFile,
    ) as error:
        print(f"not readable: {error!r}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=1, sort_keys=True))
    if asked.key is None:
        print(
            "proved by the pack's own key: compare `key_id` with the platform's, or give --key",
            file=sys.stderr,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
