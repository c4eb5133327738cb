"""The rules file: YAML in the terms of the contract (`diversity`, and `selection` as in RecommendRequest)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from fusionrec.ranker.v1 import ranker_service_pb2 as pb
from google.protobuf.descriptor import FieldDescriptor as Kind

from services.ranker.convert_selection import decode_selection
from services.ranker.pipeline.select.options import Defaults, ExplorationMethod
from shared.data.validation import check_number
from shared.errors import FieldError, InvalidField
from shared.watched import file_bytes

if TYPE_CHECKING:
    from google.protobuf.message import Message

_FIELDS = ("diversity", "selection")
"""Fields of RecommendRequest that have defaults in the file."""
_NOT_HERE = "ignore_defaults"
_NUMBERS = {Kind.TYPE_FLOAT, Kind.TYPE_DOUBLE}


_UNREADABLE = (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What PyYAML's constructors and protobuf's fields raise for values that they cannot hold."""


class RuleFile:
    """`WatchedSource` over one local file. `learns`: whether the server learns from impressions, as Thompson needs."""

    def __init__(self, path: str, *, learns: bool = False) -> None:
        self._path = Path(path)
        self._learns = learns

    def stamp(self) -> str:
        """Returns what changes with the file; see `WatchedSource`."""
        return hashlib.sha256(file_bytes(self._path, "rules")).hexdigest()

    def read(self) -> tuple[str, Defaults]:
        """Returns the stamp and what the file says; see `WatchedSource`."""
        data = file_bytes(self._path, "rules")
        try:
            root = yaml.compose(data.decode(), Loader=yaml.SafeLoader)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            mark = getattr(error, "problem_mark", None)
            line = f"line {mark.line + 1}" if mark is not None else "the file"
            problem = getattr(error, "problem", None) or "it is not UTF-8"
            raise InvalidField(line, "", "YAML", str(problem)) from error
        except RecursionError as error:
            raise _too_deep() from error
        return hashlib.sha256(data).hexdigest(), _defaults(root, learns=self._learns)


def _defaults(root: yaml.Node | None, *, learns: bool) -> Defaults:
    message, lines = pb.RecommendRequest(), dict[str, int]()
    if root is None:
        return Defaults()
    try:
        _fill(message, root, "", lines, _FIELDS)
    except RecursionError as error:
        raise _too_deep() from error
    try:
        diversity = check_number(message.diversity, "diversity", 0.0, 1.0) if message.HasField("diversity") else None
        selection = decode_selection(message.selection, "selection")
        if selection.exploration_method is ExplorationMethod.THOMPSON and not learns:
            hint = "set RANKER_EXPLORATION_LEARNS=true: this server does not learn from impressions"
            raise InvalidField("selection.exploration_method", "thompson", "a method that can be served", hint)
        return Defaults(diversity, selection)
    except FieldError as error:
        own = error.violation
        raise type(error)(_at(_line(own.field, lines), own.field), own.value, own.limit, own.hint) from error


def _fill(message: Message, node: yaml.Node, path: str, lines: dict[str, int], allowed: tuple[str, ...] = ()) -> None:
    """Sets the fields of a message from a mapping, and notes the line of each path."""
    fields = {one.name: one for one in message.DESCRIPTOR.fields if one.name != _NOT_HERE}
    known = allowed or tuple(fields)
    if not isinstance(node, yaml.MappingNode):
        raise _wrong(node, path or "the file", f"fields ({', '.join(known)})")
    for key, value in node.value:
        name = str(key.value)
        own = f"{path}.{name}" if path else name
        if name not in known:
            raise _wrong(key, own, f"one of {', '.join(known)}")
        if own in lines:
            raise _wrong(key, own, "none twice")
        lines[own] = key.start_mark.line + 1
        _set(message, fields[name], value, own, lines)


def _set(message: Message, field: Any, node: yaml.Node, path: str, lines: dict[str, int]) -> None:
    oneof = field.containing_oneof
    if oneof is not None and message.WhichOneof(oneof.name) not in (None, field.name):
        raise _wrong(node, path, f"one of {', '.join(one.name for one in oneof.fields)}")
    if (
        field.message_type is not None
        and field.message_type.name == "StringList"
        and isinstance(node, yaml.SequenceNode)
    ):
        # A list of words is written as a list.
        _set(getattr(message, field.name), field.message_type.fields_by_name["values"], node, path, lines)
    elif field.is_repeated:
        if not isinstance(node, yaml.SequenceNode):
            raise _wrong(node, path, "a list")
        target = getattr(message, field.name)
        for index, one in enumerate(node.value):
            own = f"{path}[{index}]"
            lines[own] = one.start_mark.line + 1
            if field.message_type is not None:
                _fill(target.add(), one, own, lines)
            else:
                value = _scalar(field, one, own)
                try:
                    target.append(value)
                except _UNREADABLE as error:
                    raise _wrong(one, own, "a value of this field") from error
    elif field.message_type is not None:
        child = getattr(message, field.name)
        child.SetInParent()
        _fill(child, node, path, lines)
    else:
        value = _scalar(field, node, path)
        try:
            setattr(message, field.name, value)
        except _UNREADABLE as error:
            raise _wrong(node, path, "a value of this field") from error


def _scalar(field: Any, node: yaml.Node, path: str) -> Any:
    if not isinstance(node, yaml.ScalarNode):
        raise _wrong(node, path, "one value")
    if field.type == Kind.TYPE_STRING:
        # As it is written: an id of digits need not stand in quotes.
        return node.value
    if field.enum_type is not None:
        prefix = field.enum_type.values[0].name.removesuffix("UNSPECIFIED")
        names = {one.name.removeprefix(prefix).lower(): one.number for one in field.enum_type.values if one.number}
        if str(node.value).lower() not in names:
            raise _wrong(node, path, f"one of {', '.join(names)}")
        return names[str(node.value).lower()]
    try:
        value = yaml.SafeLoader("").construct_object(node)
    except _UNREADABLE:
        # Such as a date of month 99: whatever it was to be, it is none of what follows.
        value = None
    if field.type == Kind.TYPE_BOOL:
        fits, wanted = isinstance(value, bool), "true or false"
    elif field.type in _NUMBERS:
        fits, wanted = isinstance(value, int | float) and not isinstance(value, bool), "a number"
    else:
        fits, wanted = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31, "a whole number"
    if not fits:
        raise _wrong(node, path, wanted)
    return value


def _wrong(node: yaml.Node, path: str, wanted: str) -> InvalidField:
    value = node.value if isinstance(node, yaml.ScalarNode) else type(node).__name__.removesuffix("Node").lower()
    field = _at(node.start_mark.line + 1, path)
    return InvalidField(_printable(field), _printable(value), wanted, "see docs/rules.md")


def _printable(text: str) -> str:
    """Returns a text that can be written out: YAML may name halves of a character (U+D800)."""
    return text.encode("utf-8", "backslashreplace").decode()


def _too_deep() -> InvalidField:
    return InvalidField("the file", "", "YAML", "it is nested too deeply")


def _line(path: str, lines: dict[str, int]) -> int:
    """Returns the line of a path, else of the nearest one above it."""
    while path and path not in lines:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return lines.get(path, 1)


def _at(line: int, path: str) -> str:
    return f"line {line}: {path}"
