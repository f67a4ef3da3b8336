"""The plan of an ablation: runs and folders. Its folder stores the plan, so that processes can resume and share it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from hpf_core.ablation.variants import Variant
from hpf_core.errors import DataError, InputError
from hpf_core.files.cache import write_atomic
from hpf_core.runs.documents import read_json

_DOCUMENT = "ablation.json"


class VariantDocument(BaseModel):
    """A variant in ablation.json."""

    model_config = ConfigDict(strict=True)

    name: Annotated[str, Field(pattern=r"^[^/\\]+$", max_length=200)]
    path: str | None


class PlanDocument(BaseModel):
    """`ablation.json`."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    base: str
    scale: Annotated[float, Field(gt=0, le=1)]
    sets: list[str]
    seeds: list[int]
    rows: list[VariantDocument]


class Failure(BaseModel):
    """`failed/VARIANT-seed-N.json`: the reason why a run failed."""

    model_config = ConfigDict(strict=True)

    reason: str
    traceback: str = ""


@dataclass(frozen=True)
class Job:
    """A variant's run with one seed.

    Attributes:
        variant: the variant.
        seed: seed of all the run's random numbers.
    """

    variant: Variant
    seed: int

    @property
    def name(self) -> str:
        """The name in files and claims."""
        return f"{self.variant.folder}-seed-{self.seed}"

    def __str__(self) -> str:
        return f"{self.variant.name}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """An ablation.

    Attributes:
        base: the base recipe. Each variant is merged into the base.
        variants: in the order of the table.
        seeds: of each variant's runs.
        sets: `path=value` assignments for every variant.
        scale: factor of all training lengths.
        out: folder of the whole ablation.
    """

    base: Path
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    sets: tuple[str, ...]
    scale: float
    out: Path

    def jobs(self) -> list[Job]:
        """All runs in order of execution: a first seed of each variant, then a second one."""
        return [Job(variant, seed) for seed in self.seeds for variant in self.variants]

    def run_folder(self, job: Job) -> Path:
        """Folder of a run."""
        return self.out / "runs" / job.variant.folder / f"seed-{job.seed}"

    def failure(self, job: Job) -> Path:
        """File with the reason why a run failed."""
        return self.out / "failed" / f"{job.name}.json"

    @property
    def shared(self) -> Path:
        """Folder of the shared pretrainings."""
        return self.out / "shared"

    @property
    def claims(self) -> Path:
        """Folder of the claims: each claim names the worker of a job."""
        return self.out / "claims"

    def document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "base": str(self.base),
            "scale": self.scale,
            "sets": list(self.sets),
            "seeds": list(self.seeds),
            "rows": [
                {"name": variant.name, "path": None if variant.path is None else str(variant.path)}
                for variant in self.variants
            ],
        }

    def write(self) -> Plan:
        """Write the plan into its folder. Return it with the variants and seeds of earlier calls, which the table
        keeps.

        Raises:
            InputError: the folder holds another ablation, or something else.
            RunError: the file can't be written.
        """
        known = None
        if is_ablation(self.out):
            known = read(self.out)
            for what in ("base", "scale", "sets"):
                there, asked = known.document()[what], self.document()[what]
                if there != asked:
                    raise InputError(
                        f"{self.out} contains an ablation with another {what} ({there}, not {asked}); its runs "
                        "can't be "
                        "compared with new ones. Give another --out"
                    )
        elif self.out.exists() and not (self.out.is_dir() and all(_is_draft(path) for path in self.out.iterdir())):
            raise InputError(f"{self.out} isn't empty and is no folder of an ablation; give another --out")
        variants = {variant.name: variant for variant in (*(known.variants if known else ()), *self.variants)}
        seeds = sorted({*(known.seeds if known else ()), *self.seeds})
        whole = Plan(self.base, tuple(variants.values()), tuple(seeds), self.sets, self.scale, self.out)
        if known is None or whole.document() != known.document():
            text = json.dumps(whole.document(), indent=2) + "\n"
            write_atomic(self.out / _DOCUMENT, lambda path: _write(path, text))
        return whole


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _is_draft(path: Path) -> bool:
    """Whether another shard is writing the same plan at this moment."""
    return path.name.startswith(".ablation-")


def is_ablation(folder: Path) -> bool:
    """Whether a folder holds an ablation."""
    return (folder / _DOCUMENT).is_file()


def read(folder: Path) -> Plan:
    """Read the ablation of a folder.

    Raises:
        InputError: the folder holds no ablation, or its plan is damaged.
    """
    path = folder / _DOCUMENT
    if not path.is_file():
        raise InputError(f"{folder} is no folder of an ablation: {_DOCUMENT} is missing")
    try:
        found = read_json(path, PlanDocument)
    except DataError as error:
        raise InputError(f"{error}: the ablation can't be resumed") from error
    variants = tuple(_variant(variant["name"], variant["path"]) for variant in found["rows"])
    seeds, sets = tuple(found["seeds"]), tuple(found["sets"])
    return Plan(Path(found["base"]), variants, seeds, sets, float(found["scale"]), folder)


def _variant(name: str, path: str | None) -> Variant:
    kind, colon, term = name.partition(":")
    if colon:
        return Variant(name, with_term=term if kind == "with" else "", without_term=term if kind == "without" else "")
    return Variant(name, None if path is None else Path(path))


def shard(jobs: Sequence[Job], number: int, of: int) -> list[Job]:
    """Return shard `number` of `of`, counted from 1: every `of`-th job.

    Raises:
        InputError: the shard doesn't exist.
    """
    if not 1 <= number <= of:
        raise InputError(f"--shard {number}/{of}: the first is 1/{of}, the last {of}/{of}")
    return list(jobs)[number - 1 :: of]
