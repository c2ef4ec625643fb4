"""The spec of a program: plain JSON in, the flat lists of the compiled code out.

    {"version": 1,
     "inputs": [{"name": "price", "type": "float32"}, {"name": "user", "type": "int64"},
                {"name": "now", "type": "int64"}, {"name": "clicks", "type": "events"},
                {"name": "city", "type": "string"}, {"name": "tags", "type": "int64_list"},
                {"name": "words", "type": "string_list"}],
     "dense": [{"op": "numeric", "source": "price", "fill": 2.0, "log1p": true, "mean": 1.5, "scale": 0.7},
               {"op": "missing", "source": "price"},
               {"op": "min_max", "source": "price", "low": 0.0, "high": 100.0},
               {"op": "pass", "source": {"window": "count", "events": "clicks", "as_of": "now", "width": 3600}}],
     "ids": [{"op": "hash", "source": "user", "buckets": 1000, "seed": 7},
             {"op": "vocabulary", "source": "user", "values": [3, 5, 8]},
             {"op": "bucketise", "source": "price", "boundaries": [1.0, 10.0], "right": false},
             {"op": "hash", "source": "city", "buckets": 1000},
             {"op": "vocabulary", "source": "city", "values": ["Berlin", "Zürich"]},
             {"op": "cross", "sources": ["user", "city"], "buckets": 5000}],
     "bags": [{"op": "hash", "source": "tags", "buckets": 500, "seed": 7},
              {"op": "vocabulary", "source": "words", "values": ["red", "green"]}]}

What each operation means is in `mainspring.native.reference`; version 1 stands for its hashes, too. It also stands where
operations are added: what was valid keeps its meaning, and an older release refuses by name what it does not know.
Defaults:  fill 0, lower and upper null (no bound), log1p false, mean 0, scale 1, seed 0, offset 0 (added to every id).
Unknown keys are refused: a misspelt parameter must not fall back to its default.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NoReturn, cast, get_args

from mainspring.native import status

__all__ = ["VERSION", "Column", "ColumnType", "Decoded", "decode"]

VERSION: Final = 1

ColumnType = Literal["float32", "int64", "events", "string", "int64_list", "string_list"]

# In the order of the compiled code's enumerations.
_AGGREGATES: Final = ("sum", "count", "mean", "max", "min", "last")
_NUMERIC, _MISSING, _PASS = 0, 1, 2
_HASH, _CROSS, _VOCABULARY, _BUCKETISE = 0, 1, 2, 3
#: What stands for a string among the ints (of which _HASH and _CROSS are the first two).
_LISTED: Final = 2
_INT64: Final = (-(1 << 63), (1 << 63) - 1)
_INT32_MAX: Final = (1 << 31) - 1
_REQUIRED: Final = object()
_FLOAT32: Final = struct.Struct("<f")

Window = tuple[int, int, int, int]
Dense = tuple[int, int, float, float, float, bool, float, float]
#: A string input (or a list of strings), _HASH, _CROSS or _LISTED, and the seed of its XXH3 or the number of its vocabulary: an int column of
#: the compiled code.
Derived = tuple[int, int, int]
Id = tuple[int, list[int], int, int, int, list[int], list[float], bool]


@dataclass(frozen=True)
class Column:
    """One input, as the spec names it."""

    name: str
    type: ColumnType


@dataclass
class Decoded:
    """A spec that holds together, by indices; what its numbers must be like is checked by the compiled code."""

    inputs: tuple[Column, ...]
    derived: list[Derived] = field(default_factory=list)
    vocabularies: list[list[str]] = field(default_factory=list)  # of strings
    windows: list[Window] = field(default_factory=list)
    dense: list[Dense] = field(default_factory=list)
    ids: list[Id] = field(default_factory=list)
    id_sizes: list[int] = field(default_factory=list)
    derived_lists: list[Derived] = field(default_factory=list)
    bags: list[Id] = field(default_factory=list)  # their sources are lists
    bag_sizes: list[int] = field(default_factory=list)

    def names(self, kind: ColumnType) -> list[str]:
        """The inputs of one type, in their order."""
        return [c.name for c in self.inputs if c.type == kind]


def decode(spec: object) -> Decoded:
    """Check a spec's shape and names. NativeError `bad_spec` says where it is wrong, and what was expected."""
    whole = _Object(spec, "spec")
    version = whole.integer("version", 1, _INT32_MAX)
    if version != VERSION:
        whole.refuse("version", f"must be {VERSION}", version, "compile it with the release that wrote it")
    inputs = [_column(_Object(c, f"inputs[{i}]")) for i, c in enumerate(whole.items("inputs"))]
    for i, column in enumerate(inputs):
        if column.name in {c.name for c in inputs[:i]}:
            _refuse(f"inputs[{i}].name", "must be new", column.name, "give each input its own name")
    decoded = Decoded(tuple(inputs))
    decoder = _Decoder(decoded)
    for i, item in enumerate(whole.items("dense", [])):
        decoded.dense.append(decoder.dense(_Object(item, f"dense[{i}]")))
    for i, item in enumerate(whole.items("ids", [])):
        decoded.ids.append(decoder.id(_Object(item, f"ids[{i}]")))
    for i, item in enumerate(whole.items("bags", [])):
        decoded.bags.append(decoder.bag(_Object(item, f"bags[{i}]")))
    whole.close()
    return decoded


class _Object:
    """A JSON object that is read key by key; whoever closes it learns of keys that nobody read."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, Mapping):
            _refuse(path, "must be an object", value, "pass a dict")
        self.path = path
        self._left = dict(value)
        self._given = ", ".join(f"`{key}`" for key in value) or "nothing"

    def take(self, key: str, default: object = _REQUIRED) -> Any:
        if key not in self._left and default is _REQUIRED:
            _say(f"`{self._at(key)}` is required, got {self._given}; add it")
        return self._left.pop(key, default)

    def text(self, key: str) -> str:
        value = self.take(key)
        if not isinstance(value, str):
            self.refuse(key, "must be a string", value, "correct the spec")
        return str(value)

    def one_of(self, key: str, allowed: Sequence[str]) -> str:
        value = self.text(key)
        if value not in allowed:
            self.refuse(key, "must be one of " + ", ".join(allowed), value, "correct the spec")
        return value

    def flag(self, key: str, default: object = _REQUIRED) -> bool:
        value = self.take(key, default)
        if not isinstance(value, bool):
            self.refuse(key, "must be true or false", value, "correct the spec")
        return bool(value)

    def number(self, key: str, default: object = _REQUIRED) -> float:
        value = self.take(key, default)
        return _number(value, self._at(key))

    def bound(self, key: str, unbounded: float) -> float:
        value = self.take(key, None)
        return unbounded if value is None else _number(value, self._at(key))

    def integer(self, key: str, low: int, high: int, default: object = _REQUIRED) -> int:
        return _integer(self.take(key, default), self._at(key), low, high)

    def items(self, key: str, default: object = _REQUIRED) -> list[Any]:
        value = self.take(key, default)
        if not isinstance(value, (list, tuple)):
            self.refuse(key, "must be a list", value, "correct the spec")
        return list(value)

    def refuse(self, key: str, expected: str, got: object, next_step: str) -> NoReturn:
        _refuse(self._at(key), expected, got, next_step)

    def close(self) -> None:
        for key in self._left:
            _say(f"`{self._at(str(key))}` is not known here; correct its name or leave it out")

    def _at(self, key: str) -> str:
        return key if self.path == "spec" else f"{self.path}.{key}"


class _Decoder:
    """Turns names into indices among the inputs of their type."""

    def __init__(self, decoded: Decoded) -> None:
        self._decoded = decoded
        self._index = {
            kind: {name: i for i, name in enumerate(decoded.names(kind))} for kind in get_args(ColumnType)
        }
        self._windows: dict[Window, int] = {}

    def dense(self, item: _Object) -> Dense:
        op = item.one_of("op", ("numeric", "min_max", "missing", "pass"))
        source = self._float(item)
        made: Dense = (source, _PASS if op == "pass" else _MISSING, 0.0, 0.0, 0.0, False, 0.0, 1.0)
        if op == "min_max":
            low, high = _float32(item.number("low")), _float32(item.number("high"))
            if not low < high:
                item.refuse("low", "must be below `high` as float32", low, "use `pass` for a constant column")
            fill = item.number("fill", 0.0)
            made = (source, _NUMERIC, fill, low, high, False, low, high - low)
        elif op == "numeric":
            made = (
                source, _NUMERIC, item.number("fill", 0.0), item.bound("lower", -math.inf),
                item.bound("upper", math.inf), item.flag("log1p", False), item.number("mean", 0.0),
                item.number("scale", 1.0),
            )  # fmt: skip
        item.close()
        return made

    def id(self, item: _Object) -> Id:
        op = item.one_of("op", ("hash", "cross", "vocabulary", "bucketise"))
        made = {
            "hash": self._hash, "cross": self._cross, "vocabulary": self._vocabulary, "bucketise": self._bucketise
        }[op](item, item.integer("offset", 0, _INT32_MAX, 0))  # fmt: skip
        self._decoded.id_sizes.append(_size(made))
        item.close()
        return made

    def bag(self, item: _Object) -> Id:
        make = {"hash": self._hash, "vocabulary": self._vocabulary}[item.one_of("op", ("hash", "vocabulary"))]
        made = make(item, item.integer("offset", 0, _INT32_MAX, 0), "int64_list", "string_list")
        self._decoded.bag_sizes.append(_size(made))
        item.close()
        return made

    def _hash(
        self, item: _Object, offset: int, ints: ColumnType = "int64", strings: ColumnType = "string"
    ) -> Id:
        name = item.text("source")
        seed, buckets = _seed_and_buckets(item)
        source = self._hashable(name, f"{item.path}.source", _HASH, seed, ints, strings)
        return (_HASH, [source], offset, seed, buckets, [], [], False)

    def _cross(self, item: _Object, offset: int) -> Id:
        names = item.items("sources")
        sources = [
            self._hashable(name, f"{item.path}.sources[{i}]", _CROSS, 0) for i, name in enumerate(names)
        ]
        return (_CROSS, sources, offset, *_seed_and_buckets(item), [], [], False)

    def _vocabulary(
        self, item: _Object, offset: int, ints: ColumnType = "int64", strings: ColumnType = "string"
    ) -> Id:
        name = item.text("source")
        if name in self._index[strings]:
            words = _words(item.items("values"), f"{item.path}.values")
            self._decoded.vocabularies.append(words)
            source = self._derived(name, _LISTED, len(self._decoded.vocabularies) - 1, ints, strings)
            return (_VOCABULARY, [source], offset, 0, 0, list(range(len(words))), [], False)
        source = self._named(name, f"{item.path}.source", ints, strings)
        values = [
            _integer(v, f"{item.path}.values[{i}]", *_INT64) for i, v in enumerate(item.items("values"))
        ]
        return (_VOCABULARY, [source], offset, 0, 0, values, [], False)

    def _bucketise(self, item: _Object, offset: int) -> Id:
        source = self._named(item.text("source"), f"{item.path}.source", "float32")
        bounds = [_number(b, f"{item.path}.boundaries[{i}]") for i, b in enumerate(item.items("boundaries"))]
        return (_BUCKETISE, [source], offset, 0, 0, [], bounds, item.flag("right"))

    def _float(self, item: _Object) -> int:
        source = item.take("source")
        if isinstance(source, str):
            return self._named(source, f"{item.path}.source", "float32")
        window = _Object(source, f"{item.path}.source")
        aggregate = _AGGREGATES.index(window.one_of("window", _AGGREGATES))
        events = self._named(window.text("events"), f"{window.path}.events", "events")
        as_of = self._named(window.text("as_of"), f"{window.path}.as_of", "int64")
        made = (events, as_of, window.integer("width", 1, _INT64[1]), aggregate)
        window.close()
        if made not in self._windows:
            self._windows[made] = len(self._decoded.windows)
            self._decoded.windows.append(made)
        return len(self._index["float32"]) + self._windows[made]

    def _hashable(
        self,
        name: object,
        path: str,
        kind: int,
        seed: int,
        ints: ColumnType = "int64",
        strings: ColumnType = "string",
    ) -> int:
        """An input of ints, or what is derived of one of strings."""
        if isinstance(name, str) and name in self._index[strings]:
            return self._derived(name, kind, seed, ints, strings)
        return self._named(name, path, ints, strings)

    def _derived(self, name: str, kind: int, number: int, ints: ColumnType, strings: ColumnType) -> int:
        """What is derived of an input of strings: those follow the inputs of ints."""
        made = self._decoded.derived if strings == "string" else self._decoded.derived_lists
        derived = (self._index[strings][name], kind, number)
        if derived not in made:
            made.append(derived)
        return len(self._index[ints]) + made.index(derived)

    def _named(self, name: object, path: str, kind: ColumnType, *also: ColumnType) -> int:
        """The index of an input of type `kind`; `also`: what the caller would have taken, too."""
        index = self._index[kind].get(name) if isinstance(name, str) else None
        if index is None:
            kinds = (kind, *also)
            known = ", ".join(f"`{n}`" for k in kinds for n in self._index[k]) or "none"
            _refuse(
                path, f"must be an input of type {' or '.join(kinds)} ({known})", name, "name one of them"
            )
        return index


def _column(item: _Object) -> Column:
    name = item.text("name")
    column = Column(name, cast("ColumnType", item.one_of("type", get_args(ColumnType))))
    item.close()
    return column


def _size(made: Id) -> int:
    """How many ids it has."""
    kind, _, _, _, buckets, values, boundaries, _ = made
    return buckets if kind in (_HASH, _CROSS) else len(values) + len(boundaries) + 2


def _seed_and_buckets(item: _Object) -> tuple[int, int]:
    return item.integer("seed", 0, (1 << 64) - 1, 0), item.integer("buckets", 2, _INT32_MAX)


def _words(values: list[Any], path: str) -> list[str]:
    seen: set[str] = set()
    for i, value in enumerate(values):
        if not isinstance(value, str) or not value:
            _refuse(
                f"{path}[{i}]",
                "must be a string, and not the empty one, which is missing",
                value,
                "leave it out",
            )
        try:
            value.encode()
        except UnicodeEncodeError:
            _refuse(f"{path}[{i}]", "must be valid Unicode", value, "leave it out")
        if value in seen:
            _refuse(f"{path}[{i}]", "must be new", value, "list each value once")
        seen.add(value)
    return values


def _number(value: object, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _refuse(path, "must be a number", value, "correct the spec")
    try:
        return float(value)
    except OverflowError:
        _refuse(path, "must be a float64", value, "correct the spec")


def _float32(value: float) -> float:
    """What `value` becomes in a float32 column, without NumPy's warnings; infinite where it is out of range."""
    try:
        packed: float = _FLOAT32.unpack(_FLOAT32.pack(value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return packed


def _integer(value: object, path: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        _refuse(path, f"must be an integer in {low} .. {high}", value, "correct the spec")
    return value


def _refuse(path: str, expected: str, got: object, next_step: str) -> NoReturn:
    shown = repr(got)
    _say(f"`{path}` {expected}, got `{shown if len(shown) <= 60 else shown[:57] + '...'}`; {next_step}")


def _say(message: str) -> NoReturn:
    raise status.NativeError("bad_spec", message)
