"""One door: sources in order, every problem in one message, what follows from what."""

import ast
import inspect
import itertools
from pathlib import Path
from typing import get_args

import pytest

from mainspring.core import errors, settings
from mainspring.core.contracts.capacity import Capacity


def test_defaults_follow_from_state_directory_and_port_base(tmp_path: Path) -> None:
    s = settings.load({"MAINSPRING_STACK_PORT_BASE": "9000"}, directory=tmp_path)
    assert (s.control.port, s.serving.port, s.workflow.address) == (9000, 9001, "127.0.0.1:9002")
    assert s.serving.online_store == tmp_path / ".mainspring" / "online"
    assert s.control.database_url.endswith(str(tmp_path / ".mainspring" / "control.db"))
    assert s.serving_url == "http://127.0.0.1:9001"


def test_environment_beats_file_beats_default(tmp_path: Path) -> None:
    (tmp_path / "mainspring.toml").write_text("[serving]\nport = 8101\nmax_rows_per_request = 10\n")
    s = settings.load({"MAINSPRING_SERVING_PORT": "8102"}, directory=tmp_path)
    assert (s.serving.port, s.serving.max_rows_per_request) == (8102, 10)


def test_written_paths_start_at_the_working_directory(tmp_path: Path) -> None:
    s = settings.load({"MAINSPRING_SERVING_BUNDLE_DIR": "here"}, directory=tmp_path)
    assert s.serving.bundle_dir == tmp_path / "here"


def test_all_problems_in_one_message(tmp_path: Path) -> None:
    (tmp_path / "mainspring.toml").write_text("colour = 1\n[servng]\nport = 1\n[serving]\nport = 70000\n")
    with pytest.raises(errors.InvalidSettings) as caught:
        settings.load(
            {"MAINSPRING_SERVNG_PORT": "1", "MAINSPRING_RAY_TRAIN_WORKERS": "two"}, directory=tmp_path
        )
    text = str(caught.value)
    assert len(caught.value.problems) == 5
    for part in ("`MAINSPRING_SERVING_PORT`", "`serving.port` from `mainspring.toml`", "`ray.train_workers`"):
        assert part in text
    assert "\n" not in text


def test_capacities_are_those_of_the_contract(tmp_path: Path) -> None:
    assert get_args(settings.AnyCapacity) == tuple(Capacity)
    s = settings.load({"MAINSPRING_RAY_CAPACITY": "spot"}, directory=tmp_path)
    assert s.ray.capacity is Capacity.SPOT
    assert settings.load(settings.to_environment(s), directory=tmp_path).ray.capacity is Capacity.SPOT
    with pytest.raises(errors.InvalidSettings, match=r"`ray\.capacity` from .* got `borrowed`"):
        settings.load({"MAINSPRING_RAY_CAPACITY": "borrowed"}, directory=tmp_path)


def test_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidSettings, match="other.toml"):
        settings.load({"MAINSPRING_CONFIG": "other.toml"}, directory=tmp_path)


def test_broken_file_is_one_problem(tmp_path: Path) -> None:
    (tmp_path / "mainspring.toml").write_text("[serving\n")
    with pytest.raises(errors.InvalidSettings, match=r"mainspring\.toml"):
        settings.load({}, directory=tmp_path)


def test_child_process_gets_exactly_what_is_in_force(tmp_path: Path) -> None:
    s = settings.load(
        {"MAINSPRING_STACK_PORT_BASE": "9100", "MAINSPRING_FORCE_TARGET": "generic"}, directory=tmp_path
    )
    child = settings.load(settings.to_environment(s), directory=Path("/"))
    assert child == s
    assert child.native.force_target == "generic"
    assert child.control.policies_dir is None
    own = settings.load({"MAINSPRING_CONTROL_POLICIES_DIR": "own"}, directory=tmp_path)
    assert own.control.policies_dir == tmp_path.resolve() / "own"
    assert settings.load(settings.to_environment(own), directory=Path("/")) == own


def test_every_field_says_its_reason() -> None:
    for group, model in settings.GROUPS.items():
        (definition,) = ast.parse(inspect.getsource(model)).body
        assert isinstance(definition, ast.ClassDef)
        for field, reason in itertools.pairwise([*definition.body, ast.Pass()]):
            if isinstance(field, ast.AnnAssign):
                assert isinstance(reason, ast.Expr) and isinstance(reason.value, ast.Constant), (
                    f"{group}.{ast.unparse(field.target)}"
                )
