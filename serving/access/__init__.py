"""Who asks, whether they may, and how much: the same for every protocol. Knows neither HTTP nor gRPC."""

__all__ = ["accounts", "callers", "guard", "limits"]
