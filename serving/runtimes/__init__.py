"""What executes models, one file per runtime."""

__all__ = ["function_runtime", "scores"]
