"""HTTP: parses requests into contracts, answers contracts, maps errors. Nothing else knows HTTP."""

__all__ = ["bodies", "edge", "errors", "routes"]
