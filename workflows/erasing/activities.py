"""The erasure's side effects: files, online rows over HTTP, the list of erased subjects, and the signature. Each safe to repeat."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
from temporalio import activity

from mainspring.core import errors, settings
from mainspring.core.contracts import base, erasure
from mainspring.core.erasure import certificate, erasing, ledger
from mainspring.core.erasure.erased import ErasedList
from mainspring.core.erasure.matching import BySubject
from mainspring.core.erasure.online import Forgetful, OnlinePlace
from mainspring.core.erasure.places import ErasurePlace
from mainspring.core.erasure.subjects import Subject, SubjectHasher
from mainspring.core.models import bundle, signing
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows import heartbeat
from mainspring.workflows.erasing import messages
from mainspring.workflows.exchange import exchange
from mainspring.workflows.training.data_activities import in_thread

__all__ = ["ErasingActivities"]

_TRAIN_AGAIN = "train it again and retire this one (`mainspring model retire`): what was learned is in its weights and samples"


class ErasingActivities:
    """Files are of this machine, or mounted; `online` is the serving process that has the rows."""

    def __init__(self, in_force: settings.Settings, control: httpx.AsyncClient, online: Forgetful) -> None:
        self._settings, self._control, self._online = in_force, control, online

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.keep_out, self.find, self.erase, self.prove, self.certify, self.report]

    @activity.defn(name=messages.KEEP_OUT)
    async def keep_out(self, request: erasure.EraseRequest) -> messages.Done:
        """Before anything is erased: what comes meanwhile must not stay. Errors: PolicyDenied by a hold; Overloaded, and it is tried
        again."""
        await self._require_standing(request)
        await in_thread(lambda: self._keep_out(request))
        return messages.Done()

    @activity.defn(name=messages.FIND)
    async def find(self, request: erasure.EraseRequest) -> messages.Places:
        """Errors: CorruptArtifact for a file that cannot be read; DependencyDown where serving does not answer."""
        places, subject = self._places(request), self._subject(request)
        return messages.Places(found=await in_thread(lambda: [place.find(subject) for place in places]))

    @activity.defn(name=messages.ERASE)
    async def erase(self, asked: messages.EraseOne) -> erasure.Found:
        """Errors: PolicyDenied by a hold that came meanwhile; Conflict if its rows come again while they are erased; those of
        :meth:`find`."""
        await self._require_standing(asked.request)
        subject = self._subject(asked.request)
        (place,) = (one for one in self._places(asked.request) if one.name == asked.place)
        return await in_thread(lambda: erasing.erase(place, subject))

    @activity.defn(name=messages.PROVE)
    async def prove(self, asked: messages.Prove) -> messages.Proven:
        """Errors: Conflict naming the places that have rows again."""
        places, subject = self._places(asked.request), self._subject(asked.request)
        told, uncovered = await in_thread(lambda: erasing.prove(places, subject, asked.before))
        return messages.Proven(places=told, uncovered=uncovered, erased_at=base.utc_now())

    @activity.defn(name=messages.CERTIFY)
    async def certify(self, asked: messages.Certify) -> messages.Certified:
        """Errors: MissingTool, Misconfigured without a key to sign by; DependencyDown while the control API does not say which copies
        of it there are."""
        standing = await self._standing(asked.request)
        return await in_thread(lambda: self._certify(asked, standing.copies))

    @activity.defn(name=messages.REPORT)
    async def report(self, told: messages.Report) -> messages.Done:
        path = f"/api/v1/projects/{told.project}/erasures/{told.erasure_id}/report"
        with temporal_errors.typed():
            async with heartbeat.beating():
                await exchange(self._control, "control", "POST", path, told.report.model_dump_json())
        return messages.Done()

    async def _standing(self, request: erasure.EraseRequest) -> erasure.ErasureView:
        path = f"/api/v1/projects/{request.project}/erasures/{request.erasure_id}"
        with temporal_errors.typed():
            async with heartbeat.beating():
                return erasure.ErasureView.model_validate(
                    await exchange(self._control, "control", "GET", path)
                )

    async def _require_standing(self, request: erasure.EraseRequest) -> None:
        """A legal hold may be placed at any time: what it finds is to be kept.

        Errors: PolicyDenied with the hold's reason; DependencyDown while nobody can say.
        """
        view = await self._standing(request)
        with temporal_errors.typed():
            if view.state is erasure.ErasureState.REFUSED:
                raise errors.PolicyDenied(view.message, rule_id="erasure.hold")

    def _keep_out(self, request: erasure.EraseRequest) -> None:
        """The hash is compared first: on a list of another key nobody is recognised."""
        subject = _subject(request)
        protection = self._settings.protection
        if SubjectHasher.load(protection.subjects_key).of(subject) != request.subject_hash:
            raise errors.Conflict(
                f"`{protection.subjects_key.name}` of this worker is not the control API's; give all processes the same file, and"
                " ask for the erasure again",
                resource="key for subjects",
                name=protection.subjects_key.name,
            )
        ErasedList.of(protection).add(subject, views=request.views, erasure_id=request.erasure_id)

    def _certify(self, asked: messages.Certify, copies: Sequence[erasure.Uncovered]) -> messages.Certified:
        request = asked.request
        models = sorted(self._models(asked), key=lambda model: (model.basis, model.bundle_digest))
        told = erasure.ErasureCertificate(
            erasure_id=request.erasure_id,
            project=request.project,
            entity=request.entity,
            subject_hash=request.subject_hash,
            ground=request.ground,
            requested_by=request.requested_by,
            requested_at=request.requested_at,
            approved_by=asked.approved_by,
            approved_at=asked.approved_at,
            erased_at=asked.proven.erased_at,
            places=asked.proven.places,
            models=models,
            kept=list(erasing.KEPT),
            uncovered=[
                *asked.proven.uncovered,
                *erasing.not_covered(self._settings, request.project, request.inputs),
                *copies,
            ],
        )
        sealed = certificate.seal(told, signing.SigningKey.load(self._settings.models.signing_key))
        # Beside the database: one that is put back from before is told of it.
        ledger.keep(self._settings.protection.erased_dir, request.erasure_id, sealed)
        return messages.Certified(certificate=sealed.decode(), rows_erased=told.rows_erased, models=models)

    def _models(self, asked: messages.Certify) -> Iterator[erasure.TrainedModel]:
        """Bundles of the project, but those whose data was read and had nothing of the subject."""
        store = bundle.BundleStore(self._settings.serving.bundle_dir)
        for digest in store.list():
            path = store.root / digest.removeprefix("sha256:") / bundle.MANIFEST
            try:
                said = json.loads(path.read_bytes())
                name, project, data = str(said["name"]), str(said["project"]), str(said["data_digest"])
            except (OSError, KeyError, TypeError, ValueError):
                continue  # nobody opens it
            if project != asked.request.project or data in asked.clean:
                continue
            basis = "lineage" if data in asked.datasets else "unknown"
            yield erasure.TrainedModel(bundle_digest=digest, name=name, basis=basis, what_to_do=_TRAIN_AGAIN)

    def _places(self, request: erasure.EraseRequest) -> list[ErasurePlace]:
        files = erasing.file_places(
            self._settings, request.project, endpoints=request.endpoints, views=request.views
        )
        outside = erasing.outside_places(self._settings, request.project, request.outputs)
        return [*files, *outside, OnlinePlace(self._online, request.views)]

    def _subject(self, request: erasure.EraseRequest) -> BySubject:
        return erasing.matcher_of(self._settings, _subject(request))


def _subject(request: erasure.EraseRequest) -> Subject:
    return Subject(request.project, request.entity, request.key, frozenset(request.also))
