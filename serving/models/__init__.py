"""What the protocols call: models that take named tensors and give named tensors."""

__all__ = [
    "book",
    "bundle_models",
    "datatypes",
    "endpoint_models",
    "function_model",
    "repository",
    "tensor_model",
]
