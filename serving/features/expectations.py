"""Pushes of views with expectations pass them whole, or are refused and held: chosen here from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.core import errors, ports, settings

if TYPE_CHECKING:
    from mainspring.core.quality import pushes

__all__ = ["gated", "require"]


def gated(online: ports.OnlineFeatures, serving: settings.ServingSettings) -> pushes.CheckedFeatures | None:
    """`online` behind the suites of `serving.expectations_dir`; None where there are none, and Polars is not imported.

    Errors: Misconfigured for a file that is no suite, or of a suite that a push cannot be held against; MissingTool.
    """
    if not any(serving.expectations_dir.glob("*.json")):
        return None
    try:
        from mainspring.core.quality import pushes
    except ModuleNotFoundError as error:
        raise errors.MissingTool(
            f"expectations in `{serving.expectations_dir}` need package `{error.name}`; run `pip install polars`, or move"
            " them away",
            tool=str(error.name),
            fix="pip install polars",
        ) from error
    try:
        return pushes.CheckedFeatures(
            online, pushes.read_suites(serving.expectations_dir), serving.pushes_dir
        )
    except errors.Rejected as error:
        raise errors.Misconfigured(f"expectations are not usable: {error.message}") from error


def require(checked: pushes.CheckedFeatures | None) -> pushes.CheckedFeatures:
    """Errors: NotFound where no view has expectations: then nothing can be held."""
    if checked is None:
        raise errors.NotFound(
            "no view here has expectations, so no push is ever held; put them into `serving.expectations_dir`",
            resource="quarantine",
            name="pushes",
        )
    return checked
