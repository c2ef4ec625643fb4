"""The shape of a feature view and of a feature service, free of any engine: what a bundle carries to serving."""

from __future__ import annotations

import difflib
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mainspring.core import errors, ports

#: Types a field may have: those with a value to spare for "missing" (NaN; None or the empty string). A whole number
#: that may be missing is declared float64, which is exact up to 2**53.
FIELD_TYPES: Final = ("float32", "float64", "string")
KEY_TYPES: Final = ("string", "int64")

_NUMPY: Final[dict[str, npt.DTypeLike]] = {
    "float32": np.float32,
    "float64": np.float64,
    "int64": np.int64,
    "bool": np.bool_,
    "string": np.object_,
}


class Column(BaseModel):
    """A named, typed column. Strings travel as object arrays of `str` or None."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    dtype: ports.FieldType

    @property
    def numpy_dtype(self) -> np.dtype[np.generic]:
        return np.dtype(_NUMPY[self.dtype])


class FeatureView(BaseModel):
    """One feature view: its join keys, its fields and how long a row stays alive.

    A row whose age is exactly `ttl_seconds` is alive, one microsecond more and it is not; None never expires.
    Fields are of FIELD_TYPES, keys of KEY_TYPES.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    keys: tuple[Column, ...] = Field(min_length=1)
    fields: tuple[Column, ...] = Field(min_length=1)
    ttl_seconds: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [c.name for c in (*self.keys, *self.fields)]
        if len(set(names)) != len(names):
            raise ValueError(f"view `{self.name}` names a column twice: {names}")
        for key in self.keys:
            if key.dtype not in KEY_TYPES:
                raise ValueError(
                    f"key `{key.name}` of view `{self.name}` is {key.dtype}; keys are string or int64"
                )
        for field in self.fields:
            if field.dtype not in FIELD_TYPES:
                raise ValueError(
                    f"field `{field.name}` of view `{self.name}` is {field.dtype}, which cannot say missing; use"
                    " float32, float64 or string"
                )
        return self

    @property
    def ttl_us(self) -> int | None:
        return None if self.ttl_seconds is None else self.ttl_seconds * 1_000_000

    @property
    def online(self) -> ports.ViewSchema:
        """The view as an online store registers it."""
        return ports.ViewSchema(
            name=self.name,
            join_keys=tuple(k.name for k in self.keys),
            fields=tuple((f.name, f.dtype) for f in self.fields),
            ttl_seconds=self.ttl_seconds,
        )

    def field(self, name: str) -> Column:
        """The field called `name`, else NotFound with close names."""
        for field in self.fields:
            if field.name == name:
                return field
        close = tuple(difflib.get_close_matches(name, [f.name for f in self.fields], n=3))
        raise errors.NotFound(
            f"view `{self.name}` has no field `{name}`; "
            + (f"did you mean `{close[0]}`" if close else f"its fields are {[f.name for f in self.fields]}"),
            resource="field",
            name=name,
            did_you_mean=close,
        )


class FeatureService(BaseModel):
    """A feature service: the views one model reads, with the fields it takes from each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    views: tuple[FeatureView, ...]

    @property
    def keys(self) -> tuple[Column, ...]:
        """Every join key of every view, once, in order of first use."""
        seen: dict[str, Column] = {}
        for view in self.views:
            for key in view.keys:
                known = seen.setdefault(key.name, key)
                if known.dtype != key.dtype:
                    raise errors.SchemaMismatch(
                        f"key `{key.name}` is {known.dtype} in one view and {key.dtype} in `{view.name}`;"
                        " give the entity one type",
                        feature=key.name,
                        expected=known.dtype,
                        got=key.dtype,
                    )
        return tuple(seen.values())

    @property
    def columns(self) -> tuple[Column, ...]:
        """The joined columns, named `view__field`, in order."""
        return tuple(
            Column(name=joined_name(view.name, field.name), dtype=field.dtype)
            for view in self.views
            for field in view.fields
        )

    def view(self, name: str) -> FeatureView:
        """The view called `name`, else NotFound with close names."""
        for view in self.views:
            if view.name == name:
                return view
        close = tuple(difflib.get_close_matches(name, [v.name for v in self.views], n=3))
        raise errors.NotFound(
            f"service `{self.name}` has no view `{name}`; "
            + (f"did you mean `{close[0]}`" if close else f"its views are {[v.name for v in self.views]}"),
            resource="view",
            name=name,
            did_you_mean=close,
        )


def joined_name(view: str, field: str) -> str:
    """How a view's field is called once it is joined, as Feast's full feature names."""
    return f"{view}__{field}"
