"""The data plane as replicas of Ray Serve."""
