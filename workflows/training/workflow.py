"""`mainspring.TrainModel.v1`: data, model, gates, policy, approval, deployment. No clock, no randomness, no I/O."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

from temporalio import exceptions, workflow
from temporalio.workflow import ActivityConfig

with workflow.unsafe.imports_passed_through():
    from mainspring.core import errors, policy
    from mainspring.core.contracts import canaries, deployment, training
    from mainspring.core.contracts.base import Digest, Message
    from mainspring.core.contracts.evaluation import ChampionComparison, Evaluation
    from mainspring.core.contracts.training import Stage
    from mainspring.workflows import cancellation, options, run_log
    from mainspring.workflows import errors as temporal_errors
    from mainspring.workflows.deployment import messages as deployment_messages
    from mainspring.workflows.training import messages

M = TypeVar("M", bound=Message)

#: Runs of releases before it go from evaluation to the bundle.
_COMPARES: Final = "a candidate is held beside the champion"


@dataclass(frozen=True)
class _Approver:
    """Whoever decides; the control API has looked at the roles before it lets a decision through."""

    name: str
    roles: tuple[str, ...] = ("approver",)


@workflow.defn(name=training.TRAIN_WORKFLOW)
class TrainModel:
    @workflow.init
    def __init__(self, request: training.TrainRequest) -> None:
        self._request = request
        self._log = run_log.RunLog(request.run_id)
        self._decision: training.Decision | None = None
        self._result = training.TrainResult(run_id=request.run_id, stage=Stage.PENDING)

    @workflow.query(name=training.STATUS_QUERY)
    def status(self) -> training.RunStatus:
        return self._log.status()

    @workflow.update(name=training.DECIDE_UPDATE)
    def decide(self, decision: training.Decision) -> training.RunStatus:
        """Answers at once: whoever asks may hold what the run's next report has to wait for."""
        self._decision = decision
        self._log.says(f"{'approved' if decision.approve else 'rejected'} by `{decision.by}`")
        return self._log.status()

    @decide.validator
    def _check_decision(self, decision: training.Decision) -> None:
        try:
            if self._log.stage is not Stage.APPROVAL or self._decision is not None:
                raise errors.Conflict(
                    f"run `{self._request.run_id}` is at `{self._log.stage}` and waits for no decision; look at it first",
                    resource="run",
                    name=self._request.run_id,
                )
            self._may_decide(decision.by)
        except errors.MainspringError as error:
            raise temporal_errors.to_failure(error) from error

    @workflow.run
    async def run(self, request: training.TrainRequest) -> training.TrainResult:
        try:
            stage, message = await self._train()
        except (errors.MainspringError, exceptions.FailureError, asyncio.CancelledError) as failure:
            cancelled = exceptions.is_cancelled_exception(failure)
            error = None if cancelled else temporal_errors.from_failure(failure)
            why = "cancelled" if error is None else error.message
            await cancellation.through(self._end(Stage.CANCELLED if cancelled else Stage.FAILED, why, error))
            if error is None:
                raise
            raise temporal_errors.to_failure(error) from failure
        await cancellation.through(self._end(stage, message))
        return self._result

    async def _train(self) -> tuple[Stage, str]:
        training_set = await self._prepare_data()
        trained = await self._fit()
        with self._log.step(Stage.EVALUATE, "measuring against the gates") as step:
            asked = messages.Evaluate(request=self._request, output_path=trained.output_path)
            found = await self._do(messages.EVALUATE, asked, messages.Evaluated)
            step.detail = {name: round(m.auc, 4) for name, m in found.metrics.items()}
            self._keep(metrics=found.metrics, evaluation=found.evaluation, data_digest=training_set.digest)
            if workflow.patched(_COMPARES):
                found = await self._beside_champion(trained, found)
            step.detail |= _brief(found.evaluation)
        bundles = await self._bundle(trained, found)
        model = await self._register(trained, found, bundles)
        await self._admit(bundles)
        decision = await self._approval()
        if not decision.approve:
            return Stage.REJECTED, f"rejected by `{decision.by}`: {decision.reason or 'no reason given'}"
        if not self._request.deploy_to:
            return Stage.DONE, f"approved by `{decision.by}`; registered, not deployed"
        deployed = await self._deploy(bundles)
        if deployed.stage is not Stage.DONE:
            return Stage.ROLLED_BACK, f"the deployment went back: {deployed.message}"
        await self._do(
            messages.SET_CHAMPION, messages.SetChampion(model=model), messages.Done, options.INSIST
        )
        return Stage.DONE, f"approved by `{decision.by}`, deployed to `{self._request.deploy_to}`"

    async def _prepare_data(self) -> messages.Done:
        """The data steps. Each is told to be made from the one before: shared folders may change hands meanwhile."""
        lake = await self._data(Stage.INGEST, messages.INGEST, "reading the source")
        checked = await self._data(Stage.VALIDATE, messages.VALIDATE, "checking the data")
        self._same("lake", lake.digest, checked.made_from)
        views = await self._data(Stage.FEATURES, messages.FEATURES, "computing the feature views")
        self._same("lake", lake.digest, views.made_from)
        rows = await self._data(Stage.JOIN, messages.JOIN, "joining as of each row's own time")
        self._same("features", views.digest, rows.made_from)
        await self._data(Stage.LEAK_CHECK, messages.LEAK_CHECK, "perturbing the future")
        return rows

    async def _data(self, stage: Stage, name: str, message: str) -> messages.Done:
        with self._log.step(stage, message) as step:
            done = await self._do(name, self._request, messages.Done)
            step.detail, step.reused = done.detail, done.reused
        return done

    def _same(self, what: str, made: str, used: str) -> None:
        if made != used:
            raise errors.Conflict(
                f"the {what} of project `{self._request.project}` were replaced while run `{self._request.run_id}` used"
                " them; start it again when the other run has ended",
                resource=what,
                name=self._request.project,
            )

    async def _fit(self) -> messages.Trained:
        await self._data(Stage.FIT_PLAN, messages.FIT_PLAN, "fitting the plan on the training split")
        with self._log.step(Stage.TRAIN, f"training on {self._request.num_workers} Ray workers") as step:
            trained = await self._do(messages.TRAIN, self._request, messages.Trained, options.LONG)
            step.detail = trained.detail
            for record in (trained.usage, *trained.more_usage):
                await workflow.execute_activity(
                    messages.REPORT_USAGE, messages.ReportUsage(record=record), **options.INSIST
                )
        return trained

    async def _beside_champion(
        self, trained: messages.Trained, found: messages.Evaluated
    ) -> messages.Evaluated:
        digest, why_not = await self._champion()
        compared = messages.Compared(champion=ChampionComparison(note=why_not))
        if digest is not None:
            asked = messages.Compare(request=self._request, output_path=trained.output_path, champion=digest)
            compared = await self._do(messages.COMPARE, asked, messages.Compared)
        looked = found.evaluation.model_copy(update={"champion": compared.champion})
        self._keep(evaluation=looked)
        return found.model_copy(update={"evaluation": looked, "gates": {**found.gates, **compared.gates}})

    async def _champion(self) -> tuple[Digest | None, str]:
        """What the endpoint serves, or why there is none. A registry's alias decides nothing: whoever may write there moves it."""
        if not (endpoint := self._request.deploy_to):
            return None, "the run deploys to no endpoint"
        try:
            found = await self._do(
                deployment_messages.READ_ENDPOINT,
                deployment_messages.ReadEndpoint(endpoint=endpoint),
                deployment_messages.EndpointFound,
                options.EXCHANGE,
            )
        except exceptions.ActivityError as failure:
            if exceptions.is_cancelled_exception(failure):
                raise
            return None, f"`{endpoint}` could not be read: {temporal_errors.from_failure(failure).message}"
        if found.view is None:
            return None, f"`{endpoint}` has no champion yet"
        return found.view.traffic.stable, ""

    async def _bundle(self, trained: messages.Trained, found: messages.Evaluated) -> messages.Bundled:
        with self._log.step(Stage.BUNDLE, "signing") as step:
            asked = messages.Bundle(
                request=self._request,
                output_path=trained.output_path,
                metrics=found.metrics,
                gates=found.gates,
                evaluation=found.evaluation,
                started_at=workflow.info().start_time,
            )
            bundles = await self._do(messages.BUNDLE, asked, messages.Bundled)
            step.detail = {"digest": bundles.candidate, "baseline": bundles.baseline}
        self._keep(bundle_digest=bundles.candidate, bundle_path=bundles.path)
        return bundles

    async def _register(
        self, trained: messages.Trained, found: messages.Evaluated, bundles: messages.Bundled
    ) -> messages.Registered:
        with self._log.step(Stage.REGISTER, "registering the model") as step:
            asked = messages.Register(
                request=self._request, bundles=bundles, metrics=found.metrics, output_path=trained.output_path
            )
            model = await self._do(messages.REGISTER, asked, messages.Registered, options.INSIST)
            step.detail = {"model": model.name, "version": model.version}
            self._keep(model_name=model.name, model_version=model.version)
            await self._report("model.register", "register", {**step.detail, "bundle": bundles.candidate})
        return model

    async def _admit(self, bundles: messages.Bundled) -> None:
        with self._log.step(Stage.POLICY, "asking the policy") as step:
            asked = messages.Admit(request=self._request, bundles=bundles)
            admitted = await self._do(messages.ADMIT, asked, messages.Admitted)
            step.detail = {"rules": len(admitted.rules)}
            detail = {"bundle": bundles.candidate, "rules": admitted.rules}
            await self._report("policy.admit", "policy", detail)

    async def _approval(self) -> training.Decision:
        """Wait for a decision; none in time is a rejection."""
        timeout = timedelta(seconds=self._request.approval_timeout_seconds)
        with self._log.step(Stage.APPROVAL, f"waiting for an approver, for {timeout}") as step:
            if by := self._request.auto_approve_by:
                self._may_decide(by)
                self._decision = training.Decision(approve=True, by=by, reason="given with the request")
            try:
                await workflow.wait_condition(lambda: self._decision is not None, timeout=timeout)
            except TimeoutError:
                self._decision = training.Decision(
                    approve=False, by="system", reason=f"nobody decided within {timeout}"
                )
            decision = self._decision
            assert decision is not None
            step.detail = decision.model_dump(mode="json", exclude={"step", "roles"})
            await self._report("approval.decide", "approval", step.detail, actor=decision.by)
        return decision

    def _may_decide(self, by: str) -> None:
        policy.decide_approval(
            _Approver(by),
            requested_by=self._request.requested_by,
            on_behalf_of=self._request.on_behalf_of,
            prompted_by=self._request.prompted_by,
            environment=self._request.environment,
        ).require()

    async def _deploy(self, bundles: messages.Bundled) -> deployment.DeployResult:
        with self._log.step(Stage.DEPLOY, f"deploying to `{self._request.deploy_to}`") as step:
            probes = await self._do(messages.RECORD_PROBES, self._request, messages.Done)
            found = await self._do(
                deployment_messages.READ_ENDPOINT,
                deployment_messages.ReadEndpoint(endpoint=self._request.deploy_to),
                deployment_messages.EndpointFound,
                options.EXCHANGE,
            )
            if found.view is None:
                # A canary needs somebody to be compared with: the logistic regression takes the empty endpoint.
                self._log.says("the baseline takes the empty endpoint first")
                await self._child(bundles.baseline, "deploy-baseline", if_empty=True)
            self._log.says(f"canary on `{self._request.deploy_to}`")
            deployed = await self._child(bundles.candidate, canaries.CHILD)
            self._keep(traffic_version=deployed.traffic_version)
            step.detail = {
                **probes.detail,
                "outcome": str(deployed.stage),
                "traffic_version": deployed.traffic_version,
                "canaries": [s.detail for s in deployed.steps if s.step is Stage.CANARY],
            }
        return deployed

    @workflow.signal(name=deployment_messages.TOLD)
    def deployment_told(self, told: deployment_messages.Told) -> None:
        self._log.says(told.message)

    async def _child(self, digest: str, suffix: str, *, if_empty: bool = False) -> deployment.DeployResult:
        run_id = f"{self._request.run_id}-{suffix}"
        result: deployment.DeployResult = await workflow.execute_child_workflow(
            deployment.DEPLOY_WORKFLOW,
            deployment.DeployRequest(
                run_id=run_id,
                parent_run_id=self._request.run_id,
                project=self._request.project,
                environment=self._request.environment,
                endpoint=self._request.deploy_to,
                bundle_digest=digest,
                requested_by=self._request.requested_by,
                if_empty=if_empty,
            ),
            id=run_id,
            result_type=deployment.DeployResult,
            # Terminated, which is the default, it would leave its canary in force.
            parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
        )
        cancellation.notice()
        return result

    async def _do(
        self, name: str, asked: Message, answer: type[M], config: ActivityConfig = options.WORK
    ) -> M:
        result: M = await workflow.execute_activity(name, asked, result_type=answer, **config)
        cancellation.notice()
        return result

    async def _report(
        self, action: str, step: str, detail: dict[str, Any], *, actor: str | None = None
    ) -> None:
        event = training.RunEvent(
            event_key=run_log.event_key(self._request.run_id, step),
            run_id=self._request.run_id,
            action=action,
            actor=actor or self._request.requested_by,
            detail=detail,
        )
        await workflow.execute_activity(
            deployment_messages.REPORT_EVENT,
            deployment_messages.ReportEvent(event=event),
            **options.INSIST,
        )

    def _keep(self, **found: Any) -> None:
        self._result = self._result.model_copy(update=found)

    async def _end(self, stage: Stage, message: str, error: errors.MainspringError | None = None) -> None:
        """On record first, so that whoever sees the end finds its result there."""
        self._keep(stage=stage, message=message, steps=self._log.steps)
        detail = {"stage": str(stage), "message": message, "result": self._result.model_dump(mode="json")}
        try:
            await self._report("run.end", "end", detail)
        except exceptions.FailureError as failure:
            message += f"; the end is not on record: {temporal_errors.from_failure(failure).message}"
            self._keep(message=message)
        self._log.end(stage, message, error)


def _brief(looked: Evaluation) -> dict[str, Any]:
    """What an approver sees of it beside the AUCs; the card has the tables."""
    told: dict[str, Any] = {}
    for found in looked.fairness:
        if found.demographic_parity_difference is not None:
            told[f"demographic_parity_difference/{found.column}"] = round(
                found.demographic_parity_difference, 4
            )
        if found.equalized_odds_difference is not None:
            told[f"equalized_odds_difference/{found.column}"] = round(found.equalized_odds_difference, 4)
    if looked.latency is not None:
        told["latency_p99_ms"] = round(looked.latency.p99_ms, 3)
    if (champion := looked.champion) is not None and champion.auc_gain is not None:
        told["auc_gain_over_champion"] = round(champion.auc_gain, 4)
    elif champion is not None:
        told["champion"] = f"not compared: {champion.note}"
    return told
