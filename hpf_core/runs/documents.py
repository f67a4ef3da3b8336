"""Reads and validates the documents of a run's folder; an error message names the file.

The models below validate `summary.json`, `run.json`, `evaluation/*.json`, `metrics.jsonl` and the saved `recipe.yaml`.
Other fields stay unchanged.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json

from hpf_core.documents.tree import Source
from hpf_core.documents.yaml import decode, parse
from hpf_core.errors import DataError, HPFError

INIT = "init"
"""Name of the weights before the first stage, among the stages' names."""

_MOST_BYTES = 64_000_000
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

_Distance = Annotated[float, Field(ge=0, le=1e9)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[int, Field(ge=0, le=10**12)]
_Name = Annotated[str, Field(min_length=1, max_length=1000)]


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class Auc(_Document):
    """The area under the success curves, of the largest and of the mean error of a frame."""

    max: _Share
    mean: _Share


class Errors(_Document):
    """Errors in mm over some frames."""

    mean_error_mm: _Distance
    median_error_mm: _Distance
    success: dict[str, _Share]
    fingertip_error_mm: _Distance | None
    auc: Auc | None = None

    @model_validator(mode="after")
    def _has_thresholds(self) -> Self:
        missing = {"20", "30", "40"} - self.success.keys()
        if missing:
            raise ValueError(f"success lacks the thresholds {', '.join(sorted(missing))} (mm)")
        return self


class Subject(Errors):
    """The errors on the frames of one person."""

    frames: _Count


class RefinerErrors(Errors):
    """The errors after one refiner."""

    name: _Name
    moved_mm: _Distance


class EvaluationDocument(Errors):
    """`evaluation/STAGE.json`, and an entry of `evaluation` in summary.json."""

    after: _Name
    data: _Name
    split: _Name
    centre: str
    simulated: bool = False
    left_out: _Count = 0
    left_out_list: str | None = None
    joints: _Count
    frames: Annotated[int, Field(ge=1, le=10**12)]
    per_joint_mm: dict[str, _Distance]
    subjects: dict[str, Subject]
    refiners: list[RefinerErrors] = []

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if len(self.per_joint_mm) != self.joints:
            raise ValueError(f"per_joint_mm has {len(self.per_joint_mm)} joints, but joints is {self.joints}")
        if self.left_out_list is not None and Path(self.left_out_list).name != self.left_out_list:
            raise ValueError("left_out_list isn't the name of a file in the run's folder")
        return self


class StageDocument(_Document):
    """A stage in summary.json."""

    name: _Name
    steps: _Count = 0
    control_of: str | None = None
    seconds: _Distance = 0.0
    images_per_second: _Distance = 0.0


class Summary(_Document):
    """`summary.json`."""

    recipe: str | None = None
    seed: int = 0
    changes: list[str] = []
    stages: list[StageDocument] = []
    evaluation: list[EvaluationDocument]

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        names = [stage.name for stage in self.stages]
        known = {INIT, *names}
        if len(set(names)) < len(names) or (names and all(stage.control_of is not None for stage in self.stages)):
            raise ValueError("stages need different names, and at least one must not be a control")
        measured = [entry.after for entry in self.evaluation]
        if len(set(measured)) < len(measured) or (names and not known.issuperset(measured)):
            raise ValueError("evaluation needs one entry for each stage at most")
        return self


class Start(_Document):
    """One start of a run: the first, or a resume."""

    at: str
    changes: list[str] = []
    threads: _Count
    command: list[str] = []


class About(_Document):
    """`run.json`."""

    hpf: str = ""
    seed: int = 0
    changes: list[str] = []
    plugins: dict[str, Any] = {}
    python: str = ""
    versions: dict[str, str] = {}
    machine: dict[str, str | int] = {}
    command: list[str] = []
    starts: list[Start] = []


class MetricsRow(_Document):
    """A line of `metrics.jsonl`."""

    stage: _Name
    step: Annotated[int, Field(ge=1, le=10**12)]
    loss: float | None = None
    gradient_norm: float | None = None
    lr: float | None = None
    raw: dict[str, float] = {}
    weighted: dict[str, float] = {}
    gradient: dict[str, float | None] = {}
    images_per_second: float | None = None
    images: _Count | None = None
    peak: float | None = None
    unseen_mm: float | None = None


class SavedStage(_Document):
    """A stage of a saved recipe."""

    steps: _Count | None = None
    control_of: str | None = None


class SavedEvaluate(_Document):
    """`evaluate` of a saved recipe."""

    data: str = "real"


class SavedRecipe(_Document):
    """`recipe.yaml`: the fields that HPF reads without the plugins."""

    name: str | None = None
    stages: dict[str, SavedStage] = {}
    evaluate: SavedEvaluate | None = None
    versions: dict[str, str] = {}


def read_json(path: Path, model: type[BaseModel]) -> dict[str, Any]:
    """A JSON document as written, validated with the model.

    Raises:
        DataError: it is missing, not JSON, or doesn't match; the message names the file and the field.
    """
    try:
        return parse_json(_bytes(path), model)
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from error


def parse_json(text: str | bytes, model: type[BaseModel]) -> dict[str, Any]:
    """As `read_json`, for a text. Raises ValueError with the reason."""
    return _checked(from_json(text, allow_inf_nan=False, cache_strings="none"), model)


def read_summary(run: Path) -> dict[str, Any]:
    """The summary of a finished run.

    Raises:
        DataError: the folder isn't a finished run, or its summary is damaged.
    """
    path = run / "summary.json"
    if not path.is_file():
        raise DataError(f"{run} has no summary.json: it isn't the folder of a completed run.")
    return read_json(path, Summary)


def read_recipe(path: Path) -> dict[str, Any]:
    """A saved recipe as plain values, without its plugins.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        return recipe_values(decode(_bytes(path), path.name), path.name)
    except (HPFError, ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or ["it can't be read"])[0]
        raise DataError(f"{path} is damaged: {reason.removeprefix(f'{path.name}: ')}") from error


def recipe_values(text: str, name: str) -> dict[str, Any]:
    """A recipe's text as plain values. Raises InputError or ValueError for other texts."""
    return _checked(parse(text, Source(name)).plain(), SavedRecipe)


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES // 10**6} MB")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"it can't be read ({error.strerror or error})") from error


def _checked(document: Any, model: type[BaseModel]) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise ValueError("it is no mapping of names to values")
    _check_plain(document)
    try:
        model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None
    return document


def _check_plain(value: Any) -> None:
    """Raise ValueError for a number that can't be shown, or a text with terminal control characters."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_plain(str(key))
            _check_plain(item)
    elif isinstance(value, list):
        for item in value:
            _check_plain(item)
    elif isinstance(value, str):
        if _CONTROL.search(value):
            raise ValueError(f"a text has control characters: {value[:60]!r}")
    elif isinstance(value, int):
        if value.bit_length() > 63:
            raise ValueError("a whole number has more than 64 bits")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number isn't finite")
