"""What is HTTP and nothing else."""

__all__: list[str] = []
