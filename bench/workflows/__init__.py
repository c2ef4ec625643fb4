"""Workflows measured: orchestration, cancellations, deployments under load, the replay guard, the thin client."""

__all__: list[str] = []
