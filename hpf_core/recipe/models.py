"""The strict models of everything in a recipe but plugins' options, which each plugin's own model checks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

_TERM_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
_FOLDER_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_FILE_NAME = r"^[^/\\\x00-\x1f\x7f]+$"
PATTERNS = {
    _TERM_NAME: "a term's name has letters, digits, '_' and '-' only",
    _FOLDER_NAME: "a stage's name has letters, digits, '_', '-' and '.' only, and begins with a letter or digit",
    _FILE_NAME: "a name is one line without '/'",
}
"""The patterns in words, for messages."""

_Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_TermName = Annotated[str, StringConstraints(pattern=_TERM_NAME, max_length=64)]
_FolderName = Annotated[str, StringConstraints(pattern=_FOLDER_NAME, max_length=64)]
_Count = Annotated[int, Field(ge=0, le=1_000_000_000)]


class _Strict(BaseModel):
    """Unknown keys are errors, types are never converted, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _WithOptions(BaseModel):
    """Unknown keys are a plugin's own options, which the plugin's model checks."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)

    @property
    def options(self) -> dict[str, Any]:
        """The plugin's own options, as written."""
        return dict(self.model_extra or {})


class Use(_WithOptions):
    """A plugin and its options: its name, or a mapping `{use: name, option: value, ...}`."""

    use: _Text = Field(description="Name of the plugin; `-` and `_` are the same.")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"use": value} if isinstance(value, str) else value


class TermUse(_WithOptions):
    """A term and its options: a mapping, the name of a plugin, `on` (at its defaults), or `off`."""

    use: _Text | None = Field(default=None, description="Name of the term's plugin; the key itself if not given.")
    weight: float | None = Field(
        default=None,
        ge=0,
        description="Weight of the raw value in the total loss, 1 per unit of the term; 0 switches it off.",
    )

    @property
    def off(self) -> bool:
        """Whether it is switched off."""
        return self.weight == 0

    @model_validator(mode="before")
    @classmethod
    def _from_switch(cls, value: Any) -> Any:
        if is_off(value):
            return {"weight": 0.0}
        if is_on(value):
            return {}
        return {"use": value} if isinstance(value, str) else value


def is_off(value: Any) -> bool:
    """Whether a value switches a term off: `off`, false or null (`off` is a text in YAML 1.2)."""
    return value is None or value is False or (isinstance(value, str) and value.lower() == "off")


def is_on(value: Any) -> bool:
    """Whether a value switches a term on: `on` or true."""
    return value is True or (isinstance(value, str) and value.lower() == "on")


class GridOptions(_Strict):
    """The orthographic grid that every depth map is cropped to."""

    size: int = Field(default=64, ge=16, le=512, multiple_of=16, description="Pixels on a side.")
    cube_mm: float = Field(default=300.0, ge=50.0, le=2000.0, description="Side of the crop's cube, mm.")


class Data(_Strict):
    """What the stages draw from."""

    real: Use | None = Field(default=None, description="Dataset of unlabelled multi-view depth maps.")
    synthetic: Use | None = Field(default=None, description="Dataset of generated, labelled depth maps.")


class Draw(_Strict):
    """The global batch: what one step draws, over all processes."""

    real: int = Field(default=0, ge=0, le=1_000_000, description="Real frames in a step, each with all of its views.")
    synthetic: int = Field(default=0, ge=0, le=1_000_000, description="Synthetic samples in a step.")
    clip: int = Field(
        default=1,
        ge=1,
        le=1_000_000,
        description="Real frames that follow each other in their recording, drawn together.",
    )

    @model_validator(mode="after")
    def _something(self) -> Draw:
        if self.real == 0 and self.synthetic == 0:
            raise ValueError("a step must draw something: real, synthetic or both at least 1")
        if self.real % self.clip:
            raise ValueError(f"a step draws whole clips: real ({self.real}) must be a multiple of clip ({self.clip})")
        return self


class Stage(_Strict):
    """One training stage."""

    draw: Draw = Field(description="What a step draws.")
    steps: int = Field(ge=1, le=1_000_000_000, description="Optimiser steps.")
    terms: list[_TermName] = Field(min_length=1, description="Names of the terms whose weighted sum is the loss.")
    lr: float = Field(default=1e-3, gt=0, le=100, description="Learning rate of the optimiser, per step.")
    weight_decay: float = Field(default=0.0, ge=0, le=100, description="Weight decay of the optimiser, per step.")
    schedule: Literal["constant", "steps", "cosine"] = Field(
        default="steps",
        description="How the learning rate falls: not at all; x 0.1 at one third and at two thirds of the steps; "
        "or as a half cosine to 0.",
    )
    warmup: _Count = Field(default=0, description="Steps over which the learning rate rises linearly from 0.")
    cooldown: _Count = Field(
        default=0, description="Last steps of the stage, over which the learning rate also falls linearly to 0."
    )
    clip_norm: float | None = Field(
        default=None, gt=0, description="Largest norm of the gradient; a larger one is scaled down to it."
    )
    ema: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Decay, per step, of an exponential moving average of the weights. HPF evaluates and keeps the "
        "average; the optimiser continues from the weights themselves. null: no average.",
    )
    cycle: int | None = Field(default=None, ge=2, description="Steps after which `during` starts again.")
    during: dict[_TermName, tuple[_Count, _Count]] = Field(
        default={},
        description="Terms that count only in a part of each cycle: from one of its steps, counted from 0, up to "
        "another, which is excluded.",
    )
    control_of: str | None = Field(
        default=None,
        description="Name of the stage that this one is a control of: it starts from the same weights, inherits every "
        "field that it does not state, and feeds no later stage.",
    )

    @model_validator(mode="after")
    def _warmup_within(self) -> Stage:
        if self.warmup > self.steps:
            raise ValueError(f"warmup ({self.warmup} steps) is longer than the stage ({self.steps} steps)")
        if self.warmup + self.cooldown > self.steps:
            both = f"warmup and cooldown ({self.warmup} and {self.cooldown} steps)"
            raise ValueError(f"{both} are longer than the stage ({self.steps} steps)")
        return self

    @model_validator(mode="after")
    def _within_the_cycle(self) -> Stage:
        if self.during and self.cycle is None:
            raise ValueError("`during` needs a `cycle`: the number of steps after which it starts again")
        for name, (first, end) in self.during.items():
            if not first < end <= (self.cycle or 0):
                asked = f"needs two steps in order, within the cycle of {self.cycle}"
                raise ValueError(f"during.{name}: {asked}, but is {first} to {end}")
        return self


class Evaluate(_Strict):
    """How the network is measured, before and after each stage."""

    data: Literal["real", "synthetic"] = Field(
        default="real", description="Which entry of `data` is measured on; synthetic samples are ones never trained on."
    )
    split: _Text = Field(default="test", description="Split of the real dataset.")
    limit: int | None = Field(
        default=None,
        ge=1,
        description="Frames that are measured at most; if not given all, or 2,000 synthetic samples.",
    )
    refiners: list[Use] = Field(default=[], description="Plugins that improve points after the network, in this order.")
    batch: int = Field(default=64, ge=1, le=1_000_000, description="Images in a batch.")


class Log(_Strict):
    """How often a run writes its logs."""

    every: int = Field(default=50, ge=1, description="Steps between lines of metrics.")
    pictures_every: int = Field(default=500, ge=1, description="Steps between pictures.")
    checkpoint_every: int = Field(default=500, ge=1, description="Steps between checkpoints.")
    gradients_every: int = Field(default=500, ge=1, description="Steps between measurements of each term's gradient.")
    unseen_every: int | None = Field(
        default=None,
        ge=1,
        description="Steps between measurements on 1,000 synthetic samples that are never trained on; if given.",
    )


class Runtime(_Strict):
    """The hardware and precision of a run."""

    device: _Text = Field(default="auto", description="`auto`, `cpu`, `cuda`, `cuda:1`, ...")
    threads: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="CPU threads; null: a short measurement chooses. Only the same number gives the same bits.",
    )
    precision: Literal["float32", "bf16"] = Field(
        default="float32",
        description="Of the network in training; soft-argmax, geometry, terms and evaluation are always float32.",
    )
    compile: bool = Field(
        default=False,
        description="Compile network and terms (torch.compile), minutes at each stage's start; a GPU: CUDA graphs.",
    )


class Recipe(_Strict):
    """An experiment: what is built, what it is trained on and by which terms, and how it is measured."""

    extends: str | None = Field(default=None, description="Recipe that this one changes; relative to this file.")
    name: str | None = Field(
        default=None,
        pattern=_FILE_NAME,
        max_length=200,
        description="What the run is called; the file's name without its ending if not given.",
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="All random numbers of a run follow from it.")
    hand: Use = Field(description="Hand model.")
    renderer: Use = Field(description="Renderer of points as depth maps.")
    backbone: Use = Field(description="Network.")
    grid: GridOptions = Field(default=GridOptions(), description="Grid of the depth maps.")
    init: _Text | None = Field(
        default=None,
        description="Where the weights come from: null (random), `shipped`, a file or folder of weights, relative to "
        "this file, or hf://OWNER/NAME@COMMIT.",
    )
    data: Data = Field(default=Data(), description="Datasets.")
    transforms: list[Use] = Field(default=[], description="Changes to depth maps before the network, in this order.")
    observers: list[Use] = Field(default=[], description="What watches the run.")
    stages: dict[_FolderName, Stage] = Field(min_length=1, description="Training stages, in the order they run.")
    terms: dict[_TermName, TermUse] = Field(
        default={}, description="Weights and options of terms; the others are at defaults."
    )
    evaluate: Evaluate | None = Field(
        default=None, description="How to evaluate the network after each stage; null for no evaluation."
    )
    log: Log = Field(default=Log(), description="How often things are written.")
    runtime: Runtime = Field(default=Runtime(), description="Device and precision of the computation.")
    plugins: list[_Text] | None = Field(
        default=None,
        description="Packages whose plugins may be used, each with the versions that will do (hpf-my-prior==0.1.0); "
        "any if not given. HPF's own always may.",
    )
    versions: dict[str, str] = Field(
        {},
        description="Packages that a saved recipe was resolved with; `hpf run` refuses plugins of other versions.",
    )
