"""The Open Inference Protocol v2 without a transport: requests to tensors, answers to bytes, descriptions to JSON.

Source: the public protocol definition (kserve/open-inference-protocol) and its extensions for binary tensors,
classification, model configuration, model repository, statistics and scheduling (Triton Inference Server).
"""

__all__ = ["describe", "inference", "json_tensors", "request", "response"]
