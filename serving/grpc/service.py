"""`inference.GRPCInferenceService`: each method reads its message, makes one call, writes its answer."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from google.protobuf.message import DecodeError

import grpc
from mainspring.core import errors, identity, ports, traces
from mainspring.core.contracts import access
from mainspring.serving import logs, spans
from mainspring.serving.access import callers, guard, wishes
from mainspring.serving.grpc import schema, status, tensors
from mainspring.serving.models import book
from mainspring.serving.protocols.v2 import describe, inference, request

_LOG: Final = logging.getLogger("mainspring.serving")
_Config: Final = schema.message("ModelConfigResponse")

#: What a method needs of its caller. Probes need nothing; loading and unloading, a role beside the scope.
_SCOPES: Final[Mapping[str, access.Scope]] = {
    "ModelInfer": "predict",
    "ModelStreamInfer": "predict",
    "RepositoryModelLoad": "admin",
    "RepositoryModelUnload": "admin",
}
_OPEN: Final = frozenset({"ServerLive", "ServerReady"})

#: grpc.aio.ServicerContext; the package ships no types.
Context: TypeAlias = Any
Method: TypeAlias = Callable[[Any, Context, callers.Caller], Awaitable[Any]]
Enter: TypeAlias = Callable[[Context], Awaitable[callers.Caller]]
End: TypeAlias = Callable[..., None]


@dataclass(frozen=True)
class Service:
    """What answers. All methods run on the loop of the inference's gate."""

    inference: inference.Inference
    online: ports.OnlineFeatures
    admit: Callable[[str | None], identity.Actor]
    guard: guard.Guard
    tracer: traces.Tracer
    version: str

    async def identify(self, method: str, context: Context) -> callers.Caller:
        """Who calls the method, if they may, before anything of the message is read.

        Errors: Unauthenticated, PermissionDenied, DependencyDown.
        """
        metadata = dict(context.invocation_metadata() or ())
        logs.REQUEST_ID.set(logs.request_id_of(str(metadata.get("x-request-id", ""))))
        traceparent = metadata.get("traceparent")
        self.tracer.begin(traceparent if isinstance(traceparent, str) else None)
        if method in _OPEN:
            return callers.ANONYMOUS
        return await self.guard.identify(authorization_of(metadata), _SCOPES.get(method, "read"))

    def end(self, method: str, began: float, error: errors.MainspringError | None = None) -> None:
        """The call was answered, with `error` or without; `began` is on `time.perf_counter`."""
        code = grpc.StatusCode.OK if error is None else status.code_of(error)
        logs.call(method, code.name, began, guard.current().caller.name)
        if not traces.is_sampled():
            return
        attributes = spans.grpc_attributes(
            method, code.value[0], logs.REQUEST_ID.get(), guard.current().caller.name
        )
        ours = error is not None and error.kind in (errors.Kind.BROKEN, errors.Kind.UNAVAILABLE)
        self.tracer.end(spans.grpc_name(method), attributes, error.code if ours and error else "")

    async def server_live(self, asked: Any, context: Context, caller: callers.Caller) -> Any:
        return _message("ServerLiveResponse", live=True)

    async def server_ready(self, asked: Any, context: Context, caller: callers.Caller) -> Any:
        await asyncio.to_thread(self.online.views)
        return _message("ServerReadyResponse", ready=True)

    async def model_ready(self, asked: Any, context: Context, caller: callers.Caller) -> Any:
        """False for a model that is not loaded; an unknown one is NOT_FOUND, as in Triton."""
        try:
            self.inference.models.get(asked.name).signature(asked.version)
        except errors.DependencyDown:
            return _message("ModelReadyResponse", ready=False)
        return _message("ModelReadyResponse", ready=True)

    async def server_metadata(self, asked: Any, context: Context, caller: callers.Caller) -> Any:
        return _message("ServerMetadataResponse", **describe.server(self.version))

    async def model_metadata(self, asked: Any, context: Context, caller: callers.Caller) -> Any:
        model = self.inference.models.get(asked.name)
        return _message("ModelMetadataResponse", **describe.model(model, asked.version))

    async def model_config(self, asked: Any, context: Context, caller: callers.Caller) -> Any:
        config = describe.config(self.inference.models.get(asked.name), asked.version)
        for unknown in ("version_policy", "instance_group"):
            del config[unknown]
        return _Config(config=config)

    async def model_statistics(self, asked: Any, context: Context, caller: callers.Caller) -> Any:
        models, counts = self.inference.models, self.inference.book
        return _message(
            "ModelStatisticsResponse", **describe.statistics(models, counts, asked.name, asked.version)
        )

    async def repository_index(self, asked: Any, context: Context, caller: callers.Caller) -> Any:
        return _message(
            "RepositoryIndexResponse",
            models=describe.index(self.inference.models, only_ready=asked.ready),
        )

    async def repository_model_load(self, asked: Any, context: Context, caller: callers.Caller) -> Any:
        self._admit_change(asked, context)
        await asyncio.to_thread(self.inference.models.load, asked.model_name)
        return _message("RepositoryModelLoadResponse")

    async def repository_model_unload(self, asked: Any, context: Context, caller: callers.Caller) -> Any:
        self._admit_change(asked, context)
        await asyncio.to_thread(self.inference.models.unload, asked.model_name)
        return _message("RepositoryModelUnloadResponse")

    async def model_infer(self, asked: Any, context: Context, caller: callers.Caller) -> Any:
        """The client's deadline is the request's: it is dropped from the queue when that has passed."""
        wish = wishes.sent(dict(context.invocation_metadata() or ()))
        self.guard.admit(caller, asked.model_name, wish)
        remaining = context.time_remaining()
        deadline = math.inf if remaining is None else time.monotonic() + remaining
        model = self.inference.models.get(asked.model_name)
        signature = model.signature(asked.model_version)
        phases = book.Phases()
        began = time.perf_counter_ns()
        try:
            if asked.ByteSize() > inference.PARSE_INLINE_BYTES:
                work = functools.partial(tensors.read, asked, signature)
                checked, _ = await self.inference.gate.run(work, deadline=deadline)
            else:
                checked = tensors.read(asked, signature)
            read = time.perf_counter_ns()
            deadline = min(deadline, time.monotonic() + checked.timeout_seconds)
            answer = await self.inference.infer(
                model,
                asked.model_version,
                signature,
                checked.inputs,
                deadline,
                phases,
                priority=checked.priority,
            )
            ran = time.perf_counter_ns()
            response = tensors.write(model.name, answer, checked)
        except BaseException as error:
            self.inference.count_failure(model, asked.model_version, error, began)
            raise
        phases.input = read - began
        phases.output = time.perf_counter_ns() - ran
        self.inference.book.answered(model.name, answer.version, signature.rows(checked.inputs), phases)
        return response

    async def model_stream_infer(
        self, asked: AsyncIterator[Any], context: Context, caller: callers.Caller
    ) -> AsyncIterator[Any]:
        """One answer a request, in their order; a failed one is answered with its error, and the stream goes on.

        A stream lasts longer than a key or a token may: who it is, is asked for each request, and a refusal ends it.
        """
        shown = authorization_of(dict(context.invocation_metadata() or ()))
        async for one in asked:
            caller = await self.guard.identify(shown, _SCOPES["ModelStreamInfer"])
            try:
                yield _message(
                    "ModelStreamInferResponse", infer_response=await self.model_infer(one, context, caller)
                )
            except errors.MainspringError as error:
                yield _message(
                    "ModelStreamInferResponse", error_message=error.message, infer_response={"id": one.id}
                )

    def _admit_change(self, asked: Any, context: Context) -> None:
        self.admit(authorization_of(dict(context.invocation_metadata() or ())))
        if asked.repository_name:
            raise errors.InvalidRequest(
                f"repository `{asked.repository_name[:80]}` is not known; leave the name out",
                field="repository_name",
            )
        parameters = tensors.scalars(asked.parameters)
        request.check_parameters(parameters)
        describe.check_load_parameters(parameters)


def handler(service: Service) -> grpc.GenericRpcHandler:
    """The service's methods as gRPC calls them."""
    description = schema.POOL.FindServiceByName(f"{schema.PACKAGE}.{schema.SERVICE}")
    methods = {}
    for method in description.methods:
        function = getattr(service, _snake(method.name))
        parse = schema.message(method.input_type.name).FromString
        write = schema.message(method.output_type.name).SerializeToString
        # Messages come as bytes: none is parsed before its sender was let in.
        enter = functools.partial(service.identify, method.name)
        end = functools.partial(service.end, method.name)
        parse = functools.partial(_parsed, parse)
        if method.client_streaming:
            methods[method.name] = grpc.stream_stream_rpc_method_handler(
                _guarded_stream(function, enter, end, parse), None, write
            )
        else:
            methods[method.name] = grpc.unary_unary_rpc_method_handler(
                _guarded(function, enter, end, parse), None, write
            )
    return grpc.method_handlers_generic_handler(f"{schema.PACKAGE}.{schema.SERVICE}", methods)


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).removeprefix("_")


def _message(name: str, /, **fields: Any) -> Any:
    return schema.message(name)(**fields)


def _guarded(
    method: Method, enter: Enter, end: End, parse: Callable[[bytes], Any]
) -> Callable[[bytes, Context], Awaitable[Any]]:
    async def call(sent: bytes, context: Context) -> Any:
        began = time.perf_counter()
        try:
            caller = await enter(context)
            answer = await method(parse(sent), context, caller)
        except errors.MainspringError as error:
            end(began, error)
            return await status.abort(context, error)
        except Exception:  # noqa: BLE001 - the edge of the process: the caller gets an answer, the log the trace
            mistake = _own_mistake()
            end(began, mistake)
            return await status.abort(context, mistake)
        end(began)
        return answer

    return call


def _guarded_stream(
    method: Callable[[AsyncIterator[Any], Context, callers.Caller], AsyncIterator[Any]],
    enter: Enter,
    end: End,
    parse: Callable[[bytes], Any],
) -> Callable[[AsyncIterator[bytes], Context], AsyncIterator[Any]]:
    async def call(sent: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
        began = time.perf_counter()
        try:
            caller = await enter(context)
            async for answer in method((parse(one) async for one in sent), context, caller):
                yield answer
        except errors.MainspringError as error:
            end(began, error)
            await status.abort(context, error)
        except Exception:  # noqa: BLE001 - as above
            mistake = _own_mistake()
            end(began, mistake)
            await status.abort(context, mistake)
        end(began)

    return call


def _parsed(parse: Callable[[bytes], Any], sent: bytes) -> Any:
    try:
        return parse(sent)
    except DecodeError as error:
        raise errors.InvalidRequest(
            "message is not of this method; use the protocol's own client", field="message"
        ) from error


def _own_mistake() -> errors.InvariantViolated:
    _LOG.exception("a gRPC call failed")
    return errors.InvariantViolated("serving failed on its own mistake; look at its log", where="grpc")


def authorization_of(metadata: Mapping[str, Any]) -> str | None:
    """As HTTP has it: `authorization`, or the key in `x-api-key`."""
    authorization = metadata.get("authorization")
    key = metadata.get("x-api-key")
    if authorization is None and isinstance(key, str):
        return f"Bearer {key}"
    return authorization if isinstance(authorization, str) else None
