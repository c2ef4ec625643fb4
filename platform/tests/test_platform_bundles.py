"""`mainspring bundle export` and `publish`, as commands over a state directory of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mainspring.core import canonical, settings
from mainspring.core.features import ops, plan, schema
from mainspring.core.models import architecture, bundle, network, signing

#: The project's own folder: what lies there has not left.
OWN = ".mainspring/projects/demo"
OUT, WWW = f"{OWN}/out", f"{OWN}/www"


def mainspring(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAINSPRING_")}
    command = [sys.executable, "-m", "mainspring.platform.cli.main", "bundle", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def digest(tmp_path: Path) -> str:
    """Of a signed bundle in the store that the settings name: one number in, a logistic regression."""
    import polars as pl

    declared = plan.TransformPlan(name="demo", columns=(plan.dense("x", ops.Impute()),))
    fitted = declared.fit(pl.DataFrame({"x": [1.0, 2.0]}, schema={"x": pl.Float32}))
    spec = architecture.Architecture(dense_width=1)
    view = schema.FeatureView(
        name="v",
        keys=(schema.Column(name="k", dtype="string"),),
        fields=(schema.Column(name="x", dtype="float32"),),
    )
    s = settings.load({}, directory=tmp_path)
    key = signing.ensure_key(s.models.signing_key)
    key.publish(s.serving.trusted_keys_dir)
    contents = bundle.BundleContents(
        name="demo",
        project="demo",
        plan=fitted.to_bytes(),
        model=spec.model_dump(mode="json"),
        weights=network.save_weights(network.EmbeddingMlp(spec, seed=1)),
        card="# demo\n",
        service=schema.FeatureService(name="s", views=(view,)),
        request_columns=(),
        input_columns=fitted.inputs,
        metrics={},
        data_digest=canonical.digest("data"),
        training_run_id="run_1",
        code_version="0",
    )
    return bundle.BundleStore(s.serving.bundle_dir).write(contents, key).digest


def test_a_bundle_reaches_a_device(tmp_path: Path, digest: str) -> None:
    done = mainspring(tmp_path, "export", digest, "--edge", OUT, "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)["data"]
    assert made["bundle"] == digest and Path(made["path"]) == tmp_path / OUT
    done = mainspring(tmp_path, "publish", OUT, "--to", WWW, "--channel", "demo", "--json")
    assert done.returncode == 0, done.stderr
    head = json.loads(done.stdout)["data"]
    assert (head["sequence"], head["release"], head["channel"]) == (1, made["release"], "demo")
    pulled = subprocess.run(
        [
            sys.executable,
            f"{OUT}/sync.py",
            "--from",
            str(tmp_path / WWW),
            "--to",
            "device",
            "--key",
            head["key"],
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert pulled.returncode == 0 and pulled.stdout.startswith("updated: number 1"), pulled.stderr
    ran = subprocess.run(
        [sys.executable, "device/current/run.py"],
        cwd=tmp_path,
        input='{"x": 1.5}\n',
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0 and 0 < float(ran.stdout) < 1


def test_outside_of_the_project_s_folder_the_policies_are_asked_first(tmp_path: Path, digest: str) -> None:
    """Where nobody can be asked nothing leaves; what a channel has already is only signed anew."""

    def refused(*words: str) -> None:
        done = mainspring(tmp_path, *words)
        assert done.returncode not in (0, 2) and "Traceback" not in done.stderr, done.stderr

    refused("export", digest, "--edge", "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / ".mainspring/projects/demo").mkdir(parents=True)
    (tmp_path / ".mainspring/projects/demo/link").symlink_to(tmp_path)
    refused("export", digest, "--edge", f"{OWN}/link/out")
    assert not (tmp_path / "out").exists()
    assert mainspring(tmp_path, "export", digest, "--edge", OUT).returncode == 0
    refused("publish", OUT, "--to", "www", "--channel", "demo")
    assert not (tmp_path / "www").exists()
    assert mainspring(tmp_path, "publish", OUT, "--to", WWW, "--channel", "demo").returncode == 0
    (tmp_path / WWW).rename(tmp_path / "www")
    again = mainspring(tmp_path, "publish", OUT, "--to", "www", "--channel", "demo", "--valid-days", "7")
    assert again.returncode == 0, again.stderr


def test_what_is_wrong_is_one_line(tmp_path: Path, digest: str) -> None:
    missing = mainspring(tmp_path, "export", "sha256:" + "0" * 64, "--edge", OUT)
    assert missing.returncode == 1 and missing.stderr.startswith("error: no bundle")
    assert mainspring(tmp_path, "export", digest).returncode == 2
    (tmp_path / OUT).mkdir(parents=True)
    taken = mainspring(tmp_path, "export", digest, "--edge", OUT, "--json")
    assert taken.returncode == 1 and json.loads(taken.stdout)["error"]["code"] == "conflict"
    empty = mainspring(tmp_path, "publish", OUT, "--to", WWW, "--channel", "demo")
    assert empty.returncode == 1 and "no release in" in empty.stderr
    for key in settings.load({}, directory=tmp_path).serving.trusted_keys_dir.iterdir():
        key.unlink()
    assert mainspring(tmp_path, "export", digest, "--edge", f"{OWN}/other").returncode == 3


def test_a_deployment_s_rules_are_asked_without_deploying(tmp_path: Path, digest: str) -> None:
    done = mainspring(tmp_path, "check", digest, "--environment", "dev", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["data"]
    assert (found["bundle"], found["builder"]) == (digest, "urn:mainspring:builder:library")
    assert found["allowed"] and set(found["rules"].values()) == {"allowed"}
    denied = mainspring(tmp_path, "check", digest, "--json")
    assert denied.returncode == 3
    rules = json.loads(denied.stdout)["data"]["rules"]
    assert "takes what a process of the platform built" in rules["supply.builder"]
    assert "no bill of materials" in rules["supply.bill"]
    folder = tmp_path / ".mainspring" / "bundles" / digest.removeprefix("sha256:")
    (folder / "provenance.intoto.json").unlink()
    (folder / "model.sig").unlink()
    bare = mainspring(tmp_path, "check", digest, "--environment", "dev")
    assert bare.returncode == 3 and "bundle.provenance" in bare.stderr
