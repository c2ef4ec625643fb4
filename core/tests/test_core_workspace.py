"""Folders never mix projects, fractions or runs."""

from pathlib import Path

from mainspring.core import workspace


def test_every_folder_is_its_own() -> None:
    spaces = [
        workspace.Workspace(Path("/s"), project, fraction)
        for project in ("flight-delay", "churn")
        for fraction in (1.0, 0.1, 0.01, 0.010000000000000002)
    ]
    folders = [f for w in spaces for f in (w.lake, w.features, w.training, w.run("run_a"), w.run("run_b"))]
    assert len(set(folders)) == len(folders)
    assert spaces[0].lake == Path("/s/projects/flight-delay/full/lake")
    assert spaces[0].probes == spaces[1].probes != spaces[4].probes
