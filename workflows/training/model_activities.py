"""From a fitted plan to a registered, admitted bundle: the Ray job, the gates, signing, MLflow and the policy."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from temporalio import activity

from mainspring.core import canonical, errors, job_logs, policy, projects, settings, trainers
from mainspring.core.contracts import evaluation as looks
from mainspring.core.contracts import inputs, training
from mainspring.core.contracts.capacity import Capacity
from mainspring.core.features import frames, plan
from mainspring.core.lineage import emitter, jobs
from mainspring.core.models import bundle, comparison, evaluation, groups, latency, samples, signing
from mainspring.core.supply import admission, provenance, sbom
from mainspring.workflows import budgets, heartbeat
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.ray_jobs import (
    attach,
    books,
    client,
    job_files,
    paying,
    train_messages,
    tune_messages,
    usage,
)
from mainspring.workflows.training import (
    attested,
    card,
    catalog,
    champion,
    examined,
    input_policy,
    lineage,
    messages,
    recorded_samples,
    run_folder,
)
from mainspring.workflows.training.data_activities import in_thread

LEAK_EVIDENCE = "evidence/leak_check.json"
GATES_EVIDENCE = "evidence/gates.json"
EVALUATION_EVIDENCE = "evidence/evaluation.json"


class ModelActivities:
    """`settings` says where state, keys, bundles, MLflow and Ray are. `tell` None: no lineage is told."""

    def __init__(
        self,
        in_force: settings.Settings,
        *,
        poll_seconds: float = 1.0,
        tell: emitter.Emitter | None = None,
        budget: budgets.Budgets | None = None,
    ) -> None:
        """`poll_seconds`: between two looks at the Ray job. `budget` None: nothing ends a job for its cost."""
        self._settings = in_force
        self._budget = budget
        self._poll_seconds = poll_seconds
        self._tell = tell

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [
            self.train,
            self.evaluate,
            self.compare,
            self.bundle,
            self.register,
            self.admit,
            self.set_champion,
        ]

    @activity.defn(name=messages.TRAIN)
    async def train(self, request: training.TrainRequest) -> messages.Trained:
        """Submit the job, or attach to the one that a worker before us submitted."""
        folder = self._folder(request)
        with temporal_errors.typed():
            family = attach.family()
            book = books.Book(root=folder.root / "books", family=family)
            spec = self._spec(request, folder).model_copy(update={"book": book})
            job_files.write_file(folder.spec, spec.model_dump_json(indent=1).encode())
            base_id, ray = f"{request.run_id}-train-{family}", self._settings.ray
            gpus = 1.0 if ray.train_device == "gpu" else 0.0  # of each of its workers
            pays = paying.of(
                self._budget, request, book, base_id, "ray-train", "the last checkpoint", ray, gpus=gpus
            )
            work = attach.Work(
                base_id=base_id,
                entrypoint=lambda k: shlex.join(
                    (
                        *(sys.executable, "-m", train_messages.MODULE),
                        *("--spec", str(folder.spec), "--out", str(folder.output(family, k))),
                    )
                ),
                answer=lambda k: train_messages.read_output(folder.output(family, k)),
                metadata={"run_id": request.run_id, "project": request.project},
                timeout_seconds=ray.job_timeout_seconds,
                paying=pays,
                step=training.Stage.TRAIN,
                told=lambda: train_messages.told(spec),
                kept=job_logs.JobLogs.of(self._settings.stack.state_dir, request.project),
            )
            of = lineage.run(request, messages.TRAIN)
            async with heartbeat.beating(), emitter.telling_async(self._tell, of) as told:
                async with client.RayJobs.connect(ray.dashboard_url, ray.token_file) as ray_jobs:
                    done = await attach.run_to_end(ray_jobs, work, poll_seconds=self._poll_seconds)
                told.reads += _learned_from(folder)
                told.makes.append(lineage.weights(request, _fitted(folder)))
            own = folder.metered(family, done.answer.cpu_seconds, goes_on=done.answer.is_resumed)
            owed = book.owed(_usage_key(request, family, done.attempts)) or books.Used(cpu_seconds=own)
        capacity, output = paying.capacity_of(pays, ray), folder.output(family, done.attempts - 1)
        return _trained(request, done, output, family, owed, capacity, gpus)

    def _spec(self, request: training.TrainRequest, folder: run_folder.RunFolder) -> train_messages.TrainSpec:
        project = projects.load_project(request.project)
        model_spec = tune_messages.changed(project.model_spec(), request.model)
        rows = folder.kept(projects.TrainingSetReport)
        # What checkpoints are told of lies beside them: another training has other ones.
        run_name = f"{request.run_id}-{_learning(request, rows.digest, folder, model_spec)}"
        return train_messages.TrainSpec(
            training_set=rows.path,
            plan=folder.plan,
            label=rows.label,
            model_spec=model_spec,
            num_workers=request.num_workers,
            min_workers=_fewest(request),
            device=self._settings.ray.train_device,
            epochs=request.epochs,
            seed=request.seed,
            run_name=run_name,
            storage_path=folder.checkpoints,
            storage_uri=self._settings.ray.checkpoints,
            checkpoint_steps=self._settings.ray.checkpoint_steps,
            out_dir=folder.root,
            progress=folder.checkpoints / f"{run_name}.progress.json",
            project=request.project if isinstance(project, trainers.Trainer) else "",
        )

    @activity.defn(name=messages.EVALUATE)
    async def evaluate(self, asked: messages.Evaluate) -> messages.Evaluated:
        def work() -> messages.Evaluated:
            request, folder = asked.request, self._folder(asked.request)
            project = projects.load_project(request.project)
            output = train_messages.read_output(Path(asked.output_path))
            scored, rows = pl.read_parquet(output.predictions_path), folder.kept(projects.TrainingSetReport)
            metrics = _metrics(scored, rows)
            timed = examined.in_time(self._settings.serving, folder, output)
            found = examined.in_parts(project, rows, scored).model_copy(update={"latency": timed})
            gates = _gates(project, request)
            with emitter.telling(self._tell, lineage.run(request, messages.EVALUATE)) as told:
                told.reads += [*_learned_from(folder), jobs.Dataset("weights", request.run_id, "weights")]
                told.makes.append(jobs.Dataset("evaluation", request.run_id, "evaluation"))
                compared = _compared(metrics, gates, folder)
                compared |= groups.check_fairness(found.fairness, gates) | latency.check(timed, gates)
            return messages.Evaluated(metrics=metrics, gates=compared, evaluation=found)

        return await in_thread(work)

    @activity.defn(name=messages.COMPARE)
    async def compare(self, asked: messages.Compare) -> messages.Compared:
        def work() -> messages.Compared:
            request = asked.request
            output = train_messages.read_output(Path(asked.output_path))
            found = champion.beside(
                self._settings,
                asked.champion,
                self._folder(request),
                pl.read_parquet(output.predictions_path),
            )
            gates = _gates(projects.load_project(request.project), request)
            return messages.Compared(champion=found, gates=comparison.check(found, gates))

        return await in_thread(work)

    @activity.defn(name=messages.BUNDLE)
    async def bundle(self, asked: messages.Bundle) -> messages.Bundled:
        def work() -> messages.Bundled:
            key = signing.ensure_key(self._settings.models.signing_key)
            trusted = self._settings.serving.trusted_keys_dir
            key.publish(trusted)
            trust = signing.TrustedKeys.load(trusted)
            store = bundle.BundleStore(self._settings.serving.bundle_dir)
            folder = self._folder(asked.request)
            with emitter.telling(self._tell, lineage.run(asked.request, messages.BUNDLE)) as told:
                told.reads += _learned_from(folder)
                told.reads.append(jobs.Dataset("weights", asked.request.run_id, "weights"))
                build = _build(asked, folder)
                candidate, baseline = (store.write(c, key, build, trust) for c in _contents(asked, folder))
                told.makes.append(lineage.model(candidate.digest, _fitted(folder)))
                told.makes.append(lineage.model(baseline.digest, _fitted(folder), name="model_baseline"))
            return messages.Bundled(
                candidate=candidate.digest,
                baseline=baseline.digest,
                path=str(candidate.path),
                signer=candidate.signer,
            )

        return await in_thread(work)

    @activity.defn(name=messages.REGISTER)
    async def register(self, asked: messages.Register) -> messages.Registered:
        def work() -> messages.Registered:
            # MLflow takes over a second and 190 MB to import: the worker pays when it first registers.
            from mainspring.core.models import mlflow_adapter

            request = asked.request
            tracking = mlflow_adapter.Tracking(self._settings.tracking.uri)
            output = train_messages.read_output(Path(asked.output_path))
            tags = {"requested_by": request.requested_by, "environment": request.environment}
            run = tracking.ensure_run(request.project, request.run_id, tags=tags)
            # What it may cost is raised when a run is resumed, and MLflow takes no other value of a parameter.
            params = request.model_dump(mode="json", exclude={"run_id", "project", "max_cost"})
            metrics = {name: m.model_dump() for name, m in asked.metrics.items()}
            tracking.log(run, params=params, metrics=mlflow_adapter.flat_metrics(metrics))
            for epoch in output.epochs:
                curve = {"train_loss": epoch.train_loss, "valid_auc": epoch.valid_auc}
                tracking.log(run, metrics=curve, step=epoch.epoch)
            with emitter.telling(self._tell, lineage.run(request, messages.REGISTER)) as told:
                told.reads.append(lineage.model(asked.bundles.candidate))
                made = tracking.register(
                    request.project, asked.bundles.candidate, mlflow_run_id=run, tags=tags
                )
                told.makes.append(lineage.registered(made.version))
            tracking.set_alias(made.name, "candidate", made.version)
            tracking.finish(run)
            return messages.Registered(name=made.name, version=made.version)

        return await in_thread(work)

    @activity.defn(name=messages.ADMIT)
    async def admit(self, asked: messages.Admit) -> messages.Admitted:
        def work() -> messages.Admitted:
            trust = signing.TrustedKeys.load(self._settings.serving.trusted_keys_dir)
            gate = admission.Admission(self._settings)
            rules: list[str] = []
            for digest in (asked.bundles.candidate, asked.bundles.baseline):
                of_model = policy.admit_bundle(_facts(gate.open(digest), trust, asked.request))
                of_supply = gate.ask(digest, asked.request.environment)
                of_model.require()
                of_supply.require()
                rules = [rule.rule_id for rule in (*of_model.rules, *of_supply.rules)]
            return messages.Admitted(rules=rules)

        return await in_thread(work)

    @activity.defn(name=messages.SET_CHAMPION)
    async def set_champion(self, asked: messages.SetChampion) -> messages.Done:
        def work() -> messages.Done:
            from mainspring.core.models import mlflow_adapter

            tracking = mlflow_adapter.Tracking(self._settings.tracking.uri)
            tracking.set_alias(asked.model.name, "champion", asked.model.version)
            return messages.Done()

        return await in_thread(work)

    def _folder(self, request: training.TrainRequest) -> run_folder.RunFolder:
        return run_folder.RunFolder.of(self._settings.stack.state_dir, request)


def _fitted(folder: run_folder.RunFolder) -> plan.FittedPlan:
    return plan.FittedPlan.from_bytes(folder.plan.read_bytes())


def _learned_from(folder: run_folder.RunFolder) -> list[jobs.Dataset]:
    return [
        lineage.read_training_set(folder.kept(projects.TrainingSetReport)),
        lineage.version_of(lineage.fitted_plan(_fitted(folder))),
    ]


def _learning(
    request: training.TrainRequest, rows: str, folder: run_folder.RunFolder, spec: projects.ModelSpec
) -> str:
    """Names what decides the weights: a run that is started again goes on from its checkpoint only if it is the same."""
    decides: dict[str, Any] = {
        "rows": rows,
        "plan": folder.plan.read_text(),
        "model": spec.model_dump(mode="json"),
        "request": [request.num_workers, request.epochs, request.seed],
    }
    if (fewest := _fewest(request)) is not None:
        decides["min_workers"] = fewest
    return canonical.digest(decides).removeprefix("sha256:")[:12]


def _fewest(request: training.TrainRequest) -> int | None:
    """Of an elastic training; None: it has as many workers as it asks for."""
    if request.min_workers is None or request.min_workers >= request.num_workers:
        return None
    return request.min_workers


def _usage_key(request: training.TrainRequest, family: str, attempts: int) -> str:
    return f"{request.run_id}/train/{family}/{attempts - 1}"


def _trained(
    request: training.TrainRequest,
    done: attach.Done[train_messages.TrainOutput],
    output: Path,
    family: str,
    owed: books.Used,
    capacity: Capacity,
    gpus: float,
) -> messages.Trained:
    """`owed`: what is this execution's to pay; `gpus`: those of each worker."""
    answer, job = done.answer, done.job
    records = usage.with_memory(
        usage.core_hours(
            request,
            job,
            # The last job's answer has the CPU time of the ones before it, up to their checkpoints.
            key=_usage_key(request, family, done.attempts),
            service="ray-train",
            cpu_seconds=owed.cpu_seconds,
            capacity=capacity,
        ),
        owed.memory_byte_seconds,
    )
    used, *more = usage.with_gpus(records, gpus * owed.wall_seconds)
    return messages.Trained(
        detail={
            "job": job.submission_id,
            "epochs": len(answer.epochs),
            "best_epoch": answer.best_epoch,
            "valid_auc": round(answer.epochs[answer.best_epoch].valid_auc, 4),
            "job_seconds": round(answer.wall_seconds, 1),
            "cpu_seconds": round(answer.cpu_seconds, 1),
        },
        attempts=done.attempts,
        output_path=str(output),
        usage=used,
        more_usage=more,
    )


def _metrics(scored: pl.DataFrame, rows: projects.TrainingSetReport) -> dict[str, training.Metrics]:
    """By split and peer. The base rate is the training split's: what one would say without looking."""
    metrics: dict[str, training.Metrics] = {}
    for split in ("test", "valid"):
        part = scored.filter(pl.col("split") == split)
        labels = part["label"].to_numpy()
        metrics[split] = evaluation.evaluate(labels, part["score"].to_numpy(), split=split)
        peers = {
            "logistic_regression": part["baseline_score"].to_numpy(),
            "base_rate": np.full(len(labels), rows.base_rate["train"]),
        }
        for peer, scores in peers.items():
            metrics[f"{split}/{peer}"] = evaluation.evaluate(labels, scores, split=split)
    return metrics


def _gates(project: projects.Project, request: training.TrainRequest) -> projects.QualityGates:
    is_sample = request.sample_fraction < 1.0
    if request.split is not None and not is_sample and isinstance(project, projects.Rolling):
        return project.rolling_gates()
    return project.quality_gates(relaxed=is_sample)


def _compared(
    metrics: dict[str, training.Metrics], gates: projects.QualityGates, folder: run_folder.RunFolder
) -> dict[str, Any]:
    peers = (metrics["test"], metrics["test/logistic_regression"], gates)
    try:
        return evaluation.check_gates(*peers)
    except errors.LeakDetected:
        # Which column it was takes seconds to find out, so only a run that has the alarm pays for it.
        return evaluation.check_gates(*peers, column_aucs=_suspects(folder))


def _suspects(folder: run_folder.RunFolder) -> dict[str, float]:
    report = folder.kept(projects.TrainingSetReport)
    program = _fitted(folder).compile()
    test = pl.read_parquet(report.path).filter(pl.col("split") == "test")
    dense = program.run(frames.to_numpy(test, program.inputs)).dense
    return evaluation.column_aucs(dense, program.dense_names, test[report.label].to_numpy())


def _build(asked: messages.Bundle, folder: run_folder.RunFolder) -> provenance.Build:
    project = projects.load_project(asked.request.project)
    return attested.build(asked, project, folder.kept(projects.TrainingSetReport), _fitted(folder))


def _contents(
    asked: messages.Bundle, folder: run_folder.RunFolder
) -> tuple[bundle.BundleContents, bundle.BundleContents]:
    """Candidate and baseline. The same run gives the same bytes, and so the same digests."""
    request, project = asked.request, projects.load_project(asked.request.project)
    output = train_messages.read_output(Path(asked.output_path))
    rows, views = folder.kept(projects.TrainingSetReport), folder.kept(projects.FeatureReport)
    fitted = _fitted(folder)
    leak_report = folder.kept(projects.LeakReport)
    declared = input_policy.declare(rows, fitted.inputs, catalog.gather(request.project, folder, fitted))
    asked_first, compiled = (
        recorded_samples.rows_of(rows.path, fitted.inputs, declared.private),
        fitted.compile(),
    )

    def contents(
        name: str, learned: trainers.Learned, metrics: dict[str, training.Metrics], looked: looks.Evaluation
    ) -> bundle.BundleContents:
        return bundle.BundleContents(
            name=name,
            project=request.project,
            kind=learned.kind,
            plan=fitted.to_bytes(),
            model=learned.model,
            weights=learned.data,
            card=card.render(name, request, rows, metrics, asked.gates, leak_report, looked),
            service=views.service,
            request_columns=project.request_columns,
            input_columns=fitted.inputs,
            metrics=metrics,
            data_digest=rows.digest,
            training_run_id=request.run_id,
            code_version=attested.code_version(),
            extra_files={
                sbom.FILE: attested.bill(name, request.run_id, rows, fitted),
                LEAK_EVIDENCE: canonical.dumps(leak_report.model_dump(mode="json")),
                GATES_EVIDENCE: canonical.dumps(asked.gates),
                inputs.FILE: canonical.dumps(declared.model_dump(mode="json")),
                samples.FILE: recorded_samples.write(asked_first, compiled, learned),
                # Absent where nothing was looked at: such a bundle has the files that it always had.
                **(
                    {EVALUATION_EVIDENCE: canonical.dumps(looked.model_dump(mode="json"))}
                    if looked != looks.Evaluation()
                    else {}
                ),
            },
        )

    peer = {
        split: asked.metrics[f"{split}/logistic_regression"]
        for split in ("test", "valid")
        if f"{split}/logistic_regression" in asked.metrics
    }
    candidate = trainers.Learned(output.kind, output.architecture, output.weights_path.read_bytes())
    baseline = trainers.Learned(
        output.baseline_kind, output.baseline_architecture, output.baseline_weights_path.read_bytes()
    )
    return (
        contents(request.project, candidate, asked.metrics, asked.evaluation),
        contents(f"{request.project}-baseline", baseline, peer, looks.Evaluation()),
    )


def _facts(
    opened: bundle.Bundle, trust: signing.TrustedKeys, request: training.TrainRequest
) -> policy.BundleFacts:
    """What the signed bundle itself says: its evidence, not what this run remembers."""
    evidence = LEAK_EVIDENCE in opened.manifest.files
    checked = evidence and projects.LeakReport.model_validate(json.loads(opened.read(LEAK_EVIDENCE))).ok
    return policy.BundleFacts(
        digest=opened.digest,
        environment=request.environment,
        signer=opened.signer,
        trusted_signers=frozenset(trust.key_ids),
        files=tuple(opened.manifest.files),
        leak_checked=checked,
        is_sample=request.sample_fraction < 1.0,
    )
