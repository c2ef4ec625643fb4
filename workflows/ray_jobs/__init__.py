"""Programs that run inside Ray, and the messages that start them. `python -m mainspring.workflows.ray_jobs.train`."""

__all__ = ["train_messages"]
