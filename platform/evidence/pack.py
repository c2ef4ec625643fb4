"""A pack: files, what they speak to, a manifest over all of them, and a signature over that, as one zip file.

The same contents give the same bytes: times in the zip are fixed, entries are sorted.
"""

from __future__ import annotations

import fnmatch
import io
import json
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mainspring.core import canonical
from mainspring.platform.audit import signers, verification
from mainspring.platform.evidence import verify

_FOLDER: Final = Path(__file__).parent
#: The least that zip has.
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
README: Final = """# Evidence pack

`verify.py` proves this pack offline; it needs Python and the package `cryptography`, and nothing of Mainspring:

    python verify.py PACK.zip --key AUDIT_PUBLIC.pem

Take the script and the key from the platform itself rather than from here: whoever makes a false pack makes a false script as well.

    manifest.json, signature.json   every file's digest, signed with the key of the audit log
    articles.json                   which file speaks to which article; it says where to look, and claims nothing
    approvals.json, decisions.json  who approved what, and what the policies were asked and answered: views of audit/rows.jsonl
    policies/                       each set of policies that decided, whole; `sets.json` says when, and which was not kept
    dpias.json, purposes.json       impact assessments with answers, risk and signatures, and what data may be used for, as of `until`
    erasures.json                   erasures that were done, with their sealed certificates
    audit/                          the project's rows, those of before that still held, the proof that all are in the log, and the checkpoint
    bundles/<digest>/               manifest, card, gates, leak check, bill of materials, provenance, signatures; neither the weights nor the fitted plan
    runs.json, costs.json, lineage/events.jsonl
    access/                         members now, requests of the time, and who asked the model how often
"""


@dataclass(frozen=True)
class Pack:
    """`digest` is that of the manifest, which covers every file."""

    content: bytes
    digest: str
    files: int


def build(about: Mapping[str, Any], files: Mapping[str, bytes], signer: signers.Signer) -> Pack:
    """`about`: what the manifest says beside the files. Pure but for the signer."""
    pem = verification.public_pems(signer.publics)
    all_files = {
        **files,
        verify.KEY: pem,
        "README.md": README.encode(),
        "verify.py": (_FOLDER / "verify.py").read_bytes(),
    }
    all_files["articles.json"] = to_json(articles(all_files))
    manifest = canonical.dumps(
        {
            "schema": verify.SCHEMA,
            **about,
            "files": {name: canonical.digest_bytes(data) for name, data in all_files.items()},
        }
    )
    signature = canonical.dumps(
        {
            "algorithm": "ed25519",
            "key_id": verification.key_id(signer.public),
            "signature": signer.sign(verify.DOMAIN + manifest).hex(),
        }
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(
            {**all_files, verify.MANIFEST: manifest, verify.SIGNATURE: signature}.items()
        ):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return Pack(out.getvalue(), canonical.digest_bytes(manifest), len(all_files))


def articles(files: Iterable[str]) -> list[dict[str, Any]]:
    """Each article of the map with the files here that speak to it; none: that is said, too."""
    names = sorted(files)
    with (_FOLDER / "articles.toml").open("rb") as file:
        known = tomllib.load(file)["article"]
    return [
        {
            **{name: a[name] for name in ("framework", "id", "title")},
            "evidence": sorted({n for p in a["evidence"] for n in fnmatch.filter(names, p)}),
            "missing": [p for p in a["evidence"] if not fnmatch.filter(names, p)],
        }
        for a in known
    ]


def to_json(value: Any) -> bytes:
    """For people and tools alike: canonical, but for its line breaks. Of a list an item is a line: with an indent json's encoder is
    Python's own, which is most of a large pack's time."""
    if isinstance(value, list):
        lines = (json.dumps(one, sort_keys=True, ensure_ascii=False) for one in value)
        return b"[\n" + ",\n".join(lines).encode() + b"\n]\n" if value else b"[]\n"
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def to_lines(values: Iterable[Any]) -> bytes:
    return b"".join(canonical.dumps(value) + b"\n" for value in values)
