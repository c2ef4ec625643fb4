"""The one way in which clients and workers of ours reach Temporal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import client as temporal
from temporalio import runtime

from mainspring.core import errors
from mainspring.core.client import payloads, tracing

if TYPE_CHECKING:
    from mainspring.core import settings

__all__ = ["connect", "connect_by"]


async def connect(
    address: str,
    *,
    namespace: str,
    codec: payloads.SealedPayloads | None = None,
    within: runtime.Runtime | None = None,
) -> temporal.Client:
    """Without `codec` payloads go as they are, and encrypted ones cannot be read.

    Errors: DependencyDown where no frontend answers at `address`.
    """
    try:
        return await temporal.Client.connect(
            address,
            namespace=namespace,
            data_converter=payloads.converter_of(codec),
            interceptors=[tracing.StartsWithTrace()],
            runtime=within,
        )
    except RuntimeError as error:
        raise errors.DependencyDown(
            f"temporal does not answer at `{address}`; start it or correct `workflow.address`",
            name="temporal",
        ) from error


async def connect_by(
    where: settings.WorkflowSettings, *, within: runtime.Runtime | None = None
) -> temporal.Client:
    """As :func:`connect`, with the encryption that is in force. Errors: Misconfigured for a bad file of keys."""
    codec = payloads.codec_of(where)
    return await connect(where.address, namespace=where.namespace, codec=codec, within=within)
