"""Every error class survives pickle, copy and the wire; the taxonomy keeps its promises."""

import copy
import pickle
from dataclasses import fields

import pytest

from mainspring.core import errors

CLASSES = sorted(errors.BY_CODE.values(), key=lambda c: c.code)


def example(cls: type[errors.MainspringError]) -> errors.MainspringError:
    values = {"str": "x", "int": 7, "float": 2.5, "tuple[str, ...]": ("a", "b")}
    return cls(**{f.name: values[str(f.type)] for f in fields(cls)})


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.code)
def test_survives_process_borders(cls: type[errors.MainspringError]) -> None:
    original = example(cls)
    for other in (
        pickle.loads(pickle.dumps(original)),
        copy.copy(original),
        errors.from_wire(errors.to_wire(original)),
    ):
        assert type(other) is cls
        assert other.message == str(other) == original.message
        assert other.details == original.details


def test_codes_are_unique_and_kinds_inherit() -> None:
    # Edges subclass errors for a status of their own and keep the parent's code; those are not this file's.
    seen = [c for c in errors._walk(errors.MainspringError) if c.__module__ == errors.__name__]
    assert len({c.code for c in seen}) == len(seen) == len(errors.BY_CODE)
    assert {c.code for c in seen if c.retryable} == {
        "busy",
        "overloaded",
        "rate_limited",
        "unavailable",
        "dependency_down",
        "deadline_exceeded",
    }


def test_unknown_code_becomes_its_kind() -> None:
    wire = {"code": "from_the_future", "kind": "busy", "message": "m", "details": {"new_field": 1}}
    error = errors.from_wire(wire)
    assert type(error) is errors.Busy and error.message == "m" and error.retryable


def test_wire_never_imports_by_name() -> None:
    error = errors.from_wire({"code": "os.system", "kind": "subprocess.Popen", "message": "m"})
    assert type(error) is errors.Broken


def test_unknown_field_is_a_mistake_here() -> None:
    with pytest.raises(TypeError):
        errors.NotFound("m", colour="red")  # type: ignore[call-arg]
