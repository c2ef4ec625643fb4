"""One check on record, and a retraining where it is asked for and due. That a check is due, a schedule says."""

from __future__ import annotations

from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from mainspring.core.contracts import alerts, drift_checks, monitoring, retraining
    from mainspring.workflows import options
    from mainspring.workflows.drift_checks import messages


@workflow.defn(name=drift_checks.CHECK_WORKFLOW)
class CheckDrift:
    @workflow.run
    async def run(self, request: drift_checks.DriftCheckRequest) -> drift_checks.DriftCheckOutcome:
        """What was found. A check that cannot be made fails, and changes no alert."""
        found = await workflow.execute_activity(
            messages.CHECK, request, result_type=messages.Checked, **options.WORK
        )
        outcome = drift_checks.DriftCheckOutcome(
            project=request.project,
            endpoint=request.endpoint,
            damaged=found.damaged,
            message=found.message,
        )
        report = found.report
        if report is None:
            return outcome
        recorded = await workflow.execute_activity(
            messages.RECORD,
            messages.Record(
                request=request,
                report=report,
                html_digest=found.html_digest,
                made_by=workflow.info().workflow_id,
            ),
            result_type=messages.Recorded,
            **options.INSIST,
        )
        outcome = outcome.model_copy(
            update={
                "bundle_digest": report.bundle_digest,
                "rows": report.rows,
                "known": report.known,
                "report_id": recorded.report_id,
                "alarms": tuple(finding.message for finding in report.alarms),
                "alerts": recorded.alerts,
                "message": report.message,
            }
        )
        is_scheduled = request.retrain and any(f.kind in monitoring.TRAINABLE for f in report.alarms)
        if not is_scheduled and recorded.retrain is None:
            return outcome
        retrained = await workflow.execute_child_workflow(
            retraining.RETRAIN_WORKFLOW,
            retraining.RetrainRequest(
                project=request.project,
                endpoint=request.endpoint,
                environment=request.environment,
                sample_fraction=request.sample_fraction,
                window_days=request.window_hours / 24,
                split=request.retrain_split,
                cooldown_hours=request.cooldown_hours,
                **_answering(request, recorded.retrain),
            ),
            id=f"{workflow.info().workflow_id}-retrain",
            result_type=retraining.RetrainOutcome,
        )
        return outcome.model_copy(update={"run_id": retrained.run_id, "message": retrained.message})


def _answering(request: drift_checks.DriftCheckRequest, ruled: alerts.Retraining | None) -> dict[str, Any]:
    """Who answers for the training: who put the schedule that asks for it, or the rule; and who else had a hand in it."""
    if ruled is None:
        return {"on_behalf_of": request.on_behalf_of, "prompted_by": request.prompted_by}
    return {
        "on_behalf_of": ruled.asked_by,
        "prompted_by": request.prompted_by or request.on_behalf_of,
        "alerts": ruled.alerts,
    }
