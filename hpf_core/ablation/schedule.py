"""Executes an ablation's runs in turn: skips finished runs, resumes started runs, and records failures."""

from __future__ import annotations

import gc
import json
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from hpf_core.ablation import shared, variants
from hpf_core.ablation.plan import Job, Plan
from hpf_core.engine.run import Run
from hpf_core.errors import HPFError, RunError
from hpf_core.files.cache import content_key, write_atomic
from hpf_core.files.locks.leases import Leases, LeaseTaken
from hpf_core.inference.build import build_parts
from hpf_core.interfaces import Observer
from hpf_core.plugins import PluginHost
from hpf_core.progress import Progress, no_progress
from hpf_core.recipe import Resolved
from hpf_core.report import run_and_report
from hpf_core.runs.folder import RunFolder

WAIT_S = 2.0
"""Seconds between checks for other processes' finished work."""


@dataclass(frozen=True)
class Watcher:
    """Observes a run, and receives the progress of work outside its stages. The default does nothing."""

    observers: Sequence[Observer] = ()
    progress: Progress = no_progress


Outcome = Literal["done", "was done", "failed"]


@dataclass
class Schedule:
    """Executes the runs of an ablation in this process.

    Args:
        plan: the ablation, already written to its folder.
        jobs: the jobs of this process.
        host: finds plugins.
        watch: called with the name of the next work; returns its watcher.
        say: receives one line for each finished job.
        cache: folder of the cache; default the user's.
    """

    plan: Plan
    jobs: Sequence[Job]
    host: PluginHost
    watch: Callable[[str], AbstractContextManager[Watcher]] = lambda _: nullcontext(Watcher())
    say: Callable[[str], None] = lambda _: None
    cache: Path | None = None
    _prepared: set[str] = field(default_factory=set, init=False)
    _failed_pretraining: dict[str, str] = field(default_factory=dict, init=False)

    def execute(self) -> dict[Job, Outcome]:
        """Execute the runs. Wait for runs of other processes, and take over if another process stops.

        Raises:
            KeyboardInterrupt: the user stopped the ablation; started runs can be resumed.
        """
        leases = Leases(self.plan.claims)
        outcomes: dict[Job, Outcome] = {}
        left = list(self.jobs)
        told: set[str] = set()
        while left:
            waiting = []
            for job in left:
                try:
                    outcomes[job] = self._job(job, leases)
                except LeaseTaken as taken:
                    waiting.append(job)
                    if (text := f"{job}: waits for {taken.owner}") not in told:
                        told.add(text)
                        self.say(text)
            if len(waiting) == len(left):
                time.sleep(WAIT_S)
            left = waiting
        return outcomes

    def _job(self, job: Job, leases: Leases) -> Outcome:
        plan = self.plan
        try:
            resolved = variants.resolve(
                job.variant, plan.base, seed=job.seed, sets=plan.sets, scale=plan.scale, host=self.host
            )  # fmt: skip
            with leases.hold(job.name):
                was_done = self._run(job, resolved, leases)
        except LeaseTaken:
            raise
        except HPFError as error:
            return self._note(job, str(error), "")
        except Exception as error:  # for example a plugin's error, which must not stop the other variants
            return self._note(job, f"{type(error).__name__}: {error}", traceback.format_exc())
        finally:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        plan.failure(job).unlink(missing_ok=True)
        if not was_done:
            self.say(f"{job}: done")
        return "was done" if was_done else "done"

    def _run(self, job: Job, resolved: Resolved, leases: Leases) -> bool:
        """Start or finish the run; returns whether it was finished before."""
        out = self.plan.run_folder(job)
        if RunFolder(out).ended() is not None:
            # Raises an error if the folder holds a run of another recipe than the variant's current one.
            RunFolder(out).check(resolved, resume=True)
            return True
        part = shared.pretraining(resolved, self.host)
        if part is not None and not shared.is_taken_over(part, out):
            shared.take_over(resolved, part, self._pretrained(part, leases), out)
        self._prepare(resolved, leases)
        self._execute(str(job), resolved, out)
        return False

    def _prepare(self, resolved: Resolved, leases: Leases) -> None:
        """Prepare the data's caches, one process at a time: two simultaneous processes would repeat the work. Variants
        may share a capture with different options, so one claim covers all of them."""
        document = resolved.document()
        key = content_key({name: document[name] for name in ("hand", "renderer", "grid", "data")})
        if key in self._prepared:
            return
        with leases.hold("data"), self.watch("data") as watcher:
            # Without stages: terms don't affect the data.
            build_parts(replace(resolved, stages=()), self.cache).prepare_data(watcher.progress)
        self._prepared.add(key)

    def _pretrained(self, part: shared.Shared, leases: Leases) -> Path:
        """Return the folder of a pretraining; trains it first if necessary."""
        out = self.plan.shared / part.key
        if part.key in self._failed_pretraining:
            raise RunError(self._failed_pretraining[part.key])
        if not shared.is_done(out):
            with leases.hold(part.key):
                try:
                    self._execute(f"shared pretraining {part.key}", part.resolved, out)
                except Exception as error:  # one failure counts for all variants that need it
                    self._failed_pretraining[part.key] = f"its pretraining, in {out}, failed: {error}"
                    raise RunError(self._failed_pretraining[part.key]) from error
        return out

    def _execute(self, what: str, resolved: Resolved, out: Path) -> None:
        begun = RunFolder(out).recipe.is_file()
        with self.watch(what) as watcher:
            run_and_report(
                Run(
                    resolved,
                    out,
                    resume=begun,
                    observers=watcher.observers,
                    progress=watcher.progress,
                    cache=self.cache,
                )
            )

    def _note(self, job: Job, reason: str, trace: str) -> Outcome:
        self.say(f"{job}: failed: {reason}")
        text = json.dumps({"reason": reason, "traceback": trace}, indent=2) + "\n"
        write_atomic(self.plan.failure(job), lambda path: _write(path, text))
        return "failed"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
