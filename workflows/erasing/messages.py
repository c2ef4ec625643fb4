"""What the erasure says to its activities, by name."""

from __future__ import annotations

from typing import Final

from mainspring.core.contracts import base, erasure

KEEP_OUT: Final = "mainspring.erasing.keep-out.v1"
FIND: Final = "mainspring.erasing.find.v1"
ERASE: Final = "mainspring.erasing.erase.v1"
PROVE: Final = "mainspring.erasing.prove.v1"
CERTIFY: Final = "mainspring.erasing.certify.v1"
REPORT: Final = "mainspring.erasing.report.v1"


class Places(base.Message):
    """What every place has."""

    found: list[erasure.Found]


class EraseOne(base.Message):
    """Erase one place."""

    request: erasure.EraseRequest
    place: str


class Prove(base.Message):
    """Read everything again."""

    request: erasure.EraseRequest
    before: list[erasure.Found]


class Proven(base.Message):
    places: list[erasure.CertifiedPlace]
    uncovered: list[erasure.Uncovered] = []
    erased_at: base.UtcTime


class Certify(base.Message):
    """Sign what was proven."""

    request: erasure.EraseRequest
    proven: Proven
    approved_by: str
    approved_at: base.UtcTime
    datasets: list[base.Digest]
    """Published folders that had the subject."""
    clean: list[base.Digest]
    """Those that were read and had nothing of it."""


class Certified(base.Message):
    certificate: str
    rows_erased: int
    models: list[erasure.TrainedModel]


class Report(base.Message):
    """Tell the control API how it ended."""

    project: base.Slug
    erasure_id: str
    report: erasure.ErasureReport


class Done(base.Message):
    """Nothing to tell."""
