"""A host with small plugins of its own, and a recipe that uses them: these tests know no bundled plugin."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, field_validator

from hpf_core.errors import InputError
from hpf_core.hookspecs import hookimpl
from hpf_core.interfaces import Config, PluginSpec
from hpf_core.plugins import PluginHost
from hpf_core.recipe import InvalidRecipe, Resolved, load

RECIPE = """\
backbone: {use: tower, stacks: 2}
data:
  real: {use: cameras, root: /somewhere}
  synthetic: generator
stages:
  pretrain: {draw: {synthetic: 128}, steps: 100, terms: [labels]}
  fit:
    draw: {real: 25, synthetic: 48}
    steps: 200
    lr: 5e-4
    terms: [labels, silhouette, agreement, bone-length]
  fit_control: {control_of: fit, terms: [labels]}
terms:
  silhouette: {weight: 2.0}
  bone-length: {weight: 1e-2, slack: 32}
evaluate: {}
"""


class Plain(Config):
    """No options."""


class Noise(Config):
    """Options of a nested model."""

    sigma_mm: float = Field(default=5.0, gt=0, description="Sigma of the noise, mm.")
    kind: Literal["gauss", "uniform"] = Field(default="gauss", description="Distribution.")


class Tower(Config):
    """Options of many types."""

    stacks: int = Field(default=1, ge=1, description="Stacks, one above the other.")
    widths: tuple[int, ...] = Field(default=(64, 128), description="Features at each level.")
    noise: Noise = Field(default=Noise(), description="Noise on the features.")
    label: str = Field(default="", description="Any text.")
    folder: Path = Field(default=Path("."), description="Any path.")

    @field_validator("label")
    @classmethod
    def _no_colour(cls, label: str) -> str:
        if label == "red":
            raise ValueError("red is not a label that a tower can have")
        if label == "explode":
            raise KeyError("a bug of the plugin")
        return label


class Cameras(Config):
    """A required option."""

    root: str = Field(description="Folder of the dataset.")


class Agreement(Config):
    """An option that an alias presets."""

    average: Literal["median", "mean"] = Field(default="median", description="How the views are averaged.")


class BoneLength(Config):
    """One option."""

    slack: int = Field(default=3, description="Slack, mm.")


class Jitter(Config):
    """One option."""

    amount: float | None = Field(default=None, description="Amount, mm.")


def spec(kind: Any, name: str, config: type[Config] = Plain, **rest: Any) -> PluginSpec:
    """A specification of a plugin that these tests never build."""
    return PluginSpec(kind, name, config, lambda config, build: None, summary=f"{name}.", source="own work", **rest)


class Plugins:
    """One plugin of each kind and a few more."""

    @hookimpl
    def hpf_hands(self) -> list[PluginSpec]:
        return [spec("hand", "spheres41")]

    @hookimpl
    def hpf_renderers(self) -> list[PluginSpec]:
        return [spec("renderer", "spheres")]

    @hookimpl
    def hpf_backbones(self) -> list[PluginSpec]:
        maps = frozenset({"heatmaps"})
        return [spec("backbone", "tower", Tower, provides=maps), spec("backbone", "hourglass"), spec("backbone", "mlp")]

    @hookimpl
    def hpf_data_terms(self) -> list[PluginSpec]:
        return [
            spec("data_term", "labels", needs=frozenset({"synthetic"})),
            spec("data_term", "silhouette", needs=frozenset({"real"}), default_weight=0.5),
            spec("data_term", "sharpness", needs=frozenset({"heatmaps"})),
            spec(
                "data_term",
                "agreement",
                Agreement,
                needs=frozenset({"real"}),
                aliases={"mean-agreement": {"average": "mean"}},
            ),
        ]

    @hookimpl
    def hpf_priors(self) -> list[PluginSpec]:
        return [spec("prior", "bone-length", BoneLength, default_weight=0.1)]

    @hookimpl
    def hpf_datasets(self) -> list[PluginSpec]:
        return [spec("dataset", "cameras", Cameras), spec("dataset", "generator")]

    @hookimpl
    def hpf_transforms(self) -> list[PluginSpec]:
        return [spec("transform", "jitter", Jitter)]

    @hookimpl
    def hpf_refiners(self) -> list[PluginSpec]:
        return [spec("refiner", "smooth", Jitter)]

    @hookimpl
    def hpf_observers(self) -> list[PluginSpec]:
        return [spec("observer", "diary")]


@pytest.fixture(scope="session")
def host() -> PluginHost:
    made = PluginHost()
    rows = made.add(Plugins(), package="toys", version="1.2")
    made.defaults |= {"hand": "spheres41", "renderer": "spheres", "backbone": "hourglass"}
    assert all(row.status == "ok" for row in rows), rows
    return made


@pytest.fixture
def recipe() -> str:
    """A recipe's text that is right."""
    return RECIPE


@pytest.fixture
def resolve(tmp_path: Path, host: PluginHost) -> Callable[..., Resolved]:
    """Writes a text to `mine.yaml` and loads it."""

    def resolve(text: str | bytes, **changes: Any) -> Resolved:
        path = tmp_path / "mine.yaml"
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        return load(path, host=host, **changes)

    return resolve


@pytest.fixture
def refusal(resolve: Callable[..., Resolved], tmp_path: Path) -> Callable[..., str]:
    """What is said of a text that is wrong; the folder is left out."""

    def refusal(text: str | bytes, **changes: Any) -> str:
        with pytest.raises(InvalidRecipe) as caught:
            resolve(text, **changes)
        assert isinstance(caught.value, InputError)
        assert caught.value.exit_code == 2
        return str(caught.value).replace(f"{tmp_path}/", "")

    return refusal
