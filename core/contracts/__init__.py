"""The words that rooms share over the wire: versioned pydantic models, nothing else.

Import the module, so that the origin shows: `from mainspring.core.contracts import training`.
"""

__all__ = ["base", "control", "deployment", "prediction", "training"]
