"""The prediction log of this process: chosen here from the settings, and fed by the plane."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mainspring.core import errors, settings
from mainspring.serving import logs, observed
from mainspring.serving.access import guard

if TYPE_CHECKING:
    from mainspring.core.monitoring import prediction_log

__all__ = ["observer", "start"]


def start(serving: settings.ServingSettings) -> prediction_log.PredictionLog | None:
    """The log to feed and to close at the end; None where none is wanted.

    Errors: MissingTool without PyArrow, InvalidSettings for a key of tokens that is none.
    """
    if not serving.log_predictions:
        return None
    try:
        from mainspring.core.monitoring import prediction_log, tokens
    except ModuleNotFoundError as error:
        raise errors.MissingTool(
            f"`serving.log_predictions` needs package `{error.name}`; run `pip install pyarrow`, or set it to 0",
            tool=str(error.name),
            fix="pip install pyarrow",
        ) from error
    return prediction_log.PredictionLog(
        serving.predictions_dir,
        max_bytes=serving.predictions_max_bytes,
        tokeniser=tokens.Tokeniser.load(serving.token_key),
    )


def observer(
    log: prediction_log.PredictionLog, share: float, *, chance: Callable[[], float] = random.random
) -> observed.Observer:
    """Puts a `share` of the answers into the log."""
    from mainspring.core.monitoring import prediction_log

    known: dict[str, tuple[dict[str, str], frozenset[str]]] = {}  # by bundle: asking it again costs 10 us

    def observe(scored: observed.Scored) -> None:
        if chance() >= share:
            return
        asked, bundle = scored.asked, scored.bundle
        digest = bundle.digest
        if digest not in known:
            types = {key.name: key.dtype for key in bundle.feature_service.keys}
            known[digest] = dict(types), bundle.input_policy.private
        key_types, private = known[digest]
        log.add(
            prediction_log.Entry(
                time_us=time.time_ns() // 1000,
                as_of_us=scored.as_of_us,
                endpoint=scored.endpoint,
                model_version=digest,
                traffic_version=scored.traffic_version,
                role=scored.role,
                request_id=logs.REQUEST_ID.get(),
                caller=guard.current().caller.name,
                keys={name: asked.columns[name] for name in key_types} if asked.by_entity else {},
                key_types=key_types,
                features=scored.inputs,
                scores=scored.scores,
                latency_seconds=scored.seconds,
                private=private,
            )
        )

    return observe
