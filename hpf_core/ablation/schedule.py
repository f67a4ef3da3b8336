"""An ablation's runs, one after the other: what is done is skipped, what was begun goes on, failures are noted."""

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
"""Seconds between looks at what others work on."""


@dataclass(frozen=True)
class Watcher:
    """Who watches a run, and who is told of the work outside of its stages; by default no one."""

    observers: Sequence[Observer] = ()
    progress: Progress = no_progress


Outcome = Literal["done", "was done", "failed"]


@dataclass
class Schedule:
    """The runs of an ablation that this process makes.

    Args:
        plan: the ablation, written down already.
        jobs: what of it is to be done here.
        host: where plugins are found.
        watch: called with what is about to run, in words; what it gives is told of it.
        say: told in a line what was done.
        cache: folder for what is made once; default the user's.
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
        """Make the runs. Those that another process works on are waited for, and made here if it is stopped.

        Raises:
            KeyboardInterrupt: it was stopped; what was begun can be gone on with.
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
        except Exception as error:  # a plugin's fault, say: it must not take the other rows with it
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
        """Make or end the run; whether it was done already."""
        out = self.plan.run_folder(job)
        if RunFolder(out).ended() is not None:
            # Says so where it is a run of another recipe than the row's as it is now.
            RunFolder(out).check(resolved, resume=True)
            return True
        part = shared.pretraining(resolved, self.host)
        if part is not None and not shared.is_taken_over(part, out):
            shared.take_over(resolved, part, self._pretrained(part, leases), out)
        self._prepare(resolved, leases)
        self._execute(str(job), resolved, out)
        return False

    def _prepare(self, resolved: Resolved, leases: Leases) -> None:
        """Make the data's caches one process at a time: two that begin together would disturb or repeat each other.
        Rows may share a capture and differ in how they use it, hence one claim for all of them."""
        document = resolved.document()
        key = content_key({name: document[name] for name in ("hand", "renderer", "grid", "data")})
        if key in self._prepared:
            return
        with leases.hold("data"), self.watch("data") as watcher:
            # Without stages: terms have nothing to do with it.
            build_parts(replace(resolved, stages=()), self.cache).prepare_data(watcher.progress)
        self._prepared.add(key)

    def _pretrained(self, part: shared.Shared, leases: Leases) -> Path:
        """The folder of a pretraining, made now if no one has."""
        out = self.plan.shared / part.key
        if part.key in self._failed_pretraining:
            raise RunError(self._failed_pretraining[part.key])
        if not shared.is_done(out):
            with leases.hold(part.key):
                try:
                    self._execute(f"shared pretraining {part.key}", part.resolved, out)
                except Exception as error:  # for all rows that need it, once
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
