"""What serving needs of a bundle, and the shelf of those that are loaded, within a budget of memory."""

from __future__ import annotations

import difflib
import itertools
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.contracts import inputs, prediction
from mainspring.core.features import schema
from mainspring.core.models import explain, packed
from mainspring.serving.runtimes import routed


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

    @property
    def memory_bytes(self) -> int:
        """What it takes of the process's memory, as measured when it was loaded."""
        ...

    def derive(self, columns: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Request-time features from keys, request columns and looked-up columns, each (n,). NaN in, NaN out."""
        ...

    def prepare(self, columns: Mapping[str, NDArray[Any]]) -> ports.ModelInput:
        """Run the fitted plan over the input columns, each (n,)."""
        ...

    def explain(self, batch: ports.ModelInput) -> explain.ByInput:
        """Why the model answers that batch of :meth:`prepare` as it does; slow. Errors: Conflict, with the next step, if
        its kind has no method; DependencyDown if its files are not there any more.
        """
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
        size = packed.size_of(routed.reference(b.runtime))
        return prediction.BundleView(
            digest=b.digest,
            name=b.name,
            project=b.project,
            plan_digest=b.plan_digest,
            feature_service=b.feature_service.name,
            input_columns=dict(b.input_columns),
            views=[v.name for v in b.feature_service.views],
            load_seconds=self.load_seconds,
            memory_bytes=b.memory_bytes,
            candidates=_candidates(b.runtime),
            packed_own_bytes=size.own,
            packed_shared_bytes=size.shared,
        )


def _candidates(runtime: ports.ModelRuntime) -> tuple[prediction.CandidateView, ...]:
    if not isinstance(runtime, routed.RoutedRuntime):
        return ()
    return tuple(
        prediction.CandidateView(
            name=found.candidate.name,
            state=found.state,
            seconds=dict(found.seconds),
            why=found.why,
            batches=found.batches,
        )
        for found in runtime.findings
    )


class _Place:
    """Where a bundle stands; whoever asks for it says so by a larger `used`."""

    __slots__ = ("shelved", "used")

    def __init__(self, shelved: Shelved, used: int) -> None:
        self.shelved = shelved
        self.used = used

    @property
    def memory_bytes(self) -> int:
        return self.shelved.bundle.memory_bytes


@dataclass
class ShelfCounts:
    """Since the process began."""

    loads: int = 0
    let_go: int = 0
    """Bundles that made room for another one."""


class BundleShelf:
    """The loaded bundles by digest. Thread-safe; a bundle is loaded once however many ask for it at a time.

    With a budget the bundles that were asked longest ago make room for new ones, and are loaded again, verified again,
    when somebody asks. Requests at work keep what they work with.
    """

    def __init__(
        self,
        loader: BundleLoader,
        online: ports.OnlineFeatures,
        *,
        budget_bytes: int = 0,
        is_pinned: Callable[[str], bool] = lambda digest: False,
        may_load: Callable[[str], bool] = lambda digest: False,
        check: Callable[[str], None] = lambda digest: None,
    ) -> None:
        """`budget_bytes` 0: no bundle is ever let go of. `is_pinned`: by digest, those that never are. `may_load`: those that
        are loaded when somebody asks for them, without :meth:`load`. `check` raises Denied for those that are not to be used.
        """
        self._loader = loader
        self._online = online
        self._budget_bytes = budget_bytes
        self._is_pinned = is_pinned
        self._may_load = may_load
        self._check = check
        self._shelf: dict[str, _Place] = {}
        self._views: dict[str, prediction.BundleView] = {}
        self._services: dict[str, schema.FeatureService] = {}
        #: Let go of by :meth:`rest`: whoever keeps copies is told when they come back.
        self._resting: frozenset[str] = frozenset()
        self._loading = threading.Lock()
        #: Held for the moment in which what is on the shelf is replaced by something else.
        self._replacing = threading.Lock()
        self._changed: Callable[[], None] = lambda: None
        self._uses = itertools.count(1)
        self.counts: Final = ShelfCounts()

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` after each bundle that is loaded for the first time, or after a rest, before :meth:`load` returns."""
        with self._loading:
            self._changed = changed

    def load(self, digest: str) -> Shelved:
        """Load the bundle and make its views known to the online store; a loaded one is left as it is.

        Errors: those of the loader; Conflict if a view is registered with another schema; DependencyDown if it does not
        fit into the budget beside what is pinned.
        """
        with self._loading:
            place = self._shelf.get(digest)
            return self._load(digest) if place is None else place.shelved

    def reload(self, digest: str) -> Shelved:
        """Load the bundle anew, verified and warmed up, beside the one that answers until then. Errors: as `load`; the
        old one then goes on.
        """
        with self._loading:
            return self._load(digest)

    def drop(self, digest: str) -> None:
        """Forget the bundle, which `check` denies from now on; at once, whatever is being loaded meanwhile. Requests at work
        keep what they work with.
        """
        with self._replacing:
            self._shelf = {d: place for d, place in self._shelf.items() if d != digest}
            self._views = {d: view for d, view in self._views.items() if d != digest}
        self._changed()

    def rest(self, digest: str) -> int:
        """Let go of the bundle until somebody asks for it, who loads it again; the bytes that it took. Requests at work keep
        what they work with. Errors: Conflict for one that is pinned.
        """
        self.require_free(digest)
        with self._replacing:
            place = self._shelf.get(digest)
            if place is None:
                return 0
            self._shelf = {d: one for d, one in self._shelf.items() if d != digest}
            self._resting |= {digest}
        return place.memory_bytes

    def require_free(self, digest: str) -> None:
        """Errors: Conflict for a bundle that is pinned."""
        if self._is_pinned(digest):
            raise errors.Conflict(
                f"bundle `{digest}` is of an endpoint in `serving.pinned_endpoints`; take it out of there first",
                resource="bundle",
                name=digest,
            )

    def get(self, digest: str) -> LoadedBundle:
        """The bundle; one that was let go of is loaded again, which takes its time.

        Errors: NotFound with the next step, if it was never loaded; PolicyDenied if it was withdrawn; DependencyDown if it
        cannot be loaded again.
        """
        place = self._shelf.get(digest)
        if place is None:
            return self._again(digest)
        place.used = next(self._uses)
        return place.shelved.bundle

    def is_resident(self, digest: str) -> bool:
        """Whether :meth:`get` will answer at once."""
        return digest in self._shelf

    def holds(self, digest: str) -> bool:
        """Whether the bundle was loaded, and can be asked for."""
        return digest in self._views

    def view(self, digest: str) -> prediction.BundleView:
        """What a bundle is that was loaded, without loading it again. Errors: NotFound with the next step, PolicyDenied."""
        found = self._views.get(digest)
        if found is None:
            self._check(digest)
        if found is None and self._may_load(digest):
            found = self.load(digest).view
        if found is None:
            close = tuple(difflib.get_close_matches(digest, self._views, n=1))
            raise errors.NotFound(
                f"bundle `{digest}` is not loaded; "
                + (f"did you mean `{close[0]}`" if close else "load it with POST /v1/bundles:load"),
                resource="bundle",
                name=digest,
                did_you_mean=close,
            )
        return found

    def services(self) -> list[schema.FeatureService]:
        """The feature services of the bundles; of one name the one that was loaded last."""
        return list(self._services.values())

    def views(self) -> list[prediction.BundleView]:
        """Every bundle that was loaded, in the order of loading."""
        shelf = self._shelf
        return [
            shelf[digest].shelved.view if digest in shelf else view.model_copy(update={"resident": False})
            for digest, view in list(self._views.items())
        ]

    @property
    def memory_bytes(self) -> int:
        """Of the bundles in memory now."""
        return sum(place.memory_bytes for place in list(self._shelf.values()))

    def _again(self, digest: str) -> LoadedBundle:
        self.view(digest)
        try:
            return self.load(digest).bundle
        except (errors.Rejected, errors.Denied) as error:
            # It was there and whole: whoever asks for a prediction cannot mend that.
            raise errors.DependencyDown(
                f"bundle `{digest}` had made room for others and cannot be loaded again: {error.message}",
                name=f"bundle {digest}",
            ) from error

    def _load(self, digest: str) -> Shelved:
        """Under the lock: one at a time, so that what each takes can be measured."""
        started = time.monotonic()
        self._check(digest)
        bundle = self._loader.load(digest)
        if bundle.digest != digest:
            raise errors.CorruptArtifact(
                f"asked for bundle `{digest}`, the loader gave `{bundle.digest}`; remove the copy and fetch it anew",
                artifact=digest,
                expected=digest,
                got=bundle.digest,
            )
        kept = self._room_for(bundle)
        for view in bundle.feature_service.views:
            self._online.register(view.online)
        self.counts.loads += 1
        self.counts.let_go += len(self._shelf.keys() - kept.keys() - {digest})
        shelved = Shelved(bundle, time.monotonic() - started)
        is_new = digest not in self._views
        if is_new:  # one that was let go of and comes back is no newer than it was
            self._services = {**self._services, bundle.feature_service.name: bundle.feature_service}
        with self._replacing:
            self._check(digest)  # its mark may be younger than the look before the load
            still = {d: place for d, place in self._shelf.items() if d in kept}
            self._views = {**self._views, digest: shelved.view}
            self._shelf = {**still, digest: _Place(shelved, next(self._uses))}
            was_resting = digest in self._resting
            self._resting -= {digest}
        if is_new or was_resting:
            self._changed()
        return shelved

    def _room_for(self, bundle: LoadedBundle) -> dict[str, _Place]:
        """What stays beside `bundle`. Errors: DependencyDown if even what is pinned leaves no room."""
        kept = {d: place for d, place in self._shelf.items() if d != bundle.digest}
        if not self._budget_bytes:
            return kept
        total = bundle.memory_bytes + sum(place.memory_bytes for place in kept.values())
        for digest in sorted(kept, key=lambda d: kept[d].used):
            if total <= self._budget_bytes:
                return kept
            if not self._is_pinned(digest):
                total -= kept.pop(digest).memory_bytes
        if total > self._budget_bytes:
            raise errors.DependencyDown(
                f"bundle `{bundle.digest}` takes {bundle.memory_bytes} bytes, which do not fit into"
                f" `serving.bundle_memory_bytes` ({self._budget_bytes}) beside the pinned ones"
                f" ({total - bundle.memory_bytes}); raise it or pin fewer endpoints",
                name="bundle memory",
            )
        return kept
