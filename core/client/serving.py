"""The data plane over HTTP: contracts in, contracts out, and its errors as the errors they were."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter

from mainspring.core import bearer, errors, traces
from mainspring.core.contracts import access, deployment, erasure, features, keys, prediction
from mainspring.core.contracts import masking as mask_contracts

M = TypeVar("M", bound=BaseModel)

_ENDPOINTS: Final = TypeAdapter(list[deployment.EndpointView])
_API_KEYS: Final = TypeAdapter(list[access.KeyView])
_BUNDLES: Final = TypeAdapter(list[prediction.BundleView])


class ServingClient:
    """Calls one serving process and keeps its connections. Thread-safe; close it, or use it in a `with`.

    Every method raises the typed error that serving answered, rebuilt from its code, DependencyDown if serving does
    not answer, and DeadlineExceeded after `timeout_seconds` without an answer. Nothing is retried.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: bearer.Token = "",
        timeout_seconds: float = 30.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`tls`: whom to believe, and the certificate to show, where the URL is https; None: the system's authorities.

        `token`: a token or API key, or what gives it at each request; needed by `set_traffic`, `load_bundle` and `push`, and where one is demanded."""
        self._base_url = base_url
        # trust_env off: a proxy variable of the shell must not reroute calls between our own services.
        self._http = httpx.Client(
            base_url=base_url,
            timeout=timeout_seconds,
            auth=bearer.auth(token),
            trust_env=False,
            verify=True if tls is None else tls,
            event_hooks={"request": [traces.on_request]},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def healthy(self) -> bool:
        """Whether the process answers at all."""
        try:
            self._call("GET", "/healthz")
        except errors.Unavailable:
            return False
        return True

    def ready(self) -> dict[str, Any]:
        """What is ready. Errors: DependencyDown naming what is not."""
        answer: dict[str, Any] = self._call("GET", "/readyz").json()
        return answer

    def predict(
        self,
        endpoint: str,
        request: prediction.PredictRequest,
        *,
        request_id: str = "",
        deadline_seconds: float | None = None,
    ) -> prediction.PredictResponse:
        """Score every entity or row of `request`, in order; `request_id` is echoed and logged.

        `deadline_seconds`: what is not answered by then is given up by serving too (DeadlineExceeded); None: never.
        """
        path, headers = f"/v1/endpoints/{endpoint}:predict", _asking(request_id, deadline_seconds)
        return _read(self._call("POST", path, request, headers), prediction.PredictResponse)

    def explain(
        self,
        endpoint: str,
        request: prediction.PredictRequest,
        *,
        request_id: str = "",
        deadline_seconds: float | None = None,
    ) -> prediction.ExplainResponse:
        """As :meth:`predict`, with what each input column added. Errors: Conflict if the model has no method for it."""
        path, headers = f"/v1/endpoints/{endpoint}:explain", _asking(request_id, deadline_seconds)
        return _read(self._call("POST", path, request, headers), prediction.ExplainResponse)

    def endpoints(self) -> list[deployment.EndpointView]:
        return _ENDPOINTS.validate_json(self._call("GET", "/v1/endpoints").content)

    def endpoint(self, name: str) -> deployment.EndpointView:
        """Errors: NotFound with close names."""
        return _read(self._call("GET", f"/v1/endpoints/{name}"), deployment.EndpointView)

    def set_traffic(self, table: deployment.TrafficTable) -> deployment.EndpointView:
        """Put the next version in force; a repeat of the one in force changes nothing. Errors: Conflict."""
        path = f"/v1/endpoints/{table.endpoint}/traffic"
        return _read(self._call("PUT", path, table), deployment.EndpointView)

    def stats(self, endpoint: str) -> deployment.EndpointStats:
        """What serving saw of each bundle under the traffic in force."""
        return _read(self._call("GET", f"/v1/endpoints/{endpoint}/stats"), deployment.EndpointStats)

    def rest(self, endpoint: str) -> deployment.EndpointRested:
        """Its weights leave memory until somebody asks. Errors: NotFound; Conflict for a pinned one."""
        return _read(self._call("POST", f"/v1/endpoints/{endpoint}:rest"), deployment.EndpointRested)

    def release(self, endpoint: str, asked: deployment.EndpointRelease) -> deployment.EndpointReleased:
        """It answers nobody any more. Errors: NotFound; Conflict for other traffic, a canary in it, or a pinned one."""
        return _read(
            self._call("POST", f"/v1/endpoints/{endpoint}:release", asked), deployment.EndpointReleased
        )

    def released(self, endpoint: str) -> deployment.EndpointReleased:
        """Its last release. Errors: NotFound."""
        return _read(self._call("GET", f"/v1/endpoints/{endpoint}/released"), deployment.EndpointReleased)

    def load_bundle(self, digest: str) -> prediction.BundleView:
        """Idempotent. Errors: NotFound, CorruptArtifact."""
        asked = prediction.BundleLoad(digest=digest)
        return _read(self._call("POST", "/v1/bundles:load", asked), prediction.BundleView)

    def withdraw_bundle(self, asked: prediction.BundleWithdraw) -> prediction.BundleWithdrawal:
        """Idempotent. Errors: Conflict while traffic names it, unless it is a revocation."""
        return _read(self._call("POST", "/v1/bundles:withdraw", asked), prediction.BundleWithdrawal)

    def bundles(self) -> list[prediction.BundleView]:
        return _BUNDLES.validate_json(self._call("GET", "/v1/bundles").content)

    def push(self, rows: prediction.FeaturePush) -> prediction.FeaturePushResult:
        """Upsert newest feature rows, all or none. Errors: NotFound, SchemaMismatch."""
        path = f"/v1/features/{rows.view}:push"
        return _read(self._call("POST", path, rows), prediction.FeaturePushResult)

    def held(self, views: Sequence[str], columns: Sequence[str], key: str) -> dict[str, int]:
        """By view, how many online rows have `key` in one of the key columns. Roles: service, admin."""
        asked = erasure.OnlineSubject(views=list(views), columns=list(columns), key=key)
        return _read(self._call("POST", "/v1/subjects:find", asked), erasure.OnlineRows).rows

    def forget(self, views: Sequence[str], columns: Sequence[str], key: str) -> dict[str, int]:
        """Delete these rows; again there is nothing to delete. Roles: service, admin. Errors: DependencyDown."""
        asked = erasure.OnlineSubject(views=list(views), columns=list(columns), key=key)
        return _read(self._call("POST", "/v1/subjects:erase", asked), erasure.OnlineRows).rows

    def masking(self) -> mask_contracts.MaskingDocument:
        """What is shown to whom. Role admin."""
        return _read(self._call("GET", "/v1/masking"), mask_contracts.MaskingDocument)

    def set_masking(self, document: mask_contracts.MaskingDocument) -> mask_contracts.MaskingDocument:
        """Put the next version in force. Role admin. Errors: Conflict."""
        return _read(self._call("PUT", "/v1/masking", document), mask_contracts.MaskingDocument)

    def trusted_keys(self) -> keys.TrustView:
        """Whose signatures on bundles it believes."""
        return _read(self._call("GET", "/v1/trusted-keys"), keys.TrustView)

    def api_keys(self) -> list[access.KeyView]:
        """Role: admin. Every key that was ever issued, without the keys themselves."""
        return _API_KEYS.validate_json(self._call("GET", "/v1/keys").content)

    def rotate_api_key(
        self, key_id: str, *, overlap_minutes: float = 1440.0, expires_at: datetime | None = None
    ) -> access.KeyIssued:
        """Role: admin. A key for the same caller; the old one expires after the overlap. Errors: NotFound, Conflict."""
        asked = access.KeyRotate(overlap_minutes=overlap_minutes, expires_at=expires_at)
        return _read(self._call("POST", f"/v1/keys/{key_id}:rotate", asked), access.KeyIssued)

    def read_features(self, asked: features.FeatureRead) -> dict[str, list[Any]]:
        """Keys and features by name, one value a row, None where there is none. Errors: NotFound, SchemaMismatch."""
        answer = self._call("POST", "/v1/features:read", asked).json()
        names = answer["metadata"]["feature_names"]
        return {name: result["values"] for name, result in zip(names, answer["results"], strict=True)}

    def _call(
        self,
        method: str,
        path: str,
        body: BaseModel | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        content = None if body is None else body.model_dump_json()
        sent = {**(headers or {}), **({} if body is None else {"content-type": "application/json"})}
        try:
            response = self._http.request(method, path, content=content, headers=sent)
        except httpx.TimeoutException as error:
            raise errors.DeadlineExceeded(
                f"serving at `{self._base_url}` did not answer in time; ask for fewer rows or wait longer",
                stage=path,
            ) from error
        except httpx.TransportError as error:
            raise errors.DependencyDown(
                f"serving at `{self._base_url}` does not answer: {error}; `mainspring status` tells what runs",
                name="serving",
            ) from error
        if response.is_success:
            return response
        raise _rebuilt(response, self._base_url)


def _asking(request_id: str, deadline_seconds: float | None) -> dict[str, str]:
    headers = {"x-request-id": request_id} if request_id else {}
    if deadline_seconds is not None:
        headers["x-deadline-ms"] = f"{deadline_seconds * 1000:.3f}"
    return headers


def _read(response: httpx.Response, model: type[M]) -> M:
    return model.model_validate_json(response.content)


def _rebuilt(response: httpx.Response, base_url: str) -> errors.MainspringError:
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        return errors.from_wire(response.json())
    # Not ours: a proxy in between, or another program on the port.
    return errors.DependencyDown(
        f"`{base_url}` answered {response.status_code} without a problem document; check that serving is there",
        name="serving",
    )
