"""Verifies an evidence pack offline: `python verify.py PACK.zip --key AUDIT_PUBLIC.pem`, with `cryptography` and nothing of Mainspring.

What it proves: the pack is whole and as it was signed; each audit row in it is a row of the log at the length that the pack names,
and that log is one that a signed checkpoint names; approvals, decisions, purposes, impact assessments, certificates of erasure and
sets of policies are what those rows say, or have the digest that they say, and none is left out of which there is a row; each bundle's manifest, signature and provenance belong together, and its
files that are here are those of the manifest. What it cannot prove: that nothing was left out, and that the key is whose you think it
is: get `AUDIT_PUBLIC.pem` from the platform by another way (it lies beside its checkpoints). Without `--key` the pack's own is taken,
and that is said.

Exit codes: 0 proved, 1 not, 2 it cannot be read.
"""

from __future__ import annotations

import argparse
import base64
import bisect
import gc
import hashlib
import json
import sys
import zipfile
from collections.abc import Callable
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
_SETS = "policies/sets.json"
#: What somebody decided.
APPROVALS = (
    "run.decide",
    "approval.decide",
    "access.decide",
    "quarantine.release",
    "dpia.decide",
    "erasure.decide",
)
MAX_BYTES = 1 << 31


TextOf = Callable[[str, Any], str]


class NotProved(Exception):
    """What is wrong, in words."""


def verify(pack: Path, key: Path | None = None, text_of: TextOf | None = None) -> dict[str, Any]:
    """What was proved. `text_of`: how Cedar writes a policy of that id and JSON; without it, and so offline, a policy's JSON is proved
    and not its text. Errors: NotProved; OSError, zipfile.BadZipFile if it cannot be read."""
    files = _read(pack)
    manifest = _signed_manifest(files, key.read_bytes() if key is not None else None)
    _whole(files, manifest)
    rows = _audit(files, manifest["log"], files[KEY])
    sections = _sections(files, manifest["project"], rows, text_of) if _SETS in files else {}
    bundles = sorted({name.split("/")[1] for name in files if name.startswith("bundles/")})
    attested = sum(_bundle(files, name) for name in bundles)
    return {
        "project": manifest["project"],
        "model": manifest["model"],
        "period": manifest["period"],
        "files": len(manifest["files"]),
        "audit_rows": len(files["audit/rows.jsonl"].splitlines()),
        **sections,
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


def _audit(files: dict[str, bytes], log: dict[str, Any], pem: bytes) -> list[dict[str, Any]]:
    """Every row hashes to its leaf, every leaf leads to the root, and the log's head is one that a checkpoint signed."""
    signed = _checkpoints(files["audit/checkpoints.jsonl"], _publics(pem))
    size, root = int(log["rows"]), bytes.fromhex(log["merkle_root"])
    if size and (size not in signed or signed[size]["head"] != log["head"]):
        raise NotProved(f"no checkpoint signs the head of the log at {size} rows")
    # Checkpoints of earlier releases sign no root: there the tree is the word of who made the pack.
    if size and signed[size].get("root", f"sha256:{root.hex()}") != f"sha256:{root.hex()}":
        raise NotProved(f"the checkpoint of {size} rows signs another tree than the pack's")
    found, leaves = [], []
    for line in files.get("audit/earlier.jsonl", b"").splitlines() + files["audit/rows.jsonl"].splitlines():
        value, leaf = json.loads(line), hashlib.sha256(line[line.index(b'"row":') + 6 : -1]).digest()
        if leaf.hex() != value["hash"].removeprefix("sha256:"):
            raise NotProved(f"audit row {value['row']['sequence']} was changed")
        found.append(value["row"])
        leaves.append((int(value["row"]["sequence"]) - 1, leaf))
    if "audit/proofs.jsonl" in files:  # as earlier releases made them: one for each row
        _paths(files["audit/proofs.jsonl"].splitlines(), leaves, size, root)
    elif not are_included(
        leaves, size, [bytes.fromhex(p) for p in json.loads(files["audit/proof.json"])], root
    ):
        raise NotProved("an audit row is not in the signed log, or not in its place")
    return found


def _paths(proofs: list[bytes], leaves: list[tuple[int, bytes]], size: int, root: bytes) -> None:
    if len(proofs) != len(leaves):
        raise NotProved(f"{len(leaves)} audit rows have {len(proofs)} proofs")
    for (index, leaf), line in zip(leaves, proofs, strict=True):
        proof = json.loads(line)
        path = [bytes.fromhex(p) for p in proof["path"]]
        if int(proof["sequence"]) != index + 1 or not is_included(leaf, index, size, path, root):
            raise NotProved(f"audit row {index + 1} is not in the signed log")


def are_included(leaves: list[tuple[int, bytes]], size: int, proof: list[bytes], root: bytes) -> bool:
    """Leaves by ascending index, and from left to right the roots of the largest parts of the tree without any of them."""
    indices = [index for index, _ in leaves]
    if sorted(set(indices)) != indices or (indices and not 0 <= indices[0] <= indices[-1] < size):
        return False
    hashes = [hashlib.sha256(b"\x00" + leaf).digest() for _, leaf in leaves]
    rest = iter(proof)

    def part(first: int, end: int, low: int, count: int) -> bytes:
        if first == end:
            return next(rest)
        if count == 1:
            return hashes[first]
        half = 1 << ((count - 1).bit_length() - 1)
        middle = bisect.bisect_left(indices, low + half, first, end)
        left = part(first, middle, low, half)
        return hashlib.sha256(b"\x01" + left + part(middle, end, low + half, count - half)).digest()

    if not size:
        return not proof
    try:
        return part(0, len(hashes), 0, size) == root and next(rest, None) is None
    except StopIteration:
        return False


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


def _sections(
    files: dict[str, bytes], project: str, rows: list[dict[str, Any]], text_of: TextOf | None
) -> dict[str, int]:
    """What is told beside the rows, held against them."""
    after = len(files["audit/earlier.jsonl"].splitlines())
    views = {
        "approvals.json": approvals(rows[after:]),
        "decisions.json": decisions(rows[after:]),
        "purposes.json": purposes(rows),
    }
    for name, view in views.items():
        if json.loads(files[name]) != view:
            raise NotProved(f"`{name}` is not what the audit rows say")
    return {
        "assessments": _assessments(json.loads(files["dpias.json"]), project, rows),
        "erasures": _erasures(files, project, rows[after:]),
        "policy_sets": _policy_sets(files, rows[after:], text_of),
    }


def _brief(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("sequence", "at", "actor", "action", "resource", "outcome")}


def approvals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Who approved or rejected what, by the row that has it."""
    return [_brief(row) | {"detail": row["detail"]} for row in rows if row["action"] in APPROVALS]


def decisions(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the policies were asked and answered, by the row that has it."""
    return [
        _brief(row) | {"authorisation": asked}
        for row in rows
        if (asked := row["detail"].get("authorisation")) is not None
    ]


def purposes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the project's data may be used for, by a person's last word on each entry in these rows."""
    last = {r["resource"]: r for r in rows if (r["action"], r["outcome"]) == ("purpose.decide", "done")}
    names = ("entry", "purposes", "in_force", "words")
    return [
        {**_brief(row), **{name: row["detail"].get(name) for name in names}}
        for _, row in sorted(last.items())
    ]


def assessments(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each impact assessment who handed it in and who decided on it, by its resource."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["outcome"] != "done" or row["action"] not in ("dpia.submit", "dpia.decide"):
            continue
        names = ("digest", "risk", "score", "findings", "sign", "words")
        said = {**_brief(row), **{name: row["detail"][name] for name in names if name in row["detail"]}}
        found.setdefault(row["resource"], {})[
            "submitted" if row["action"] == "dpia.submit" else "decided"
        ] = said
    return {name: one for name, one in found.items() if "submitted" in one}


def _assessments(told: list[dict[str, Any]], project: str, rows: list[dict[str, Any]]) -> int:
    on_record = assessments(rows)
    listed = {f"dpia/{project}/{one['dpia_id']}": one for one in told}
    if set(listed) != set(on_record) or len(told) != len(listed):
        raise NotProved("`dpias.json` has other impact assessments than the audit rows")
    for name, one in listed.items():
        said = {key: value for key, value in one.items() if key not in ("dpia_id", "answers")}
        if said != on_record[name]:
            raise NotProved(f"`{name}` was not handed in or decided on so")
        if _digest(_canonical(one["answers"])) != said["submitted"]["digest"]:
            raise NotProved(f"the answers of `{name}` are not those that were handed in")
    return len(told)


def _erasures(files: dict[str, bytes], project: str, rows: list[dict[str, Any]]) -> int:
    """Each certificate is signed, of its erasure, and the one that was reported."""
    told = json.loads(files["erasures.json"])
    if {f"erasure/{project}/{one['erasure_id']}" for one in told} != set(erased(rows)):
        raise NotProved("`erasures.json` has other erasures than the audit rows")
    for one in told:
        name = f"certificate of erasure `{one['erasure_id']}`"
        row, report = erased(rows)[f"erasure/{project}/{one['erasure_id']}"], one["report"]
        if _digest(_canonical([report])).removeprefix("sha256:")[: len(row["report"])] != row["report"]:
            raise NotProved(f"the {name} is not the one that was reported")
        statement = _sealed(files, report["certificate"].encode(), name)
        about = statement["predicate"]
        if (about["erasure_id"], about["project"]) != (one["erasure_id"], project):
            raise NotProved(f"the {name} is of another one")
    return len(told)


def erased(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What was put on record of each erasure that was done."""
    is_done = [r for r in rows if (r["action"], r["outcome"]) == ("erasure.report", "done")]
    return {r["resource"]: r["detail"] for r in is_done if r["detail"].get("state") == "done"}


def policy_sets(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The versions of the sets of policies that decided, with the first and last row of each."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        asked = row["detail"].get("authorisation")
        if asked is not None:
            new = {"version": asked["policies"], "first": row["sequence"], "decisions": 0}
            one = found.setdefault(asked["policies"], new)
            one.update(last=row["sequence"], decisions=one["decisions"] + 1)
    return sorted(found.values(), key=lambda one: int(one["first"]))


def _policy_sets(files: dict[str, bytes], rows: list[dict[str, Any]], text_of: TextOf | None) -> int:
    told = json.loads(files[_SETS])
    here = {f"policies/{one['file']}" for one in told if one["file"]}
    if [{k: v for k, v in one.items() if k != "file"} for one in told] != policy_sets(rows):
        raise NotProved(f"`{_SETS}` has other sets of policies than the audit rows")
    if here != {name for name in files if name.startswith("policies/")} - {_SETS}:
        raise NotProved("there are other sets of policies than those that decided")
    for one in told:
        if one["file"]:
            found = json.loads(files[f"policies/{one['file']}"])
            named = [[p["id"], p["file"], p["body"]] for p in found]
            if _digest(_canonical(named))[: len(one["version"])] != one["version"]:
                raise NotProved(f"policies `{one['version']}` are not those that decided")
            if any(text_of is not None and text_of(p["id"], p["body"]) != p["text"] for p in found):
                raise NotProved(f"a policy of `{one['version']}` has a text that is not what it says in JSON")
    return len(here)


def _sealed(files: dict[str, bytes], data: bytes, what: str) -> dict[str, Any]:
    """The statement in a DSSE envelope that one of the pack's keys of bundles signed."""
    envelope = json.loads(data)
    payload, kind = base64.b64decode(envelope["payload"], validate=True), envelope["payloadType"].encode()
    (only,) = envelope["signatures"]
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    sealed = base64.b64decode(only["sig"], validate=True).hex()
    _check(_signer(files, only["keyid"], what), sealed, message, f"the {what} is not signed so")
    return dict(json.loads(payload))


def _checkpoints(data: bytes, publics: dict[str, ed25519.Ed25519PublicKey]) -> dict[int, dict[str, Any]]:
    """Length of the log -> what was signed of it then. Each is signed for itself, by one of the keys that the log has had."""
    found: dict[int, dict[str, Any]] = {}
    for line in data.splitlines():
        body = json.loads(line)
        signature, words = body.pop("signature"), "a checkpoint was not signed by this key"
        if body["key_id"] not in publics:
            raise NotProved(words)
        _check(publics[body["key_id"]], signature, CHECKPOINT_DOMAIN + _canonical(body), words)
        found[int(body["sequence"])] = body
    return found


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
    signer = _signer(files, signature["key_id"], f"bundle `{name}`")
    _check(
        signer, signature["signature"], BUNDLE_DOMAIN + digest.encode(), f"bundle `{name}` is not signed so"
    )
    if "provenance.intoto.json" not in here:
        return False
    statement = _sealed(files, here["provenance.intoto.json"], f"provenance of bundle `{name}`")
    if statement["subject"][0]["digest"] != {"sha256": name}:
        raise NotProved(f"the provenance of bundle `{name}` is of another one")
    return True


def _signer(files: dict[str, bytes], key_id: str, what: str) -> ed25519.Ed25519PublicKey:
    pem = files.get(f"keys/bundles/{key_id.removeprefix('sha256:')}.pem")
    if pem is None:
        raise NotProved(f"the key that signed the {what} is not in the pack")
    public = _public(pem)
    if _digest(public.public_bytes_raw()) != key_id:
        raise NotProved(f"the key that signed the {what} is another one than its name says")
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
    gc.disable()  # millions of values that are all kept to the end: looking for cycles among them is half of the time
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
