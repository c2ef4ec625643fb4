"""One contestant as a process: `python -m mainspring.bench.serving.servers NAME PORT`, until SIGTERM."""

from __future__ import annotations

import pathlib
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, Final

import uvicorn

from mainspring.core import errors, identity, ports, settings
from mainspring.core.features import derivation, online
from mainspring.core.models import bundle
from mainspring.native import front as native
from mainspring.serving import app, bundles, native_front, server, signed_bundles
from mainspring.serving.runtimes import chosen

ECHO: Final = "bare-asgi-echo"
FASTAPI: Final = "fastapi-pydantic"
OURS: Final = "mainspring"
OURS_GRPC: Final = "mainspring-grpc"
GRPC_ECHO: Final = "grpc-aio-echo"
FRONT_GRPC: Final = "mainspring-front-grpc"
OVERLOADED: Final = "mainspring-overloaded"
FRONT: Final = "mainspring-front"
PASSED: Final = "mainspring-front-passed"
DEPLOYED: Final = "mainspring-deployed"

#: Threads of the overload rows: with the model's sleep they make the capacity.
OVERLOAD_WORKERS: Final = 1


def echo(port: int) -> None:
    """The floor: uvicorn, and the smallest app that reads a body and sends it back."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", b"application/json"),
                    (b"content-length", b"%d" % len(body)),
                ],
            }
        )
        await send({"type": "http.response.body", "body": body})

    _serve(answer, port)


def fastapi_pydantic(port: int) -> None:
    """The same model behind a plain FastAPI route with pydantic in and out, as most are written."""
    import fastapi
    import numpy as np
    import pydantic

    from mainspring.bench.serving import model

    class Tensor(pydantic.BaseModel):
        name: str
        shape: list[int]
        datatype: str
        data: list[float]

    class Asked(pydantic.BaseModel):
        inputs: list[Tensor]

    class Answer(pydantic.BaseModel):
        model_name: str
        model_version: str
        outputs: list[Tensor]

    built = fastapi.FastAPI()

    def add(name: str, forward: Callable[[Any], Any]) -> None:
        async def infer(asked: Asked) -> Answer:
            tensor = asked.inputs[0]
            y = forward(np.array(tensor.data, np.float32).reshape(tensor.shape))
            output = Tensor(name="y", shape=list(y.shape), datatype="FP32", data=y.ravel().tolist())
            return Answer(model_name=name, model_version="1", outputs=[output])

        # They are local: FastAPI cannot look up their names.
        infer.__annotations__ = {"asked": Asked, "return": Answer}
        built.post(f"/v2/models/{name}/infer")(infer)

    add("mlp", model.forward)
    add("slow", model.worked)
    _serve(built, port)


def ours(port: int, *, grpc_port: int = 0, workers: int = 2) -> None:
    """The whole data plane with the native model in it, and no front: limits, metrics, request ids, everything in force."""
    from mainspring.bench.serving import model

    environ = {
        "MAINSPRING_SERVING_FRONT": "off",
        "MAINSPRING_SERVING_WORKERS": str(workers),
        "MAINSPRING_SERVING_GRPC_PORT": str(grpc_port),
    }
    data_plane(
        port,
        environ,
        online.OnlineStore(),
        models={"mlp": model.native, "held": model.held, "slow": model.slow},
    )


def data_plane(
    port: int,
    environ: Mapping[str, str],
    store: ports.OnlineFeatures,
    models: Mapping[str, Any] | None = None,
) -> None:
    """The app as it is shipped, without bundles, in a directory of its own; behind the native front if that is wanted."""

    with tempfile.TemporaryDirectory() as directory:
        in_force = settings.load(environ, directory=pathlib.Path(directory))
        _data_plane(port, in_force, store, _NoBundles(), models)


class _NoBundles:
    def load(self, digest: str) -> bundles.LoadedBundle:
        raise errors.NotFound("there are no bundles here", resource="bundle", name=digest)


def _data_plane(
    port: int,
    in_force: settings.Settings,
    store: ports.OnlineFeatures,
    loader: bundles.BundleLoader,
    models: Mapping[str, Any] | None,
) -> None:
    before = native_front.NativeFront(in_force.serving)
    built = app.create_app(
        in_force,
        online=store,
        loader=loader,
        issuer=identity.ensure_token_file(in_force.control.tokens_file),
        models=models,
        front=before,
    )
    listeners = native.listen("127.0.0.1", port, threads=in_force.serving.front_threads)
    how: Any = {"loop": "uvloop", "http": "httptools", "log_level": "error", "access_log": False}
    server.Server(built, listeners, before, **how).run()


def deployed(port: int) -> None:
    """The data plane over the bundles, rows and traffic of the folder it is started in: see `deployed.Home`."""
    environ = {
        "MAINSPRING_SERVING_FRONT_THREADS": "1",
        "MAINSPRING_SERVING_GRPC_PORT": "0",
        "MAINSPRING_SERVING_USAGE_REPORT_SECONDS": "0",
    }
    in_force = settings.load(environ, directory=pathlib.Path.cwd())
    serving = in_force.serving
    loader = signed_bundles.SignedBundleLoader(
        bundle.BundleStore(serving.bundle_dir),
        serving.trusted_keys_dir,
        chosen.runtimes(serving),
        lambda project: derivation.nothing,  # the plan reads what is looked up and what the caller sends
    )
    with online.OnlineStore(serving.online_store) as store:
        _data_plane(port, in_force, store, loader, None)


def front(port: int) -> None:
    """The same data plane with the model as a native one: the front answers for it, in one thread."""
    from mainspring.bench.serving import model

    environ = {"MAINSPRING_SERVING_FRONT_THREADS": "1", "MAINSPRING_SERVING_GRPC_PORT": "0"}
    data_plane(port, environ, online.OnlineStore(), models={"mlp": model.native})


def passed(port: int) -> None:
    """The data plane behind the front, which passes every request on: what all other routes pay for it."""
    from mainspring.bench.serving import model

    environ = {
        "MAINSPRING_SERVING_FRONT": "on",
        "MAINSPRING_SERVING_FRONT_THREADS": "1",
        "MAINSPRING_SERVING_GRPC_PORT": "0",
    }
    data_plane(port, environ, online.OnlineStore(), models={"mlp": model.mlp})


def ours_grpc(port: int) -> None:
    """The same over gRPC; HTTP, which starts last, takes a port of the system's choice."""
    ours(0, grpc_port=port)


def front_grpc(port: int) -> None:
    """The data plane behind the front, which has the port of gRPC, too, in one thread."""
    from mainspring.bench.serving import model

    environ = {
        "MAINSPRING_SERVING_FRONT_THREADS": "1",
        "MAINSPRING_SERVING_GRPC_PORT": str(port),
        "MAINSPRING_SERVING_GRPC_FRONT": "auto",
    }
    data_plane(0, environ, online.OnlineStore(), models={"mlp": model.native})


def overloaded(port: int) -> None:
    """The same with the threads of the overload rows."""
    ours(port, workers=OVERLOAD_WORKERS)


def grpc_echo(port: int) -> None:
    """The floor of gRPC in Python: grpc.aio, and a method that gives its bytes back."""
    import grpc
    import uvloop

    async def serve() -> None:
        async def answer(asked: bytes, context: Any) -> bytes:
            return asked

        server = grpc.aio.server()
        method = grpc.unary_unary_rpc_method_handler(answer)
        service = grpc.method_handlers_generic_handler(
            "inference.GRPCInferenceService", {"ModelInfer": method}
        )
        server.add_generic_rpc_handlers((service,))
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        await server.wait_for_termination()

    uvloop.run(serve())


def _serve(built: Any, port: int) -> None:
    uvicorn.run(
        built,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        log_level="error",
        access_log=False,
    )


CONTESTANTS: Final[Mapping[str, Callable[[int], None]]] = {
    ECHO: echo,
    FASTAPI: fastapi_pydantic,
    OURS: ours,
    OURS_GRPC: ours_grpc,
    GRPC_ECHO: grpc_echo,
    FRONT_GRPC: front_grpc,
    OVERLOADED: overloaded,
    FRONT: front,
    PASSED: passed,
    DEPLOYED: deployed,
}

if __name__ == "__main__":
    CONTESTANTS[sys.argv[1]](int(sys.argv[2]))
