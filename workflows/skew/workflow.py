"""One check: a step, tried again as local work is. That it is due, a schedule says (`schedule.py`)."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from mainspring.core.contracts import skew
    from mainspring.workflows import options
    from mainspring.workflows.skew import messages


@workflow.defn(name=skew.SKEW_WORKFLOW)
class CheckSkew:
    @workflow.run
    async def run(self, request: skew.SkewRequest) -> skew.SkewOutcome:
        """What the check found. Skew is a finding and no failure; a check that cannot be made fails."""
        found: skew.SkewOutcome = await workflow.execute_activity(
            messages.CHECK, request, result_type=skew.SkewOutcome, **options.WORK
        )
        return found
