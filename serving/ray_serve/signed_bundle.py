"""`mainspring.serving.ray_serve.signed_bundle:app`: stateless replicas of signed bundles over the v2 protocol, on any node.

For a Ray of others, KubeRay's `RayService` first (`platform/deploy/kubernetes/components/rayservice`). Each replica reads its node's
settings, opens what `serving.tensor_models` names and verifies it before it is ready; there is no process that writes, nothing
that replicas share, and nothing that outlives one. Features, traffic and canaries are the data plane's own.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any, Final

from ray import serve
from starlette.types import ASGIApp

from mainspring.core import errors, identity, settings
from mainspring.core.models import withdrawn
from mainspring.serving.ray_serve import replica

__all__ = ["NAME", "BundleReplica", "app"]

#: Ray Serve's name of the deployment, which a `serveConfigV2` may say other numbers for.
NAME: Final = "mainspring-bundle"

#: A bundle that does not verify does not do so the next time either; one more try is for a store that was away.
_TRIES: Final = 2

#: Paths that are read. All others are a replica's own, and end with it.
_READ: Final = ("bundle_dir", "trusted_keys_dir")


class BundleReplica(replica.AppReplica):
    """One replica of the bundles that `serving.tensor_models` names."""

    def __init__(self) -> None:
        super().__init__()
        self._bundle_dir = Path()
        self._digests: tuple[str, ...] = ()

    def _built(self, opened: contextlib.ExitStack) -> ASGIApp:
        """Errors: InvalidSettings; Misconfigured for a bundle that is not there, does not verify or is of nobody trusted."""
        from mainspring.serving import assembly, logs

        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="mainspring-replica-")))
        s = own_settings(settings.load(), folder)
        logs.install(s)
        self._bundle_dir = s.serving.bundle_dir
        self._digests = tuple(entry.partition("=")[2].strip() for entry in s.serving.tensor_models.split(","))
        return assembly.assembled(s, None, opened).app

    async def check_health(self) -> None:
        """As every replica's; and whether its bundles may still be used. Raises PolicyDenied for one that was withdrawn: those
        that Ray then starts refuse it, and say why.
        """
        await super().check_health()
        for digest in self._digests:
            withdrawn.check(self._bundle_dir, digest)


def own_settings(s: settings.Settings, folder: Path) -> settings.Settings:
    """`s` for a replica whose state is in `folder`, behind Ray's proxy, which has the port. Errors: InvalidSettings."""
    if not s.serving.tensor_models.strip(" ,"):
        raise errors.InvalidSettings(
            "`serving.tensor_models` is empty, so that a replica has nothing to answer with; write `name=sha256:...`, which is"
            " MAINSPRING_SERVING_TENSOR_MODELS of Ray's nodes",
            problems=("serving.tensor_models",),
        )
    own: dict[str, Any] = {
        name: folder / name for name, value in s.serving if isinstance(value, Path) and name not in _READ
    }
    # Who used what is the meter of endpoints: without them there is nothing to tell the control API.
    fixed = {"front": "off", "grpc_port": 0, "processes": 1, "usage_report_seconds": 0.0}
    # Tokens that nobody has: nobody may load or unload what one replica of several answers with. A provider's still name callers.
    tokens = folder / "tokens.json"
    identity.ensure_token_file(tokens, {})
    return s.model_copy(
        update={
            "serving": s.serving.model_copy(update={**own, **fixed}),
            "control": s.control.model_copy(update={"tokens_file": tokens}),
        }
    )


app = serve.deployment(
    name=NAME,
    autoscaling_config={"min_replicas": 1, "max_replicas": 4, "target_ongoing_requests": 8},
    # Above what a replica lets in (`serving.workers` and `serving.max_waiting`): it sheds with Retry-After, Ray's queue would not.
    max_ongoing_requests=512,
    max_constructor_retry_count=_TRIES,
    health_check_period_s=replica.HEALTH_SECONDS,
    graceful_shutdown_timeout_s=30,
    graceful_shutdown_wait_loop_s=0.5,
    ray_actor_options={"num_cpus": 1},
)(serve.ingress()(BundleReplica)).bind()
