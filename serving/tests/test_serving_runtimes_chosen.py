"""Which runtime a bundle gets, by the settings; what does not fit is refused when it is loaded."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import serving_world as world
import torch
from serving_bundles import ARCHITECTURE, Home

from mainspring.core import errors, settings
from mainspring.core.models import architecture, network
from mainspring.serving.runtimes import chosen

COLUMNS = {
    "origin_stats__mean_delay": np.float32([1.0, np.nan, -3.0]),
    "distance_km": np.float32([100.0, 2.0, np.nan]),
    "carrier": np.array(["UA", None, "ZZ"], object),
}


def home(directory: Path, runtime: str) -> Home:
    directory.mkdir(exist_ok=True)
    return Home(directory, chosen.runtimes(world.settings_in(directory, runtime=runtime).serving))


def test_the_settings_choose(tmp_path: Path) -> None:
    scores = {}
    for runtime, name in (("auto", "native"), ("native", "native"), ("torch", "torch")):
        mine = home(tmp_path / runtime, runtime)
        loaded = mine.loader.load(mine.write_network())
        assert loaded.runtime.name == name
        scores[runtime] = loaded.runtime.predict(loaded.prepare(COLUMNS))
    np.testing.assert_allclose(scores["native"], scores["torch"], rtol=1e-5, atol=1e-6)
    assert np.array_equal(scores["auto"], scores["native"])
    with pytest.raises(errors.InvalidSettings, match="serving.runtime"):
        settings.load({"MAINSPRING_SERVING_RUNTIME": "tensorflow"}, directory=tmp_path)


def test_what_the_kernel_does_not_take_goes_to_torch_if_it_may(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = network.EmbeddingMlp(ARCHITECTURE)
    weights = safetensors.torch.save({k: v.to(torch.bfloat16) for k, v in model.state_dict().items()})
    automatic, native = home(tmp_path / "auto", "auto"), home(tmp_path / "native", "native")
    with caplog.at_level(logging.WARNING, "mainspring.models"):
        loaded = automatic.loader.load(automatic.write_network(weights=weights))
    assert loaded.runtime.name == "torch"
    assert "runs on torch" in caplog.text and "BF16" in caplog.text
    with pytest.raises(errors.MissingTool, match="set `serving.runtime` to `auto` or `torch`"):
        native.loader.load(native.write_network(weights=weights))


@pytest.mark.parametrize("runtime", ["auto", "torch"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dense_width": 3}, "2 columns, the model takes 3"),
        ({"id_columns": ("origin",), "tables": ()}, "ids `carrier`, the model takes `origin`"),
        ({"id_columns": (), "tables": ()}, "ids `carrier`, the model takes none"),
        (
            {"tables": (architecture.Table(column="carrier", rows=3, dimensions=2),)},
            "`carrier` has 4 ids, the model has embeddings for 3",
        ),
    ],
)
def test_a_model_that_does_not_take_what_its_plan_gives_does_not_load(
    tmp_path: Path, runtime: str, change: dict[str, object], words: str
) -> None:
    mine = home(tmp_path / runtime, runtime)
    other = ARCHITECTURE.model_copy(update=change)
    digest = mine.write_network(
        model=other.model_dump(mode="json"), weights=network.save_weights(network.EmbeddingMlp(other))
    )
    with pytest.raises(errors.CorruptArtifact, match=words):
        mine.loader.load(digest)


def test_a_network_is_loaded_without_torch(tmp_path: Path) -> None:
    mine = Home(tmp_path)
    digest = mine.write_network()
    code = f"""
import pathlib, sys
from mainspring.core import settings
from mainspring.core.models import bundle
from mainspring.serving import signed_bundles
from mainspring.serving.runtimes import chosen
folder = pathlib.Path({str(tmp_path)!r})
loader = signed_bundles.SignedBundleLoader(
    bundle.BundleStore(folder / "bundles"), folder / "trusted",
    chosen.runtimes(settings.load({{}}, directory=folder).serving), lambda project: dict,
)
print(loader.load({digest!r}).runtime.name, [m for m in ("torch", "pyarrow", "polars", "pandas") if m in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == ["native", "[]"]
