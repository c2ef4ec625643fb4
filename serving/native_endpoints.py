"""Which endpoints the native front can answer, and as what: bundles that are native throughout.

See docs/adr/0024-predictions-in-the-front.md and docs/adr/0037-endpoints-over-v2-and-limits-of-all-processes.md. What is not native here is the app's; nothing is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

from mainspring.core import ports
from mainspring.core.contracts import deployment, inputs
from mainspring.core.features import derivation
from mainspring.core.models import native_runtime, trees_runtime
from mainspring.native import front, mlp, table, trees
from mainspring.serving import bundles, signed_bundles
from mainspring.serving.runtimes import routed

__all__ = ["endpoint"]

#: What a column may be that the plan reads.
_INPUTS: Final = frozenset({"float32", "int64", "string"})

#: Names that JSON writes as they are.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,256}")

Tables = Mapping[str, table.OnlineTable]


def endpoint(
    traffic: deployment.TrafficTable,
    shelf: bundles.BundleShelf,
    tables: Tables,
    *,
    max_rows: int,
    infers: bool,
) -> front.Endpoint | None:
    """The endpoint as the front has it; None where the app must answer. `infers`: it is a model of the v2 protocol now.

    A shadow sees every request, which is the app's to send, and what is counted of each score the app counts. A bundle that is not in memory is the app's to load.
    """
    if traffic.shadow is not None or traffic.counts_scores:
        return None
    made = [_bundle(d, shelf, tables) for d in (traffic.stable, traffic.canary) if d is not None]
    if None in made:
        return None
    stable, canary = (*made, None)[:2]
    if stable is None:
        return None
    return front.Endpoint(
        name=traffic.endpoint,
        version=traffic.version,
        max_rows=max_rows,
        stable=stable,
        canary=canary,
        canary_percent=traffic.canary_percent,
        infers=infers,
    )


def _bundle(digest: str, shelf: bundles.BundleShelf, tables: Tables) -> front.Bundle | None:
    if not shelf.is_resident(digest):
        return None
    loaded = shelf.get(digest)
    if not isinstance(loaded, signed_bundles.SignedBundle):
        return None
    runtime = routed.reference(loaded.runtime)
    model = _model(runtime)
    if model is None or not set(loaded.input_columns.values()) <= _INPUTS:
        return None
    lookups = _lookups(loaded, tables)
    derives = loaded.derivation.compiled if isinstance(loaded.derivation, derivation.Derivation) else None
    is_pythons = derives is None and loaded.derivation is not derivation.nothing
    by_entity = lookups is not None and not is_pythons
    return front.Bundle(
        digest=loaded.digest,
        inputs=list(loaded.input_columns.items()),
        program=loaded.program.compiled,
        model=model,
        output=runtime.output if isinstance(runtime, trees_runtime.TreesRuntime) else 0,
        entity=_entity(loaded) if by_entity else (),
        keys=[key.name for key in loaded.feature_service.keys],
        lookups=lookups if by_entity and lookups is not None else (),
        policies=_policies(loaded.input_policy),
        derives=derives if by_entity else None,
    )


def _model(runtime: ports.ModelRuntime) -> mlp.Mlp | trees.Trees | None:
    if isinstance(runtime, native_runtime.NativeRuntime | trees_runtime.TreesRuntime):
        return runtime.model
    return None


def _entity(loaded: signed_bundles.SignedBundle) -> list[tuple[str, str]]:
    named = {c.name: c.dtype for c in (*loaded.feature_service.keys, *loaded.request_columns)}
    return list(named.items())


def _lookups(loaded: signed_bundles.SignedBundle, tables: Tables) -> list[front.Lookup] | None:
    """None where a view has no table yet, the service has a view twice, or JSON would have to escape a name."""
    views = loaded.feature_service.views
    if len({view.name for view in views}) != len(views) or not all(view.name in tables for view in views):
        return None
    if not all(_PLAIN.fullmatch(view.name) for view in views):
        return None
    return [front.Lookup(v.name, tables[v.name], [field.name for field in v.fields]) for v in views]


def _policies(policy: inputs.InputPolicy) -> list[front.Policy]:
    """What the sanitiser may find in numbers and strings that JSON can carry: it is then the app's to count and to say."""
    return [
        front.Policy(
            name,
            -math.inf if one.low is None or one.out_of_range == "accept" else one.low,
            math.inf if one.high is None or one.out_of_range == "accept" else one.high,
            one.missing == "refuse",
        )
        for name, one in policy.columns.items()
        if one.missing == "refuse" or one.out_of_range != "accept"
    ]
