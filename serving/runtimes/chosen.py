"""Which runtime executes a bundle: by its kind, and as the settings say."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from mainspring.core import errors, ports, settings
from mainspring.core.features import program
from mainspring.core.models import architecture, bundle, model_input, native_runtime
from mainspring.serving import signed_bundles

_LOG: Final = logging.getLogger("mainspring.serving")


def runtimes(serving: settings.ServingSettings) -> Mapping[str, signed_bundles.RuntimeFactory]:
    """What this process can execute, by bundle kind. torch is imported with the first bundle that needs it."""

    def embedding_mlp(opened: bundle.Bundle, compiled: program.Program) -> ports.ModelRuntime:
        spec = architecture.of_bundle(opened)
        known = {t.column: t.rows for t in spec.tables}
        ids = {name: known.get(name, 0) for name in spec.id_columns}
        model_input.check_plan(compiled, opened.digest, dense_width=spec.dense_width, ids=ids)
        if serving.runtime != "torch":
            try:
                return native_runtime.NativeRuntime.load(opened)
            except errors.MissingTool as error:
                if serving.runtime == "native":
                    raise
                _LOG.warning("bundle `%s` runs on torch: %s", opened.digest, error.message)
        from mainspring.core.models import torch_runtime

        return torch_runtime.TorchRuntime.load(opened, threads=serving.torch_threads)

    return {"embedding_mlp": embedding_mlp}
