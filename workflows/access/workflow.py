"""One timer, and one note when it is due. The access itself ends by its own time (`docs/adr/0039-access-for-a-time.md`)."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from mainspring.core.contracts import access_requests
    from mainspring.workflows import options
    from mainspring.workflows.access import messages

#: The control API's clock decides what is due; where it is behind Temporal's, it is asked again after so long.
AGAIN = timedelta(seconds=30)


@workflow.defn(name=access_requests.EXPIRE_WORKFLOW)
class ExpireAccess:
    @workflow.run
    async def run(self, request: access_requests.ExpireRequest) -> access_requests.ExpireOutcome:
        """What the request is after its time: ended by this, or by somebody before."""
        await workflow.sleep(max(timedelta(0), request.due_at - workflow.now()))
        while True:
            found: access_requests.ExpireOutcome = await workflow.execute_activity(
                messages.EXPIRE,
                request,
                result_type=access_requests.ExpireOutcome,
                **options.UNTIL_DONE,
            )
            if found.state is not request.state:
                return found
            await workflow.sleep(AGAIN)
