"""One materialisation: a step that goes on where it was. That it is due, a schedule says (`core/client/schedules.py`)."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from mainspring.core.contracts import materialising
    from mainspring.workflows import options
    from mainspring.workflows.materialising import messages


@workflow.defn(name=materialising.MATERIALIZE_WORKFLOW)
class Materialize:
    @workflow.run
    async def run(self, request: materialising.MaterializeRequest) -> materialising.MaterializeOutcome:
        """What was brought. A run that fails leaves what it has brought, and the next one goes on from there."""
        brought: materialising.MaterializeOutcome = await workflow.execute_activity(
            messages.PUSH, request, result_type=materialising.MaterializeOutcome, **options.WORK
        )
        return brought
