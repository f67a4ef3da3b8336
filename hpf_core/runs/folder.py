"""A run's folder: its layout and its writes."""

from __future__ import annotations

import contextlib
import datetime
import json
import platform
import re
import shutil
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

import hpf_core
from hpf_core.errors import DataError, InputError, RunError
from hpf_core.files.cache import temporary_files, write_atomic
from hpf_core.files.locks.file_lock import FileLock
from hpf_core.recipe import Resolved
from hpf_core.runs import documents
from hpf_core.runs.documents import INIT
from hpf_core.runs.packages import used_plugins


class RunFolder:
    """Paths in a run's folder, and atomic writes to them.

    recipe.yaml (resolved, can be run again), run.json (versions, machine, command-line changes), metrics.jsonl,
    checkpoints/STAGE/, stages/STAGE.safetensors, centres/STAGE.safetensors (centres of a stage's crops, if the network
    estimates them), evaluation/STAGE.json, frames/STAGE.safetensors (some evaluated frames from all views), figures/,
    weights.safetensors, summary.json, left_out.json (unusable evaluation frames), report.html.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.recipe = root / "recipe.yaml"
        self.about = root / "run.json"
        self.metrics = root / "metrics.jsonl"
        self.figures = root / "figures"
        self.weights = root / "weights.safetensors"
        self.summary = root / "summary.json"
        self.left_out = root / "left_out.json"
        self.report = root / "report.html"
        self._lock = root / ".lock"

    def stage_weights(self, stage: str) -> Path:
        """Weights at the end of a stage; a stage with this file is complete."""
        return self.root / "stages" / f"{stage}.safetensors"

    def initial_weights(self) -> Path:
        """Weights before the first stage."""
        return self.stage_weights(INIT)

    def centres(self, stage: str) -> Path:
        """Centres of a stage's crops, from the stage's initial weights."""
        return self.root / "centres" / f"{stage}.safetensors"

    def evaluation(self, stage: str) -> Path:
        """Result of the evaluation after a stage."""
        return self.root / "evaluation" / f"{stage}.json"

    def predictions(self, stage: str) -> Path:
        """Predicted joints after a stage."""
        return self.root / "evaluation" / f"{stage}.safetensors"

    def frames(self, stage: str) -> Path:
        """Some of the evaluated frames after a stage, from all views, for the report."""
        return self.root / "frames" / f"{stage}.safetensors"

    def checkpoints(self, stage: str) -> list[Path]:
        """A stage's checkpoints, oldest first."""
        # Only digits: a killed process can leave a partial file under a temporary name.
        return sorted((self.root / "checkpoints" / stage).glob("[0-9]*.safetensors"))

    def clear_checkpoints(self, stage: str) -> None:
        """Delete a finished stage's checkpoints."""
        shutil.rmtree(self.root / "checkpoints" / stage, ignore_errors=True)

    def checkpoint(self, stage: str, step: int) -> Path:
        """The checkpoint after `step` steps of a stage."""
        return self.root / "checkpoints" / stage / f"{step:08d}.safetensors"

    def lock(self) -> FileLock:
        """Create the folder if missing, and lock it for this process; the caller releases the returned lock.

        Raises:
            InputError: another process uses the folder, or it can't be created.
        """
        lock = FileLock(self._lock)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if lock.try_take():
                return lock
        except OSError as error:
            raise InputError(f"Can't use the folder {self.root}: {error.strerror or error}.") from error
        raise InputError(
            f"{self.root}: another run is at work in this folder: {lock.holder()}. Wait until it ends or stop it, or "
            "give another --out"
        )

    def check_free(self) -> None:
        """Raise InputError if another process uses the folder, or it can't be read; creates nothing."""
        try:
            locked = self._lock.is_file()
        except OSError as error:
            raise InputError(f"Can't use the folder {self.root}: {error.strerror or error}.") from error
        if locked:
            self.lock().release()

    def remove_temporary_files(self) -> None:
        """Remove partial files of a killed process. Only for the process that has locked the folder."""
        for path in temporary_files(self.root):
            path.unlink(missing_ok=True)

    def check(self, resolved: Resolved, resume: bool) -> None:
        """Check that a run of this recipe can begin or resume here; writes nothing.

        Raises:
            InputError: the folder isn't empty and `resume` is off, is unreadable, or contains no run of this recipe.
        """
        try:
            if resume:
                self._check_resumed(resolved)
            elif self.root.exists() and not self.root.is_dir():
                raise InputError(f"{self.root} is a file; --out needs a folder")
            elif self.root.exists() and any(path != self._lock for path in self.root.iterdir()):
                hint = "add --resume to continue the run in it, or " if self.recipe.is_file() else ""
                raise InputError(f"{self.root} isn't empty: {hint}give another --out")
        except OSError as error:
            raise InputError(f"Can't use the folder {self.root}: {error.strerror or error}.") from error

    def _check_resumed(self, resolved: Resolved) -> None:
        if not self.recipe.is_file():
            raise InputError(f"{self.root} is no run to resume: it has no recipe.yaml")
        begun, asked = _saved(self.recipe), _as_saved(resolved)
        different = sorted(k for k in (begun.keys() | asked.keys()) - _MAY_CHANGE if begun.get(k) != asked.get(k))
        if different:
            raise InputError(
                f"{self.root} contains a run of another recipe; they differ in "
                f"{', '.join(different)}. To resume that run: hpf run {self.recipe} --out {self.root} --resume; "
                "for a new one, give another --out"
            )

    def check_shared(self, rank: int) -> None:
        """Raise InputError if a process doesn't see the folder that rank 0 created."""
        if not self.recipe.is_file():
            raise InputError(
                f"rank {rank} doesn't see the run's folder {self.root.absolute()} that rank 0 made: give an --out that "
                "all machines share"
            )

    def begin(self, resolved: Resolved, starts: bool = True) -> None:
        """Record the recipe in the folder and, if the run starts or resumes now, the changes of this start.

        Call `check` first, with the threads of the run already set.

        Raises:
            InputError: the folder isn't writable.
        """
        text = resolved.to_yaml()
        try:
            if not self.recipe.is_file():
                write_atomic(self.recipe, lambda p: _write(p, text))
                self.about.unlink(missing_ok=True)
            about = self.read_about() or _about(resolved)
            self.write_json(self.about, self._with_start(about, resolved) if starts else about)
        except RunError as error:
            raise InputError(str(error)) from error

    def _with_start(self, about: dict[str, Any], resolved: Resolved) -> dict[str, Any]:
        """run.json with one more start."""
        earlier, threads = about.get("starts", []), torch.get_num_threads()
        changes = resume_changes(_saved(self.recipe), _as_saved(resolved))
        if earlier and earlier[-1]["threads"] != threads and not any("runtime.threads" in c for c in changes):
            changes.append(f"threads: {earlier[-1]['threads']} -> {threads} (--resume)")
        if not earlier:
            changes = list(dict.fromkeys([*about.get("changes", []), *changes]))
        start = {
            "at": datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds"),
            "changes": changes,
            "threads": threads,
            "command": sys.argv[1:],
        }
        known = list(about.get("changes", []))
        known += [change for change in changes if change not in known]
        return about | {"changes": known, "starts": [*earlier, start]}

    def forget(self) -> None:
        """Undo `begin` if nothing can run; other files in the folder stay."""
        for path in (self.recipe, self.about, self._lock):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.root.rmdir()

    def changes(self) -> list[str]:
        """The changes of the command lines that started and resumed the run, in words."""
        return list(self.read_about().get("changes", []))

    def read_about(self) -> dict[str, Any]:
        """run.json; empty if missing or damaged."""
        return self._read(self.about, documents.About)

    def ended(self) -> dict[str, Any] | None:
        """The summary of a finished run, else None. A damaged summary counts as missing: a resume writes it again."""
        return self._read(self.summary, documents.Summary) or None

    def evaluated(self, stage: str) -> dict[str, Any] | None:
        """The measurements after a stage, else None. Without its predictions, the stage needs a new evaluation."""
        if not self.predictions(stage).is_file():
            return None
        document = self._read(self.evaluation(stage), documents.EvaluationDocument)
        return document if document.get("after") == stage else None

    @staticmethod
    def _read(path: Path, model: type[BaseModel]) -> dict[str, Any]:
        """A document; empty if missing or damaged."""
        try:
            return documents.read_json(path, model)
        except DataError:
            return {}

    def write_json(self, path: Path, document: Mapping[str, Any]) -> None:
        """Write one JSON document atomically."""
        text = json.dumps(document, indent=2, allow_nan=False) + "\n"
        write_atomic(path, lambda p: _write(p, text))

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise RunError(f"Can't write {self.metrics}: {error.strerror or error}.") from error

    def cut_metrics(self, stage: str, step: int) -> None:
        """Remove rows after the checkpoint of a resume, and an incomplete last line."""
        lines = self._metric_lines()
        order = list(dict.fromkeys(row["stage"] for _, row in lines))
        later = set(order[order.index(stage) + 1 :]) if stage in order else set()
        kept = [
            f"{line}\n"
            for line, row in lines
            if row["stage"] not in later and (row["stage"] != stage or row["step"] <= step)
        ]
        if "".join(kept) != self._metrics_text():
            write_atomic(self.metrics, lambda p: _write(p, "".join(kept)))

    def read_metrics(self) -> list[dict[str, Any]]:
        """All rows, without an incomplete last line."""
        return [row for _, row in self._metric_lines()]

    def _metric_lines(self) -> list[tuple[str, dict[str, Any]]]:
        found = []
        for line in self._metrics_text().splitlines():
            try:
                found.append((line, documents.parse_json(line, documents.MetricsRow)))
            except ValueError:
                continue
        return found

    def _metrics_text(self) -> str:
        try:
            return self.metrics.read_text(encoding="utf-8", errors="replace") if self.metrics.is_file() else ""
        except OSError as error:
            raise RunError(f"Can't read {self.metrics}: {error.strerror or error}.") from error


def check_stages(resolved: Resolved) -> None:
    """Raise InputError if a stage's name is taken."""
    for plan in resolved.stages:
        if plan.name.lower() == INIT:
            raise InputError(
                f"a stage can't be called '{plan.name}': the run keeps the weights before the first stage under that "
                "name. Give it another one"
            )


def next_folder(name: str, root: Path = Path("runs")) -> Path:
    """Create the folder of a new run without --out: runs/NAME-1, runs/NAME-2, ...

    It is created at once, so that simultaneous runs get different folders.

    Raises:
        InputError: it can't be created.
    """
    number = 1 + max((n for n, _ in _numbered(name, root)), default=0)
    while True:
        folder = root / f"{name}-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise InputError(
                f"Can't make the folder {folder}: {error.strerror or error}. Give one with --out."
            ) from error
        else:
            return folder


def last_folder(name: str, root: Path = Path("runs")) -> Path:
    """The newest run of a recipe, to resume without --out.

    Raises:
        InputError: there is none.
    """
    runs = [(number, path) for number, path in _numbered(name, root) if RunFolder(path).recipe.is_file()]
    if not runs:
        raise InputError(f"there is no run of '{name}' in {root}/ to resume; give its folder with --out")
    return max(runs)[1]


def _numbered(name: str, root: Path) -> list[tuple[int, Path]]:
    """The folders NAME-1, NAME-2, ... with their numbers. Without glob: a name may contain its special characters."""
    try:
        paths = list(root.iterdir())
    except OSError:
        return []
    numbers = [(path, re.fullmatch(r"-([0-9]{1,9})", path.name.removeprefix(name))) for path in paths]
    return [(int(match[1]), path) for path, match in numbers if match and path.name.startswith(name)]


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


_MAY_CHANGE = frozenset({"log", "runtime", "observers", "versions"})
"""Keys that may differ on a resume: frequency of logging, machine, observers, versions of packages."""


def _saved(path: Path) -> dict[str, Any]:
    """A saved recipe. Raises InputError if damaged."""
    try:
        return documents.read_recipe(path)
    except DataError as error:
        raise InputError(f"{error}. The run can't be resumed") from error


def _as_saved(resolved: Resolved) -> dict[str, Any]:
    """The recipe in its saved form."""
    return documents.recipe_values(resolved.to_yaml(), "recipe.yaml")


def resume_changes(saved: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """The differences between a resumed recipe and the saved one, such as "runtime.threads: 2 -> 1 (--resume)"."""
    changes = []
    for section in ("runtime", "log", "observers", "versions"):
        before, after = saved.get(section), asked.get(section)
        if not isinstance(before, dict) or not isinstance(after, dict):
            before, after = {"": before}, {"": after}
        for name in dict.fromkeys((*before, *after)):
            old, new = before.get(name), after.get(name)
            if old != new:
                path = f"{section}.{name}" if name else section
                changes.append(f"{path}: {json.dumps(old)} -> {json.dumps(new)} (--resume)")
    return changes


def _about(resolved: Resolved) -> dict[str, Any]:
    return {
        "hpf": hpf_core.__version__,
        "seed": resolved.recipe.seed,
        "changes": list(resolved.changes),
        "plugins": used_plugins(resolved),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in ("torch", "numpy", "pluggy", "pydantic", "safetensors")},
        "machine": {"system": platform.platform(), "processor": platform.machine(), "threads": torch.get_num_threads()},
        "command": sys.argv[1:],
    }
