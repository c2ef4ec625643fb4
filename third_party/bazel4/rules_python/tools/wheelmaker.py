"""Writes one reproducible wheel from the JSON that py_wheel wrote."""

import base64
import hashlib
import json
import sys
import zipfile

WHEEL = "Wheel-Version: 1.0\nGenerator: mainspring-bazel4\nRoot-Is-Purelib: {pure}\nTag: {tag}\n"


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def main(spec_path: str) -> None:
    spec = json.loads(read(spec_path))
    info = spec["dist_info"]
    record = []

    def add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
        entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        entry.external_attr = (0o755 if name.endswith(".so") else 0o644) << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
        record.append(f"{name},sha256={digest.decode()},{len(data)}")

    members = {}
    for name, path in spec["files"]:
        for prefix in spec["strip"]:
            if name.startswith(prefix):
                name = name[len(prefix) :].lstrip("/")
                break
        if name in members:
            sys.exit(f"wheelmaker: two files for {name}: {members[name]} and {path}")
        members[name] = path

    metadata = spec["metadata"].encode()
    if spec["description"]:
        metadata += b"Description-Content-Type: text/markdown\n\n" + read(spec["description"])
    with zipfile.ZipFile(spec["out"], "w") as archive:
        for name, path in sorted(members.items()):
            add(archive, name, read(path))
        for name, path in sorted(spec["extra_distinfo_files"]):
            add(archive, f"{info}/{name}", read(path))
        add(archive, f"{info}/METADATA", metadata)
        pure = str(spec["tag"].endswith("none-any")).lower()
        add(archive, f"{info}/WHEEL", WHEEL.format(pure=pure, tag=spec["tag"]).encode())
        if spec["entry_points"]:
            add(archive, f"{info}/entry_points.txt", spec["entry_points"].encode())
        entry = zipfile.ZipInfo(f"{info}/RECORD", (1980, 1, 1, 0, 0, 0))
        archive.writestr(entry, "\n".join([*record, f"{info}/RECORD,,", ""]))


if __name__ == "__main__":
    main(sys.argv[1])
