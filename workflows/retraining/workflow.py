"""One check, and a training where it is an alarm. That a check is due, a schedule says."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from mainspring.core.contracts import retraining
    from mainspring.workflows import options
    from mainspring.workflows.retraining import messages


@workflow.defn(name=retraining.RETRAIN_WORKFLOW)
class RetrainOnDrift:
    @workflow.run
    async def run(self, request: retraining.RetrainRequest) -> retraining.RetrainOutcome:
        """What was found. The training goes on by itself: its id is in the outcome. A check that cannot be made fails."""
        found = await workflow.execute_activity(
            messages.CHECK, request, result_type=messages.Checked, **options.WORK
        )
        alarms = () if found.report is None else found.report.alarms
        outcome = retraining.RetrainOutcome(
            project=request.project,
            endpoint=request.endpoint,
            bundle_digest=found.bundle_digest,
            predictions=found.predictions,
            known=found.known,
            alarms=alarms,
            message=found.message,
        )
        if not alarms or found.report is None:
            return outcome
        started = await workflow.execute_activity(
            messages.START,
            messages.Start(
                request=request,
                alarms=alarms,
                key=workflow.info().workflow_id,
                until=max(window.ends for window in found.report.windows),
            ),
            result_type=messages.Started,
            **options.INSIST,
        )
        return outcome.model_copy(update={"run_id": started.run_id, "message": started.message})
