"""The protocol's messages, made from `inference.proto` when this module is imported.

No compiler is needed at build time or at run time: the file is the one source, and this reads the part of proto3 that
it uses. The messages live in a pool of their own, so that a client's generated code for the same package can be loaded
in the same process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE: Final = "inference"
SERVICE: Final = "GRPCInferenceService"
SOURCE: Final = Path(__file__).with_name("inference.proto")

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "double": _Field.TYPE_DOUBLE,
    "float": _Field.TYPE_FLOAT,
    "int64": _Field.TYPE_INT64,
    "uint64": _Field.TYPE_UINT64,
    "int32": _Field.TYPE_INT32,
    "uint32": _Field.TYPE_UINT32,
    "bool": _Field.TYPE_BOOL,
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
}
_TOKEN: Final = re.compile(r'[A-Za-z_][\w.]*|\d+|"[^"]*"|[{}=;<>,()]')


class _Reader:
    """Recursive descent over the tokens. A file that is not understood fails the import: it is ours."""

    def __init__(self, text: str) -> None:
        self._tokens: Iterator[str] = iter(_TOKEN.findall(re.sub(r"//[^\n]*", "", text)))
        self.file = descriptor_pb2.FileDescriptorProto(
            name="mainspring/inference.proto", package=PACKAGE, syntax="proto3"
        )

    def read(self) -> descriptor_pb2.FileDescriptorProto:
        for word in self._tokens:
            if word in ("syntax", "package"):
                while next(self._tokens) != ";":
                    pass
            elif word == "message":
                self._message(self.file.message_type.add(name=next(self._tokens)))
            elif word == "enum":
                self._enum(self.file.enum_type.add(name=next(self._tokens)))
            elif word == "service":
                self._service(self.file.service.add(name=next(self._tokens)))
            else:
                raise ValueError(f"inference.proto: `{word}` is not understood")
        return self.file

    def _expect(self, *wanted: str) -> None:
        for want in wanted:
            if (got := next(self._tokens)) != want:
                raise ValueError(f"inference.proto: expected `{want}`, got `{got}`")

    def _message(self, message: descriptor_pb2.DescriptorProto) -> None:
        self._expect("{")
        while (word := next(self._tokens)) != "}":
            if word == "message":
                self._message(message.nested_type.add(name=next(self._tokens)))
            elif word == "oneof":
                message.oneof_decl.add(name=next(self._tokens))
                self._expect("{")
                while (kind := next(self._tokens)) != "}":
                    self._field(message, kind).oneof_index = len(message.oneof_decl) - 1
            elif word == "map":
                self._map(message)
            elif word == "repeated":
                self._field(message, next(self._tokens), _Field.LABEL_REPEATED)
            else:
                self._field(message, word)

    def _field(
        self,
        message: descriptor_pb2.DescriptorProto,
        kind: str,
        label: descriptor_pb2.FieldDescriptorProto.Label.ValueType = _Field.LABEL_OPTIONAL,
    ) -> descriptor_pb2.FieldDescriptorProto:
        field = message.field.add(name=next(self._tokens), label=label)
        self._expect("=")
        field.number = int(next(self._tokens))
        self._expect(";")
        self._set_type(field, kind, message)
        return field

    def _set_type(
        self,
        field: descriptor_pb2.FieldDescriptorProto,
        kind: str,
        message: descriptor_pb2.DescriptorProto,
    ) -> None:
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
        elif kind in {e.name for e in self.file.enum_type}:
            field.type, field.type_name = _Field.TYPE_ENUM, f".{PACKAGE}.{kind}"
        elif kind in {n.name for n in message.nested_type}:
            field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{message.name}.{kind}"
        else:
            field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"

    def _map(self, message: descriptor_pb2.DescriptorProto) -> None:
        self._expect("<", "string", ",")
        value = next(self._tokens)
        self._expect(">")
        field = message.field.add(name=next(self._tokens), label=_Field.LABEL_REPEATED)
        self._expect("=")
        field.number = int(next(self._tokens))
        self._expect(";")
        entry = message.nested_type.add(name=field.name.title().replace("_", "") + "Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING)
        self._set_type(entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL), value, entry)
        # A relative name: the pool looks for it from the message that the field is in.
        field.type, field.type_name = _Field.TYPE_MESSAGE, entry.name

    def _enum(self, enum: descriptor_pb2.EnumDescriptorProto) -> None:
        self._expect("{")
        while (name := next(self._tokens)) != "}":
            self._expect("=")
            enum.value.add(name=name, number=int(next(self._tokens)))
            self._expect(";")

    def _service(self, service: descriptor_pb2.ServiceDescriptorProto) -> None:
        self._expect("{")
        while next(self._tokens) != "}":
            method = service.method.add(name=next(self._tokens))
            self._expect("(")
            method.client_streaming, method.input_type = self._streamed()
            self._expect("returns", "(")
            method.server_streaming, method.output_type = self._streamed()
            self._expect(";")

    def _streamed(self) -> tuple[bool, str]:
        word = next(self._tokens)
        streams = word == "stream"
        name = next(self._tokens) if streams else word
        self._expect(")")
        return streams, f".{PACKAGE}.{name}"


#: Everything of the protocol and nothing else.
POOL: Final = descriptor_pool.DescriptorPool()
POOL.Add(_Reader(SOURCE.read_text()).read())


def message(name: str) -> Any:
    """The class of a message by its name within the package. Errors: KeyError."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
