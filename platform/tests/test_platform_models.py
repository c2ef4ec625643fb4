"""Models as the control API shows them, and endpoints as serving has them, where there is a serving and where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from platform_api import Api, api, empty, launcher  # noqa: F401 - fixtures
from platform_bundles import METRICS, signed, train

from mainspring.core import settings
from mainspring.core.contracts import prediction
from mainspring.core.models import withdrawn


def test_models_are_what_trainings_made_newest_first(api: Api) -> None:  # noqa: F811
    api.run()  # has made nothing yet
    digests = ["sha256:" + letter * 64 for letter in "abc"]
    for version, digest in enumerate(digests):
        train(api, digest, model_name="late", model_version=str(version), metrics={"test": METRICS})
    page = api.call("developer", "GET", "/api/v1/models", 200, project="flight-delay", limit=2)
    assert [one["bundle_digest"] for one in page["items"]] == digests[:0:-1]
    assert page["items"][0]["metrics"]["test"]["auc"] == 0.75
    rest = api.call("developer", "GET", "/api/v1/models", 200, limit=2, before=page["next"])
    assert [one["version"] for one in rest["items"]] == ["0"] and rest["next"] == ""
    assert api.call("developer", "GET", "/api/v1/models", 404, project="nowhere")["code"] == "not_found"
    assert api.call("", "GET", "/api/v1/models", 401)["code"] == "unauthenticated"


def test_a_model_says_what_its_bundle_says(api: Api, tmp_path: Path) -> None:  # noqa: F811
    digest = signed(tmp_path)
    train(api, digest, model_name="late", metrics={"test": METRICS})
    path = f"/api/v1/models/flight-delay/{digest}"
    found = api.call("developer", "GET", path, 200)
    assert (found["problem"], found["card"], found["kind"]) == ("", "# For people\n", "embedding_mlp")
    assert found["signer"] and found["input_columns"] == {"x": "float32"} and found["views"] == ["v"]
    assert found["files"]["weights.safetensors"] == 7 and found["code_version"] == "c0de"

    s = settings.load({}, directory=tmp_path)
    mark = prediction.BundleWithdrawal(digest=digest, reason="wrong labels", by="ana", at=None)
    withdrawn.mark(s.serving.bundle_dir, mark)
    assert api.call("developer", "GET", path, 200)["withdrawn"] == "wrong labels"


def test_a_damaged_or_foreign_bundle_is_told_of_and_not_believed(api: Api, tmp_path: Path) -> None:  # noqa: F811
    digest = signed(tmp_path)
    train(api, digest)
    path = f"/api/v1/models/flight-delay/{digest}"
    s = settings.load({}, directory=tmp_path)
    card = s.serving.bundle_dir / digest.removeprefix("sha256:") / "card.md"
    card.chmod(0o644)
    card.write_text("# Another\n")
    found = api.call("developer", "GET", path, 200)
    assert "card.md" in found["problem"] and (found["card"], found["signer"]) == ("", "")
    elsewhere = "sha256:" + "d" * 64
    train(api, elsewhere)
    gone = api.call("developer", "GET", f"/api/v1/models/flight-delay/{elsewhere}", 200)
    assert elsewhere in gone["problem"] and gone["card"] == ""
    for unknown in ("sha256:" + "e" * 64, "sha256:short", "..%2f..%2fcontrol.db"):
        api.call("developer", "GET", f"/api/v1/models/flight-delay/{unknown}", 404)


def test_without_serving_an_endpoint_says_so_and_a_question_is_refused(
    tmp_path: Path,
    api: Api,  # noqa: F811
) -> None:
    api.run(endpoint="late-dev")
    found = api.call("developer", "GET", "/api/v1/endpoints/late-dev/live", 200)
    assert found["project"] == "flight-delay" and (found["traffic"], found["stats"]) == (None, None)
    assert "mainspring up" in found["unavailable"]
    for verb in ("predict", "explain"):
        path = f"/api/v1/endpoints/late-dev/{verb}"
        away = api.call("developer", "POST", path, 503, {"rows": [{"x": 1.0}]})
        assert away["code"] == "dependency_down" and away["details"] == {"name": "serving"}
        api.call("developer", "POST", path, 400, {"rows": [{"x": 1.0}], "entities": []})
        api.call("", "POST", path, 401, {"rows": [{"x": 1.0}]})
        api.call("developer", "POST", f"/api/v1/endpoints/nowhere/{verb}", 404, {"rows": [{"x": 1.0}]})
    api.call("developer", "GET", "/api/v1/endpoints/nowhere/live", 404)


@pytest.fixture
def other_program(tmp_path: Path) -> Any:
    """Something else at serving's address."""
    import http.server
    import threading

    class Teapot(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(418)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Teapot) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        (tmp_path / "mainspring.toml").write_text(f"[serving]\nport = {server.server_port}\n")
        yield
        server.shutdown()
        thread.join()


def test_another_program_at_servings_address_is_named(other_program: None, api: Api) -> None:  # noqa: F811
    api.run(endpoint="late-dev")
    found = api.call("developer", "GET", "/api/v1/endpoints/late-dev/live", 200)
    assert "418" in found["unavailable"] and "serving.port" in found["unavailable"]
