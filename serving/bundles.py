"""What serving needs of a bundle, and the shelf of those that are loaded."""

from __future__ import annotations

import difflib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.contracts import inputs, prediction
from mainspring.core.features import schema


class LoadedBundle(Protocol):
    """A verified bundle in memory. Everything is immutable and thread-safe once loaded."""

    @property
    def digest(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def project(self) -> str:
        """Whom its use is charged to where the caller has no project."""
        ...

    @property
    def plan_digest(self) -> str: ...

    @property
    def feature_service(self) -> schema.FeatureService:
        """The views that are looked up by entity; what they give is called `view__field`."""
        ...

    @property
    def input_columns(self) -> Mapping[str, ports.FieldType]:
        """Columns of :meth:`prepare`, name to type; a prediction by row sends exactly these."""
        ...

    @property
    def request_columns(self) -> tuple[schema.Column, ...]:
        """What the caller sends beside the join keys."""
        ...

    @property
    def input_policy(self) -> inputs.InputPolicy:
        """What the bundle declares of its inputs; the default where it declares nothing."""
        ...

    @property
    def runtime(self) -> ports.ModelRuntime: ...

    def derive(self, columns: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Request-time features from keys, request columns and looked-up columns, each (n,). NaN in, NaN out."""
        ...

    def prepare(self, columns: Mapping[str, NDArray[Any]]) -> ports.ModelInput:
        """Run the fitted plan over the input columns, each (n,)."""
        ...


class BundleLoader(Protocol):
    """Reads bundles from wherever they are kept."""

    def load(self, digest: str) -> LoadedBundle:
        """Errors: NotFound; CorruptArtifact if the digest or signature does not hold."""
        ...


@dataclass(frozen=True)
class Shelved:
    """A loaded bundle and how long loading took."""

    bundle: LoadedBundle
    load_seconds: float

    @property
    def view(self) -> prediction.BundleView:
        b = self.bundle
        return prediction.BundleView(
            digest=b.digest,
            name=b.name,
            plan_digest=b.plan_digest,
            feature_service=b.feature_service.name,
            input_columns=dict(b.input_columns),
            views=[v.name for v in b.feature_service.views],
            load_seconds=self.load_seconds,
        )


class BundleShelf:
    """The loaded bundles by digest. Thread-safe; a bundle is loaded once however many ask for it at a time."""

    def __init__(self, loader: BundleLoader, online: ports.OnlineFeatures) -> None:
        self._loader = loader
        self._online = online
        self._shelf: dict[str, Shelved] = {}
        self._loading = threading.Lock()
        self._changed: Callable[[], None] = lambda: None

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` after each bundle that is loaded, before :meth:`load` returns."""
        with self._loading:
            self._changed = changed

    def load(self, digest: str) -> Shelved:
        """Load the bundle and make its views known to the online store; a loaded one is returned as it is.

        Errors: those of the loader; Conflict if a view is registered with another schema.
        """
        with self._loading:
            if digest in self._shelf:
                return self._shelf[digest]
            started = time.monotonic()
            bundle = self._loader.load(digest)
            if bundle.digest != digest:
                raise errors.CorruptArtifact(
                    f"asked for bundle `{digest}`, the loader gave `{bundle.digest}`; remove the copy and fetch it anew",
                    artifact=digest,
                    expected=digest,
                    got=bundle.digest,
                )
            for view in bundle.feature_service.views:
                self._online.register(view.online)
            shelved = Shelved(bundle, time.monotonic() - started)
            self._shelf = {**self._shelf, digest: shelved}
            self._changed()
            return shelved

    def get(self, digest: str) -> LoadedBundle:
        """Errors: NotFound with the next step, if it is not loaded."""
        found = self._shelf.get(digest)
        if found is None:
            close = tuple(difflib.get_close_matches(digest, self._shelf, n=1))
            raise errors.NotFound(
                f"bundle `{digest}` is not loaded; "
                + (f"did you mean `{close[0]}`" if close else "load it with POST /v1/bundles:load"),
                resource="bundle",
                name=digest,
                did_you_mean=close,
            )
        return found.bundle

    def holds(self, digest: str) -> bool:
        return digest in self._shelf

    def services(self) -> list[schema.FeatureService]:
        """The feature services of the loaded bundles; of one name the one that was loaded last."""
        return list(
            {s.bundle.feature_service.name: s.bundle.feature_service for s in self._shelf.values()}.values()
        )

    def views(self) -> list[prediction.BundleView]:
        """Every loaded bundle, in the order of loading."""
        return [shelved.view for shelved in self._shelf.values()]
