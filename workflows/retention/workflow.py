"""One removal: a step, tried again as local work is. That it is due, a schedule says (`core/client/schedules.py`)."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from mainspring.core.contracts import retention
    from mainspring.workflows import options
    from mainspring.workflows.retention import messages


@workflow.defn(name=retention.RETENTION_WORKFLOW)
class EnforceRetention:
    @workflow.run
    async def run(self, request: retention.RetentionRequest) -> retention.RetentionOutcome:
        """What was removed. A second run finds less to remove, and is no error."""
        removed: retention.RetentionOutcome = await workflow.execute_activity(
            messages.REMOVE, request, result_type=retention.RetentionOutcome, **options.WORK
        )
        return removed
