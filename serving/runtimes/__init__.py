"""What executes models, one file per runtime."""

__all__ = [
    "by_rows",
    "candidates",
    "chosen",
    "function_runtime",
    "measured",
    "metrics",
    "policy",
    "routed",
    "scores",
]
