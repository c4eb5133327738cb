"""The experiments file: YAML, checked by pydantic; errors name the line."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator

from services.evaluator.experiments.experiment import Experiment
from shared.data.validation import check_id
from shared.errors import CorruptData, FieldError, InvalidField, LimitExceeded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_BYTES = 1024 * 1024
MAX_EXPERIMENTS = 100
MAX_VARIANTS = 20
SEE = "see docs/experiments.md"

Weight = Annotated[FiniteFloat, Field(gt=0, le=1e6)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    name: str
    variants: dict[str, Weight] = Field(min_length=1, max_length=MAX_VARIANTS)
    share: float = Field(default=1.0, gt=0, le=1, allow_inf_nan=False)
    salt: str = Field(default="", max_length=256)

    @field_validator("name")
    @classmethod
    def _is_id(cls, name: str) -> str:
        try:
            return check_id(name, "name")
        except FieldError as error:
            raise ValueError(error.message) from error


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    experiments: list[_Entry] = Field(default_factory=list, max_length=MAX_EXPERIMENTS)


class ExperimentFile:
    """`WatchedSource` over one local file."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def stamp(self) -> str:
        """Returns what changes with the file."""
        return hashlib.sha256(self._bytes()).hexdigest()

    def read(self) -> tuple[str, Mapping[str, Experiment]]:
        """Returns the stamp and the experiments by name; raises as `WatchedSource.read`."""
        data = self._bytes()
        return hashlib.sha256(data).hexdigest(), _experiments(data)

    def _bytes(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise CorruptData(f"the experiments file cannot be read: {error.strerror}") from error
        if len(data) > MAX_BYTES:
            raise LimitExceeded("the file", f"over {MAX_BYTES} bytes", f"{MAX_BYTES} bytes", "end some experiments")
        return data


def _experiments(data: bytes) -> dict[str, Experiment]:
    try:
        root = yaml.compose(data.decode(), Loader=yaml.SafeLoader)
        if root is None:
            return {}
        _check_keys(root)
        content = _File.model_validate(yaml.SafeLoader("").construct_document(root))
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"]) or "the file"
        line = _line(root, first["loc"])
        raise InvalidField(f"line {line}: {path}", str(first["input"]), first["msg"], SEE) from error
    except yaml.MarkedYAMLError as error:
        where = "the file" if error.problem_mark is None else f"line {error.problem_mark.line + 1}"
        raise InvalidField(where, "", "YAML", str(error.problem)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # Not UTF-8, a date of month 99, nested too deeply.
        raise InvalidField("the file", "", "YAML", SEE) from error
    made: dict[str, Experiment] = {}
    for place, one in enumerate(content.experiments):
        if one.name in made:
            line = _line(root, ("experiments", place, "name"))
            raise InvalidField(f"line {line}: experiments.{place}.name", one.name, "each name once", "rename one")
        made[one.name] = Experiment(one.name, one.variants, one.share, one.salt or one.name)
    return made


def _check_keys(root: yaml.Node) -> None:
    """Refuses a key that stands twice in its mapping: YAML's reader would drop the first in silence."""
    # Each node once: aliases may name a node from a million places.
    waiting, known = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in known:
            continue
        known.add(id(node))
        if isinstance(node, yaml.MappingNode):
            names = set[str]()
            for key, value in node.value:
                if str(key.value) in names:
                    raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands here twice", problem_mark=key.start_mark)
                names.add(str(key.value))
                waiting.append(value)
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


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
