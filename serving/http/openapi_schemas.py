"""What the API's description says that no contract does: other forms of bodies, the v2 protocol, errors, headers, security."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_Json = dict[str, Any]

_TEXT: Final[_Json] = {"type": "string"}
_COUNT: Final[_Json] = {"type": "integer", "minimum": 0}
_BINARY: Final[_Json] = {"type": "string", "format": "binary"}


def _object(required: str = "", **properties: Any) -> _Json:
    made: _Json = {"type": "object", "properties": properties}
    return {**made, "required": required.split()} if required else made


def _list(of: Any) -> _Json:
    return {"type": "array", "items": of}


def _ref(name: str) -> _Json:
    return {"$ref": f"#/components/schemas/{name}"}


_DATATYPE: Final[_Json] = {
    "type": "string",
    "enum": [
        "BOOL",
        *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)),
        *("FP16", "FP32", "FP64", "BF16", "BYTES"),
    ],
}
_SHAPE: Final[_Json] = _list({"type": "integer", "minimum": 0})
_TENSOR: Final[_Json] = _object(
    "name datatype shape",
    name=_TEXT,
    datatype=_DATATYPE,
    shape=_list({"type": "integer"}),
    parameters={"type": "object"},
)
_DURATION: Final[_Json] = _object("count ns", count=_COUNT, ns=_COUNT)

SCHEMAS: Final[Mapping[str, _Json]] = {
    "Problem": {
        "description": "What went wrong, who must act, and what to do next (RFC 9457).",
        **_object(
            "type title status detail code kind message retryable details request_id",
            type={"type": "string", "format": "uri"},
            title=_TEXT,
            status={"type": "integer", "minimum": 400, "maximum": 599},
            detail=_TEXT,
            code={"type": "string", "description": "Stable; what programs decide by."},
            kind={
                "type": "string",
                "enum": ["rejected", "denied", "busy", "unavailable", "misconfigured", "broken"],
            },
            message=_TEXT,
            retryable={"type": "boolean"},
            details={"type": "object"},
            request_id=_TEXT,
        ),
    },
    "V2Error": {"description": "As v2 clients read it.", **_object("error", error=_TEXT)},
    "PredictLine": {
        "description": "A line of an answer: one prediction, or what is wrong with a line.",
        **_object(
            score={"type": "number"},
            feature_status={"type": "object"},
            feature_age_seconds={"type": "object"},
            model_version=_TEXT,
            role=_TEXT,
            error={"type": "object"},
            line={"type": "integer", "minimum": 1},
        ),
    },
    "FeatureRows": {
        "description": "Features as Feast's feature server answers them; keys come first.",
        **_object(
            "metadata results",
            metadata=_object("feature_names", feature_names=_list(_TEXT)),
            results=_list(
                _object(
                    "values statuses event_timestamps",
                    values={"type": "array", "items": {}},
                    statuses=_list({"type": "string", "enum": ["PRESENT", "NOT_FOUND", "OUTSIDE_MAX_AGE"]}),
                    event_timestamps=_list({"type": "string", "format": "date-time"}),
                )
            ),
        ),
    },
    "HeldPush": {
        "description": "A refused push with its report, without values of its rows.",
        **_object("name dataset reports", name=_TEXT, dataset=_TEXT, reports=_list({"type": "object"})),
    },
    "V2Server": _object("name version extensions", name=_TEXT, version=_TEXT, extensions=_list(_TEXT)),
    "V2Model": _object(
        "name versions platform inputs outputs",
        name=_TEXT,
        versions=_list(_TEXT),
        platform=_TEXT,
        inputs=_list(_TENSOR),
        outputs=_list(_TENSOR),
    ),
    "V2Config": _object(
        "name platform max_batch_size input output",
        name=_TEXT,
        platform=_TEXT,
        backend=_TEXT,
        max_batch_size=_COUNT,
        input=_list({"type": "object"}),
        output=_list({"type": "object"}),
    ),
    "V2Statistics": _object(
        "model_stats",
        model_stats=_list(
            _object(
                "name version inference_count execution_count inference_stats",
                name=_TEXT,
                version=_TEXT,
                last_inference=_COUNT,
                inference_count=_COUNT,
                execution_count=_COUNT,
                inference_stats={"type": "object", "additionalProperties": _DURATION},
            )
        ),
    ),
    "V2Index": _list(_object("name state", name=_TEXT, version=_TEXT, state=_TEXT, reason=_TEXT)),
    "V2InferRequest": _object(
        "inputs",
        id=_TEXT,
        parameters={"type": "object"},
        inputs=_list(
            _object(
                "name datatype shape",
                name=_TEXT,
                datatype=_DATATYPE,
                shape=_SHAPE,
                parameters={"type": "object"},
                data={"type": "array", "items": {}},
            )
        ),
        outputs=_list(_object("name", name=_TEXT, parameters={"type": "object"})),
    ),
    "V2InferResponse": _object(
        "model_name model_version outputs",
        model_name=_TEXT,
        model_version=_TEXT,
        id=_TEXT,
        outputs=_list({**_TENSOR}),
    ),
}

SECURITY: Final[_Json] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key (`msk_...`), a token of the issuer, or a service account's (`msat_...`). Changes of keys, limits and traffic"
        " take a token of the issuer only.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}

HEADERS: Final[_Json] = {
    "RequestId": {"description": "The caller's, or one of ours.", "required": True, "schema": _TEXT},
    "RetryAfter": {
        "description": "Seconds to wait before the same request may be answered.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "ErrorCode": {"description": "The problem's `code`.", "required": True, "schema": _TEXT},
    "Authenticate": {"schema": _TEXT},
}

REASONS: Final[Mapping[int, str]] = {
    400: "The request is malformed.",
    401: "No token or key, or one that does not count.",
    403: "The caller may not do that.",
    404: "Nothing has that name.",
    408: "No more of the body came.",
    409: "The state does not allow it.",
    413: "The body is larger than `serving.max_body_bytes`.",
    422: "Types or contents do not fit what is served.",
    429: "The caller has used up what it may ask.",
    500: "A failure of ours; report it with the request id.",
    503: "Too busy, or something that is needed is away; try again.",
    504: "The deadline passed.",
}

DEADLINE: Final[_Json] = {
    "name": "x-deadline-ms",
    "in": "header",
    "description": "Milliseconds after which nobody needs the answer.",
    "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": 86_400_000},
}

_ARROW: Final = "application/vnd.apache.arrow.stream"


def _query(name: str, description: str, **schema: Any) -> _Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _json(name: str) -> _Json:
    return {"application/json": {"schema": _ref(name)}}


_READ_FEATURES: Final[_Json] = {
    "answer": {**_json("FeatureRows"), _ARROW: {"schema": _BINARY}},
}
_INFER: Final[_Json] = {
    "requestBody": {**_json("V2InferRequest"), "application/octet-stream": {"schema": _BINARY}},
    "answer": {**_json("V2InferResponse"), "application/octet-stream": {"schema": _BINARY}},
    "parameters": [
        {
            "name": "inference-header-content-length",
            "in": "header",
            "description": "Bytes of JSON before the binary tensors.",
            "schema": _COUNT,
        }
    ],
}


def _versions(method: str, suffix: str, raw: _Json) -> dict[tuple[str, str], _Json]:
    model = "/v2/models/{name}"
    return {(method, f"{model}{suffix}"): raw, (method, f"{model}/versions/{{version}}{suffix}"): raw}


#: By method and path what its routes take and answer raw.
RAW: Final[Mapping[tuple[str, str], _Json]] = {
    ("get", "/metrics"): {"answer": {"text/plain": {"schema": _TEXT}}},
    ("post", "/v1/features:read"): _READ_FEATURES,
    ("post", "/get-online-features"): _READ_FEATURES,
    ("get", "/v1/features/quarantine/{name}"): {"answer": _json("HeldPush")},
    ("post", "/v1/endpoints/{name}:predict"): {
        "requestBody": {
            "application/jsonl": {"schema": _TEXT},
            _ARROW: {"schema": _BINARY},
        },
        "answer": {
            **_json("PredictResponse"),
            "application/jsonl": {"schema": _TEXT},
            _ARROW: {"schema": _BINARY},
            "text/event-stream": {"schema": _TEXT},
        },
        "parameters": [
            _query("by", "What lines and columns are.", type="string", enum=["row", "entity"], default="row"),
            _query(
                "errors",
                "Whether a bad line refuses the request or is answered.",
                type="string",
                enum=["refuse", "lines"],
                default="refuse",
            ),
            _query("as_of", "Of lines: when features are read.", type="string", format="date-time"),
        ],
    },
    ("get", "/v2"): {"answer": _json("V2Server")},
    ("get", "/v2/health/live"): {"answer": {}},
    ("get", "/v2/health/ready"): {"answer": {}},
    ("get", "/v2/models/stats"): {"answer": _json("V2Statistics")},
    **_versions("get", "/stats", {"answer": _json("V2Statistics")}),
    **_versions("get", "/ready", {"answer": {}}),
    **_versions("get", "/config", {"answer": _json("V2Config")}),
    **_versions("get", "", {"answer": _json("V2Model")}),
    **_versions("post", "/infer", _INFER),
    ("post", "/v2/repository/index"): {
        "requestBody": {"application/json": {"schema": _object(ready={"type": "boolean"})}},
        "answer": _json("V2Index"),
    },
    **{
        ("post", f"/v2/repository/models/{{name}}/{what}"): {
            "requestBody": {"application/json": {"schema": _object(parameters={"type": "object"})}},
            "answer": {},
        }
        for what in ("load", "unload")
    },
}
