"""The Open Inference Protocol v2 over gRPC: `inference.GRPCInferenceService` on grpc.aio."""

__all__ = ["schema", "server", "service", "status", "tensors"]
