"""All checks of all devices, in turn, and what to do about what is wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch

from hpf_core.doctor import checks
from hpf_core.doctor.checks import Check, Mode, Scenes, Subject, Tolerances
from hpf_core.doctor.reference import exact_parts
from hpf_core.errors import InputError
from hpf_core.inference.build import Parts, build_parts, choose_device, load_init
from hpf_core.progress import Progress, no_progress
from hpf_core.recipe import Resolved, StagePlan


def choose_devices(wanted: str) -> list[torch.device]:
    """The devices that `--device` names: `all`, or what recipes accept.

    Raises:
        InputError: it names one that isn't here, or none.
    """
    if wanted == "all":
        return [torch.device("cpu"), *(torch.device("cuda", n) for n in range(torch.cuda.device_count()))]
    if not wanted.strip():
        raise InputError("--device: names no device; give all, cpu, cuda, cuda:1 or auto")
    return [choose_device(wanted)]


class Examination:
    """The parts of both recipes, and their float64 references, built once for all devices.

    Args:
        fit: a recipe with a stage `fit`, whose terms and step are checked.
        predict: a recipe with the weights that predict.
        factor: on all tolerances.
        compiled: whether graphs of `torch.compile` are checked; None: on GPUs alone, a CPU needs minutes.
        progress: is told of the checks.
    """

    def __init__(
        self,
        fit: Resolved,
        predict: Resolved,
        factor: float = 1.0,
        compiled: bool | None = None,
        progress: Progress = no_progress,
    ) -> None:
        self._factor, self._compiled, self._progress = factor, compiled, progress
        self._plan: StagePlan = next(plan for plan in fit.stages if plan.name == "fit")
        self._fit, self._predict = build_parts(fit), build_parts(predict)
        load_init(predict, self._predict)
        with _quiet():  # priors are trained for a moment alone: only their arithmetic matters here
            self._fit.prepare_terms(progress)
            self._references = exact_parts(fit, self._fit), exact_parts(predict, self._predict)
        self._scenes = Scenes.of(self._fit, self._predict)

    def device(self, device: torch.device) -> Iterator[Check]:
        """The checks of one device."""
        for parts in (self._fit, self._predict):
            parts.to(device)
        try:
            subjects = [
                Subject(parts, reference, self._plan, device, self._scenes, Tolerances(), self._factor)
                for parts, reference in zip((self._fit, self._predict), self._references, strict=True)
            ]
            todo = self._todo(self._fit, device)
            for done, (what, mode, work, which) in enumerate(todo):
                self._progress(done, len(todo), f"checking {device}")
                reason = self._skipped(mode, device)
                if reason:
                    yield Check(str(device), what, mode, "skipped", detail=reason)
                else:
                    yield from checks.run(subjects[which], what, mode, work)
            self._progress(len(todo), len(todo), f"checking {device}")
        finally:
            for parts in (self._fit, self._predict):
                parts.to("cpu")

    def _todo(self, parts: Parts, device: torch.device) -> list[tuple[str, Mode, checks.Work, int]]:
        """What is checked, in which mode, how, and on which recipe's parts."""
        found: list[tuple[str, Mode, checks.Work, int]] = [
            ("renderer", "float32", checks.check_renderer, 0),
            ("distance", "float32", checks.check_distance, 0),
        ]
        for name in parts.terms:
            found.append((f"term {name}", "float32", partial(_term, name), 0))
        modes: list[Mode] = ["float32", "bf16", "compile"]
        if device.type == "cuda":
            modes.insert(1, "tf32")
        found += [("training step", mode, checks.check_step, 0) for mode in modes]
        found += [("prediction", mode, checks.check_prediction, 1) for mode in modes]
        return found

    def _skipped(self, mode: Mode, device: torch.device) -> str:
        """Why a mode isn't checked on a device; empty where it is."""
        wanted = device.type == "cuda" if self._compiled is None else self._compiled
        if mode == "compile" and not wanted:
            return "not asked for" if self._compiled is False else "takes minutes on a CPU; --compile checks it"
        if mode == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
            return "this GPU has no bf16"
        return ""


@contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _term(name: str, subject: Subject, mode: Mode) -> list[checks.Difference]:
    return checks.check_term(subject, name)


def examine(
    fit: Resolved,
    predict: Resolved,
    devices: list[torch.device],
    factor: float = 1.0,
    compiled: bool | None = None,
    progress: Progress = no_progress,
) -> list[Check]:
    """All checks of all devices, see `Examination`."""
    examination = Examination(fit, predict, factor, compiled, progress)
    return [check for device in devices for check in examination.device(device)]


def advice(found: list[Check]) -> list[str]:
    """What to do, for everything that is wrong or failed; empty where all is right."""
    said = []
    bad = [check for check in found if check.status in ("wrong", "failed")]
    for device in dict.fromkeys(check.device for check in bad):
        mine = [check for check in bad if check.device == device]
        named = ", ".join(dict.fromkeys(f"{check.what} ({check.mode})" for check in mine))
        said.append(f"{device}: don't trust results of {named}")
        if any("out of memory" in check.detail.lower() for check in mine):
            said.append(f"{device}: its memory is full: end what else runs on it, and call hpf doctor again")
            continue
        plain = [check for check in mine if check.mode == "float32"]
        if not plain:
            options = {"bf16": "runtime.precision=float32", "compile": "runtime.compile=false"}
            modes = dict.fromkeys(check.mode for check in mine)
            for mode in modes:
                if mode in options:
                    said.append(f"{device}: train with --set {options[mode]}: plain float32 is right here")
                else:
                    said.append(f"{device}: set NVIDIA_TF32_OVERRIDE=0: float32 without TF32 is right here")
        elif device == "cpu":
            said.append(
                "cpu: set HPF_KERNELS=off and call hpf doctor again: if that is right, the C compiler's code is wrong, "
                "and another compiler in CC may help; training works meanwhile, several times slower"
            )
        else:
            said.append(
                f"{device}: use --device cpu, and try the PyTorch that https://pytorch.org names for the driver"
            )
    if bad:
        said.append("report it with the output of `hpf doctor --json`")
    return said
