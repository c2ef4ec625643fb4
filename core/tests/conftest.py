"""What several test files of the room share, made once a session."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def flights_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`csv`, `lake`, `features` and `training` of ten days of real flights, by the project's own steps: to be read."""
    import core_flights_world

    from mainspring.core.reference.flight_delay import project

    root = tmp_path_factory.mktemp("flights")
    (root / "csv").mkdir()
    mine = project.FlightDelay(core_flights_world.write_csv(root / "csv"))
    mine.ingest(root / "lake")
    mine.build_features(root / "lake", root / "features")
    mine.training_set(root / "features", root / "training")
    return root
