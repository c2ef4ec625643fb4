"""Infer requests for native models, each answered by one native call: at which paths, and what was counted.

As the native front does it, where that is not before the app or passes a request on. Everything that is not understood there
takes the usual way, which words every refusal. See docs/adr/0032-infer-in-one-call.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from mainspring.native import infer
from mainspring.serving import native_front
from mainspring.serving.models import book, native_model, repository


class NativeAnswers:
    """The models in force by path. `find` is for the loop, the others for any thread."""

    def __init__(self) -> None:
        self._by_path: Mapping[str, infer.InferModel] = {}
        self._counts: dict[tuple[str, str], infer.Counts] = {}

    def follow(self, models: repository.Repository) -> None:
        """Answer for the native models that are loaded, now and after every change."""
        # The repository changes one at a time.
        models.on_change(lambda: self._set(models))

    def find(self, path: str) -> infer.InferModel | None:
        """Who answers an infer request at a path; None: the usual way."""
        return self._by_path.get(path)

    def entries(self) -> Mapping[tuple[str, str], book.Entry]:
        """What was answered here, as the app's book has it."""
        sums = {key: counts.sum() for key, counts in list(self._counts.items())}
        return {key: native_front.entry(counts) for key, counts in sums.items() if counts.requests}

    def _set(self, models: repository.Repository) -> None:
        by_path: dict[str, infer.InferModel] = {}
        for loaded in models.loaded():
            served = loaded.for_front() if isinstance(loaded, native_model.NativeModel) else None
            if served is None:
                continue
            counts = self._counts.setdefault(
                (served.name, served.version), infer.Counts(served.name, served.version)
            )
            path = f"/v2/models/{served.name}"
            by_path[f"{path}/infer"] = infer.model(served, counts)
            by_path[f"{path}/versions/{served.version}/infer"] = by_path[f"{path}/infer"]
        self._by_path = by_path
