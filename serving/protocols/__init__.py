"""Protocols that have a codec of their own; HTTP and gRPC carry them."""

__all__ = ["predict", "v2"]
