"""Lineage: what jobs say they read and made (`jobs`), as OpenLineage events, and how such events are read (`reading`).

`openlineage_adapter` is the only file that imports OpenLineage's client; `emitter` sends events, and never fails a job.
"""

__all__: list[str] = []
