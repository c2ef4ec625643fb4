"""RunPipeline: a pipeline that a team wrote as code, step by step in Ray jobs."""

__all__: list[str] = []
