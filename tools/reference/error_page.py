"""The errors: every class of `core/errors.py`, and what each is at each edge."""

from __future__ import annotations

import dataclasses
import inspect

from words import code, page, prose, sentence, table

INTRO = """An error says who must act, whether trying again can help, and in its message the next step. Over HTTP it is a problem document
(RFC 9457) with `code`, `kind`, `message`, `retryable` and `details`; over gRPC and between processes it has the same fields. Programs
compare `code`, which does not change; words may. A code that a client does not know has at least a kind that it does."""

WHO = {
    "rejected": "The caller must change the request. Trying again does not help.",
    "denied": "The caller, or an owner, must obtain a right.",
    "busy": "Wait, then try again; `retry-after` says how long.",
    "unavailable": "An operator must act; trying again helps once that is done.",
    "misconfigured": "An operator must act; the process does not start.",
    "broken": "We must act: it is a mistake of ours.",
}


def pages() -> dict[str, str]:
    from mainspring.core import errors
    from mainspring.platform.cli import output
    from mainspring.platform.http import errors as control
    from mainspring.serving.grpc import status
    from mainspring.serving.http import errors as serving

    parts = []
    for kind in errors.Kind:
        rows = []
        for cls in errors.BY_CODE.values():
            if cls.kind is not kind or cls is errors.MainspringError:
                continue
            made = cls(message="")
            fields = ", ".join(code(f.name) for f in dataclasses.fields(cls) if f.name != "message")
            rows.append(
                (
                    code(cls.code),
                    sentence(cls.__doc__) if _has_own_words(cls) else "",
                    fields,
                    _http(control.status_of(made), serving.status_of(made)),
                    code(status.code_of(made).name),
                    str(output.exit_code(made)),
                )
            )
        head = ("code", "", "details", "HTTP", "gRPC", "exit code")
        parts += [f"## {kind}", prose(WHO[str(kind)]), table(head, rows)]
    return {"reference/errors.md": page("Errors", INTRO, parts)}


def _http(control: int, serving: int) -> str:
    return str(control) if control == serving else f"{control}, of serving {serving}"


def _has_own_words(cls: type) -> bool:
    """A dataclass without a docstring is given its signature as one."""
    said = cls.__dict__.get("__doc__")
    return bool(said) and not inspect.cleandoc(said).startswith(f"{cls.__name__}(")
