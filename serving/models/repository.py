"""Which tensor models there are: endpoints that have traffic, and models given at start; loaded or not."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from mainspring.core import errors
from mainspring.serving import bundles, plane, traffic
from mainspring.serving.models import endpoint_models, tensor_model

READY: Final = "READY"
UNAVAILABLE: Final = "UNAVAILABLE"

ModelFactory: TypeAlias = Callable[[], tensor_model.TensorModel]


@dataclass(frozen=True)
class IndexEntry:
    """One version of one model as the repository lists it."""

    name: str
    version: str
    state: str
    reason: str = ""


class Repository:
    """Finds models by name. Thread-safe; reads never wait.

    Unloading an endpoint takes it off the v2 protocols until it is loaded again; its traffic stays in force for
    `/v1`, because traffic is governed by deployments, and its bundles stay in memory.
    """

    def __init__(
        self,
        tables: traffic.TrafficStore,
        shelf: bundles.BundleShelf,
        answerer: plane.Plane,
        *,
        max_rows: int,
        models: Mapping[str, ModelFactory] | None = None,
    ) -> None:
        """`models` are loaded at once, by name. Errors: Misconfigured if one is not called as it is named."""
        self._tables = tables
        self._shelf = shelf
        self._plane = answerer
        self._max_rows = max_rows
        self._factories = dict(models or {})
        self._changing = threading.Lock()
        self._loaded: dict[str, tensor_model.TensorModel] = {}
        self._withdrawn: frozenset[str] = frozenset()
        self._changed: list[Callable[[], None]] = []
        self._is_fixed = False
        for name in self._factories:
            self.load(name)

    def get(self, name: str) -> tensor_model.TensorModel:
        """The model, ready to answer.

        Errors: NotFound with close names; DependencyDown if it is known and not loaded.
        """
        found = self._loaded.get(name)
        if found is not None and (name in self._factories or self._has_traffic(name)):
            return found
        if name not in self._factories and not self._has_traffic(name):
            raise self._unknown(name)
        with self._changing:
            if name in self._withdrawn:
                raise errors.DependencyDown(
                    f"model `{name}` is not loaded; load it with POST /v2/repository/models/{name}/load",
                    name=name,
                )
            # An endpoint that got traffic since the last request.
            return self._loaded.setdefault(name, self._endpoint(name))

    def has_endpoint(self, name: str) -> bool:
        """Whether that name is an endpoint's here, if it has traffic: not a model's given at start, and not unloaded."""
        return name not in self._factories and name not in self._withdrawn

    def loaded(self) -> list[tensor_model.TensorModel]:
        """The models given at start that are loaded now; endpoints are not among them."""
        return [model for name, model in self._loaded.items() if name in self._factories]

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` now and after each load and unload, before the one who asked is answered."""
        with self._changing:
            self._changed.append(changed)
            changed()

    def index(self) -> list[IndexEntry]:
        """Every version of every model, by name; a model that is not loaded has one entry without version."""
        entries = []
        for name in self._names():
            try:
                model = self.get(name)
                entries += [IndexEntry(name, version, READY) for version in model.versions()]
            except errors.DependencyDown:
                entries.append(IndexEntry(name, "", UNAVAILABLE, "unloaded"))
        return entries

    def fix(self) -> None:
        """Refuse every load and unload from now on: other processes answer for the same models and would not know."""
        self._is_fixed = True

    def _check_changes(self) -> None:
        if self._is_fixed:
            raise errors.Conflict(
                "models are not loaded or unloaded over v2 while `serving.processes` is above 1; restart, or change the"
                " endpoint's traffic",
                resource="model",
                name="repository",
            )

    def load(self, name: str) -> None:
        """Make the model ready; a loaded one is built anew, beside the old one, which answers until then.

        Errors: NotFound, and those of its bundles; the old one then goes on. Conflict after :meth:`fix`.
        """
        self._check_changes()
        if name not in self._factories and self._has_traffic(name):
            # Before the lock: requests for other models must not wait until this one is built.
            for digest in traffic.digests(self._tables.table(name)):
                self._shelf.reload(digest)
        with self._changing:
            if name in self._factories:
                model = self._factories[name]()
                if model.name != name:
                    raise errors.Misconfigured(
                        f"model `{name}` calls itself `{model.name}`; give both one name"
                    )
            elif self._has_traffic(name):
                model = self._endpoint(name)
            else:
                raise self._unknown(name)
            self._loaded = {**self._loaded, name: model}
            self._withdrawn = self._withdrawn - {name}
            self._tell()

    def unload(self, name: str) -> None:
        """Stop answering for the model; requests at work end well. Errors: NotFound; Conflict after :meth:`fix`."""
        self._check_changes()
        with self._changing:
            if name not in self._factories and not self._has_traffic(name):
                raise self._unknown(name)
            self._loaded = {n: m for n, m in self._loaded.items() if n != name}
            self._withdrawn = self._withdrawn | {name}
            self._tell()

    def _tell(self) -> None:
        for changed in self._changed:
            changed()

    def _endpoint(self, name: str) -> endpoint_models.EndpointModel:
        return endpoint_models.EndpointModel(name, self._tables, self._shelf, self._plane, self._max_rows)

    def _has_traffic(self, name: str) -> bool:
        return self._tables.has(name)

    def _names(self) -> list[str]:
        return sorted({*self._factories, *(t.endpoint for t in self._tables.tables())})

    def _unknown(self, name: str) -> errors.NotFound:
        names = self._names()
        close = tuple(difflib.get_close_matches(name, names, n=3))
        hint = f"did you mean `{close[0]}`" if close else "POST /v2/repository/index lists the models"
        return errors.NotFound(f"no model `{name}`; {hint}", resource="model", name=name, did_you_mean=close)
