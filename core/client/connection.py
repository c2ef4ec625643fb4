"""The one way in which clients of ours reach Temporal."""

from __future__ import annotations

from temporalio import client as temporal
from temporalio.contrib.pydantic import pydantic_data_converter

from mainspring.core import errors

__all__ = ["connect"]


async def connect(address: str, *, namespace: str) -> temporal.Client:
    """Errors: DependencyDown where no frontend answers at `address`."""
    try:
        return await temporal.Client.connect(
            address, namespace=namespace, data_converter=pydantic_data_converter
        )
    except RuntimeError as error:
        raise errors.DependencyDown(
            f"temporal does not answer at `{address}`; start it or correct `workflow.address`",
            name="temporal",
        ) from error
