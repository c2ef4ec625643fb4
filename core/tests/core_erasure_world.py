"""A project's files with three aircraft in them: published, loose, logged, sealed, kept by pipelines, and online."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mainspring.core import ports, settings
from mainspring.core.erasure import erasing
from mainspring.core.erasure.matching import BySubject
from mainspring.core.erasure.places import ErasurePlace
from mainspring.core.erasure.subjects import Subject
from mainspring.core.features import folders
from mainspring.core.features.online import OnlineStore
from mainspring.core.monitoring import prediction_log, tokens
from mainspring.core.pipelines.store import PipelineStore
from mainspring.core.protection import keysets, tables

TAILS = ("N101", "N102", "N103")
SUBJECT = Subject("tiny", "tailnum", "N102", frozenset({"aircraft"}))
VIEW = ports.ViewSchema("planes", ("tailnum",), (("seats", "float32"),), None)
PAIRS = ports.ViewSchema("pairs", ("origin", "tailnum"), (("delay", "float32"),), None)


class World:
    """Every place has two rows of N102, and four of the others."""

    def __init__(self, folder: Path) -> None:
        self.settings = settings.load({"MAINSPRING_STACK_STATE_DIR": str(folder)}, directory=folder)
        self.root = folder / "projects" / "tiny" / "full"
        self.rows = pl.DataFrame({"tailnum": TAILS * 2, "value": range(6)})
        self.lake = folders.publish(
            self.root / "lake", kind="lake", inputs={"source": "tiny 1"}, write=self._write_lake
        )
        self.run = self.root / "runs" / "run_1" / "predictions.parquet"
        self.run.parent.mkdir(parents=True)
        self.rows.rename({"tailnum": "aircraft"}).write_parquet(self.run)
        self.probes = folder / "probes" / "tiny.jsonl"
        self.probes.parent.mkdir()
        self.probes.write_text("".join(json.dumps({"keys": {"tailnum": [t]}}) + "\n" for t in TAILS * 2))
        self.contents = PipelineStore(folder / "projects" / "tiny" / "pipelines")
        self.kept = self.contents.put_bytes(json.dumps([{"tailnum": "N101"}]).encode())
        self.gone = self.contents.put_bytes(json.dumps([{"tailnum": "N102"}]).encode())
        self._log()
        self._seal()

    def _write_lake(self, new: Path) -> Mapping[str, Any]:
        for month, part in enumerate((self.rows[:3], self.rows[3:])):
            (new / f"month={month}").mkdir()
            part.write_parquet(new / f"month={month}" / "part-0.parquet")
        (new / "airports").mkdir()
        pl.DataFrame({"faa": ["JFK"]}).write_parquet(new / "airports" / "part-0.parquet")
        return {"rows": {"flights": 6}}

    def _log(self) -> None:
        where = self.settings.serving
        log = prediction_log.PredictionLog(
            where.predictions_dir, max_bytes=1 << 20, tokeniser=tokens.Tokeniser.load(where.token_key)
        )
        tails = np.array(TAILS * 2, object)
        for endpoint in ("delay", "of-others"):
            log.add(
                prediction_log.Entry(
                    time_us=1, as_of_us=1, endpoint=endpoint, model_version="sha256:" + "a" * 64, traffic_version=1,
                    role="stable", request_id="r", caller="", keys={"tailnum": tails}, key_types={"tailnum": "string"},
                    features={}, scores=np.zeros(6, np.float32), latency_seconds=0.1, private=frozenset({"tailnum"}),
                )
            )  # fmt: skip
        log.close()

    def _seal(self) -> None:
        cipher = keysets.keyset(self.settings.protection, "tiny").cipher()
        for mode in ("joinable", "random"):
            scheme = tables.Scheme.parse({"dataset": "sealed", "columns": {"tailnum": {"mode": mode}}})
            path = self.root / "sealed" / f"{mode}.parquet"
            path.parent.mkdir(exist_ok=True)
            tables.write(self.rows, path, scheme, cipher)

    def matcher(self, subject: Subject = SUBJECT) -> BySubject:
        return erasing.matcher_of(self.settings, subject)

    def places(self) -> list[ErasurePlace]:
        return erasing.file_places(self.settings, "tiny", endpoints=["delay"], views=["planes"])


def online(folder: Path | None = None) -> OnlineStore:
    """Three rows in one view; in the other six, two of each aircraft."""
    store = OnlineStore(folder)
    for view in (VIEW, PAIRS):
        store.register(view)
    push(store, TAILS)
    keys = {"origin": ["JFK"] * 3 + ["EWR"] * 3, "tailnum": list(TAILS * 2)}
    times = np.arange(6, dtype=np.int64)
    store.upsert("pairs", keys, event_us=times, created_us=times, columns={"delay": [1.0] * 6})
    return store


def push(store: ports.OnlineFeatures, tails: tuple[str, ...], at_us: int = 10) -> int:
    times = np.full(len(tails), at_us, np.int64)
    return store.upsert(
        "planes",
        {"tailnum": list(tails)},
        event_us=times,
        created_us=times,
        columns={"seats": [2.0] * len(tails)},
    )
