"""The experiments file: YAML, checked by pydantic; errors name the line."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from services.evaluator.experiments.experiment import Experiment
from shared.data.validation import check_id
from shared.errors import FieldError, InvalidField
from shared.watched import file_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_EXPERIMENTS = 100
MAX_VARIANTS = 20
SEE = "see docs/experiments.md"
_TEXT = "tag:yaml.org,2002:str"
_TEXTS = ("name", "salt")
"""Fields whose values are texts as they are written: a name of digits need not stand in quotes."""

_UNREADABLE = (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError)
"""What PyYAML's constructors raise for values that they cannot hold, such as a date of month 99."""


def _id(value: str) -> str:
    try:
        return check_id(value, "it")
    except FieldError as error:
        raise ValueError(error.message) from error


Id = Annotated[str, AfterValidator(_id)]
Weight = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False, strict=True)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Id
    variants: dict[Id, Weight] = Field(min_length=1, max_length=MAX_VARIANTS)
    share: float = Field(default=1.0, gt=0, le=1, allow_inf_nan=False)
    salt: str = Field(default="", max_length=256)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    experiments: list[_Entry] = Field(default_factory=list, max_length=MAX_EXPERIMENTS)


class ExperimentFile:
    """`WatchedSource` over one local file."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def stamp(self) -> str:
        """Returns what changes with the file."""
        return hashlib.sha256(file_bytes(self._path, "experiments")).hexdigest()

    def read(self) -> tuple[str, Mapping[str, Experiment]]:
        """Returns the stamp and the experiments by name; raises as `WatchedSource.read`."""
        data = file_bytes(self._path, "experiments")
        return hashlib.sha256(data).hexdigest(), _experiments(data)


def _experiments(data: bytes) -> dict[str, Experiment]:
    try:
        root = yaml.compose(data.decode(), Loader=yaml.SafeLoader)
        if root is None:
            return {}
        _check_nodes(root)
        content = _File.model_validate(yaml.SafeLoader("").construct_document(root))
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"]) or "the file"
        value = "" if isinstance(first["input"], dict | list) else str(first["input"])
        line = _line(root, first["loc"])
        raise InvalidField(_printable(f"line {line}: {path}"), _printable(value), first["msg"], SEE) from error
    except yaml.MarkedYAMLError as error:
        where = "the file" if error.problem_mark is None else f"line {error.problem_mark.line + 1}"
        raise InvalidField(where, "", "YAML", _printable(str(error.problem))) from error
    except _UNREADABLE as error:
        raise InvalidField("the file", "", "YAML", SEE) from error
    made: dict[str, Experiment] = {}
    for place, one in enumerate(content.experiments):
        if one.name in made:
            line = _line(root, ("experiments", place, "name"))
            raise InvalidField(f"line {line}: experiments.{place}.name", one.name, "each name once", "rename one")
        made[one.name] = Experiment(one.name, one.variants, one.share, one.salt or one.name)
    return made


def _check_nodes(root: yaml.Node) -> None:
    """Refuses what YAML's reader would take in silence: a key that stands twice (it drops the first), and aliases.

    A file of a kilobyte can name nodes by aliases until they fill the memory. Names are texts as they are written.
    """
    waiting, known = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in known:
            raise yaml.MarkedYAMLError(problem="aliases are not read here", problem_mark=node.start_mark)
        known.add(id(node))
        if isinstance(node, yaml.MappingNode):
            names = set[str]()
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise yaml.MarkedYAMLError(problem="a name is one word", problem_mark=key.start_mark)
                if key.value in names:
                    raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands here twice", problem_mark=key.start_mark)
                names.add(key.value)
                key.tag = _TEXT
                if key.value in _TEXTS and isinstance(value, yaml.ScalarNode):
                    value.tag = _TEXT
                waiting.append(value)
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _printable(text: str) -> str:
    """Returns a text that can be written out: YAML may name halves of a character (U+D800)."""
    return text.encode("utf-8", "backslashreplace").decode()


def _line(node: yaml.Node, path: Sequence[int | str]) -> int:
    """Returns the line of a path, else of the nearest node above it."""
    for part in path:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        elif isinstance(node, yaml.MappingNode):
            below = [value for key, value in node.value if str(key.value) == str(part)]
            if not below:
                break
            node = below[0]
        else:
            break
    return int(node.start_mark.line) + 1
