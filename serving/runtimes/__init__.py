"""What executes models, one file per runtime."""

__all__ = ["chosen", "function_runtime", "scores"]
