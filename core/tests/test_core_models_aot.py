"""Programs compiled by AOTInductor: the same answers, in bounded time, and nothing left behind."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mainspring.core import errors, ports
from mainspring.core.models import aot, exported, model_spec

pytestmark = pytest.mark.skipif(not aot.has_compiler(), reason="torch compiles with g++, which is not here")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


class Scores(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table = nn.Embedding(5, 2)
        self.layers = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, dense: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.layers(torch.cat([dense, self.table(ids[:, 0])], dim=1))[:, 0]
        return answer


def program() -> bytes:
    rows = torch.export.Dim("rows", min=1)
    given = (torch.zeros(3, 3), torch.zeros(3, 1, dtype=torch.int32))
    return exported.save(torch.export.export(Scores().eval(), given, dynamic_shapes=({0: rows}, {0: rows})))


def asked(rows: int) -> ports.ModelInput:
    rng = np.random.default_rng(rows)
    dense = rng.normal(size=(rows, 3)).astype(np.float32)
    return ports.ModelInput(dense, rng.integers(0, 5, (rows, 1), dtype=np.int32))


def same(one: exported.ExportedRuntime, other: exported.ExportedRuntime, rows: int) -> bool:
    return np.allclose(one.predict(asked(rows)), other.predict(asked(rows)), rtol=1e-4, atol=1e-5)


@pytest.mark.timeout(280)
@pytest.mark.slow
def test_it_answers_as_the_program_does(folders: Path) -> None:
    spec = model_spec.ExportedSpec(dense_width=3, id_columns=("carrier",), activation="sigmoid")
    plain = exported.ExportedRuntime(Scores().eval(), spec)
    compiled = plain.compiled(program(), seconds=240)
    assert not list(folders.glob("mainspring-aot-*"))
    assert [rows for rows in (0, 1, 2, 3, 100) if not same(compiled, plain, rows)] == []

    found: list[bool] = []
    callers = [
        threading.Thread(
            target=lambda rows=rows: found.extend(same(compiled, plain, rows) for _ in range(100))
        )
        for rows in (1, 2, 7, 64)
    ]
    for one in callers:
        one.start()
    for one in callers:
        one.join(60)
    assert found == [True] * 400


def read(path: Path) -> bytes:
    """Nothing of a process that has ended meanwhile."""
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return b""


def test_time_that_is_over_stops_it(folders: Path) -> None:
    with pytest.raises(
        errors.DeadlineExceeded, match=r"not compiled in 0\.5 s; raise `serving.warm_up_seconds`"
    ):
        aot.compiled(program(), [3, 1], seconds=0.5)
    assert not list(folders.glob("mainspring-aot-*"))
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if str(folders).encode() in read(p)]


def test_what_torch_cannot_compile_is_told(folders: Path) -> None:
    with pytest.raises(
        errors.JobFailed, match=r"torch cannot compile the program: .+; it runs as it is"
    ) as caught:
        aot.compiled(b"no program", [3, 1], seconds=60)
    assert caught.value.status == "1"
    assert not list(folders.glob("mainspring-aot-*"))
