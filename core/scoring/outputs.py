"""The scores of a dataset on their way: a part is there whole, says of which scoring it is, and is never done twice.

<output>/scoring.json             whose folder this is, written first
         part-000000.parquet      the input's rows in their order, and the score; its footer has the part's receipt
         manifest.json            all parts, written last: who reads waits for it
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from mainspring.core import canonical, errors
from mainspring.core.contracts.base import Message
from mainspring.core.scoring import parts, places

__all__ = ["CLAIM", "MANIFEST", "SCORE", "Manifest", "Output", "Receipt"]

CLAIM: Final = "scoring.json"
MANIFEST: Final = "manifest.json"

#: The column of scores.
SCORE: Final = "score"

_RECEIPT: Final = b"mainspring.part"


class Receipt(Message):
    """A part that is done."""

    identity: str
    """Of the scoring."""
    name: str
    rows: int
    scores: str
    """The digest of the scores' bytes, little-endian float32."""
    cpu_seconds: float
    """What it took, reading and scoring."""
    run_id: str = ""
    """Whose work it was: a later run finds it done and does not pay for it."""


class Manifest(Message):
    """A scoring that is complete."""

    version: int = 1
    identity: str
    detail: dict[str, Any]
    """What was scored with what: bundle, features, input, time."""
    rows: int
    parts: list[Receipt]
    scores_digest: str
    """Names all scores in their order."""
    cpu_seconds: float


@dataclass(frozen=True)
class Output:
    """One scoring's folder. `identity` names the scoring: bundle, input, features and how it is cut."""

    place: places.Place
    identity: str
    run_id: str = ""
    """Who writes."""

    def claim(self, detail: dict[str, Any]) -> None:
        """Take the folder for this scoring; again is no change.

        Errors: Conflict if it holds another scoring, or files that are no scoring's.
        """
        names = self.place.names()
        if CLAIM in names:
            self._check(_claimed(self.place), CLAIM)
            return
        if names:
            raise errors.Conflict(
                f"`{self.place.uri}` has files already, such as `{names[0]}`; choose a folder of its own",
                resource="output",
                name=self.place.uri,
            )
        self.place.put(CLAIM, canonical.dumps({"identity": self.identity, "detail": detail}))
        # Two at once: the last one has it, and the other learns of that here or from the first part that it meets.
        self._check(_claimed(self.place), CLAIM)

    def done(self) -> dict[str, Receipt]:
        """The receipts of all parts that are there, by name. Errors: Conflict for a part of another scoring."""
        names = [n for n in self.place.names() if n.startswith("part-") and n.endswith(".parquet")]
        return dict(zip(names, self.place.each(self._receipt, names), strict=True))

    def write(
        self, part: parts.Part, rows: pl.DataFrame, scores: NDArray[np.float32], cpu_seconds: float
    ) -> Receipt:
        """Put a part there, whole; again replaces it by the same. Errors: those of the place."""
        receipt = Receipt(
            identity=self.identity,
            name=part.name,
            rows=rows.height,
            scores=canonical.digest_bytes(scores.astype("<f4", copy=False).tobytes()),
            cpu_seconds=cpu_seconds,
            run_id=self.run_id,
        )
        table = rows.with_columns(pl.Series(SCORE, scores)).to_arrow()
        kept = {**(table.schema.metadata or {}), _RECEIPT: receipt.model_dump_json().encode()}
        buffer = pa.BufferOutputStream()
        pq.write_table(table.replace_schema_metadata(kept), buffer, compression="zstd")
        self.place.put(part.name, buffer.getvalue())
        return receipt

    def finish(self, survey: parts.Survey, detail: dict[str, Any]) -> Manifest:
        """Check that every part is there with as many rows as its input, and write the manifest.

        Errors: InvariantViolated if a part is missing or has other rows; Conflict for a part of another scoring.
        """
        done = self.done()
        wanted = {part.name: part.rows for part in survey.parts}
        got = {name: receipt.rows for name, receipt in done.items()}
        if wanted != got:
            name = min(set(wanted.items()) ^ set(got.items()))[0]
            raise errors.InvariantViolated(
                f"part `{name}` of `{self.place.uri}` has {got.get(name)} rows, its input {wanted.get(name)}; run the"
                " scoring again, which does what is missing",
                where="scoring.outputs.finish",
            )
        receipts = [done[part.name] for part in survey.parts]
        manifest = Manifest(
            identity=self.identity,
            detail=detail,
            rows=survey.rows,
            parts=receipts,
            scores_digest=canonical.digest([[r.rows, r.scores] for r in receipts]),
            cpu_seconds=sum(r.cpu_seconds for r in receipts),
        )
        self.place.put(MANIFEST, canonical.dumps(manifest.model_dump(mode="json")))
        return manifest

    def _receipt(self, name: str) -> Receipt:
        where = f"{self.place.uri}/{name}"
        try:
            with self.place.open(name) as file:
                footer = pq.read_metadata(file)
            receipt = Receipt.model_validate_json((footer.metadata or {}).get(_RECEIPT, b""))
        except (pa.ArrowException, OSError, ValidationError) as error:
            raise errors.Conflict(
                f"`{where}` is no part of a scoring; choose a folder of its own",
                resource="output",
                name=where,
            ) from error
        self._check(receipt.identity, name)
        if (receipt.name, receipt.rows) != (name, footer.num_rows):
            raise errors.CorruptArtifact(
                f"`{where}` has {footer.num_rows} rows and says {receipt.rows} of `{receipt.name}`; remove it and run the"
                " scoring again",
                artifact=where,
                expected=str(receipt.rows),
                got=str(footer.num_rows),
            )
        return receipt

    def _check(self, identity: str, name: str) -> None:
        if identity != self.identity:
            raise errors.Conflict(
                f"`{self.place.uri}/{name}` is of another scoring: of another bundle, input, features or time; choose"
                " another output",
                resource="output",
                name=self.place.uri,
            )


def _claimed(place: places.Place) -> str:
    try:
        return str(json.loads(place.read(CLAIM))["identity"])
    except (ValueError, KeyError, TypeError) as error:
        raise errors.CorruptArtifact(
            f"`{place.uri}/{CLAIM}` does not say whose folder this is; remove the folder, or choose another",
            artifact=f"{place.uri}/{CLAIM}",
            expected="the identity of a scoring",
            got=repr(error),
        ) from error
