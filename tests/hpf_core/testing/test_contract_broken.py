"""Each clause is seen to fail: on plugins that keep the contract, with one thing broken (in the folder `broken`)."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from broken import backbone, data_term, prior, transform
from broken.backbone import BACKBONE
from broken.data_term import DATA_TERM
from broken.dataset import DATASET
from broken.faults import Fault
from broken.hand import HAND
from broken.observer import OBSERVER
from broken.prior import PRIOR
from broken.refiner import REFINER
from broken.renderer import RENDERER
from broken.synthetic import SYNTHETIC
from broken.transform import TRANSFORM
from torch import Tensor

from hpf_core.errors import InputError
from hpf_core.interfaces import KINDS, Build, Config, Kind, Prior, TermValue
from hpf_core.testing import CLAUSES, Clause, ClauseResult, check, clauses_of, contract
from hpf_core.testing.contract import judged
from hpf_core.testing.subject import Subject

ALL = {f.kind: f for f in (HAND, RENDERER, BACKBONE, DATA_TERM, PRIOR, DATASET, TRANSFORM, REFINER, OBSERVER)}
FAULTS: list[Fault] = [fault for faults in ALL.values() for fault in faults.rows] + SYNTHETIC


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.spec.kind}-{f.clause}-{f.name}".replace(" ", "_"))
def test_a_clause_finds_what_breaks_it(fault: Fault) -> None:
    clause = next(clause for clause in clauses_of(fault.spec.kind) if clause.name == fault.clause)
    found = judged(clause, Subject(fault.spec))
    assert found.status == "broken", found
    assert any(part in found.why for part in fault.says), found.why


def test_every_clause_is_seen_to_fail() -> None:
    assert {clause.name for clause in CLAUSES} == {fault.clause for fault in FAULTS}
    assert {kind for kind, faults in ALL.items() if faults.rows} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_packages_that_are_begun_from_keep_the_contract(kind: Kind) -> None:
    found = list(check(ALL[kind].sound))
    assert [finding.clause for finding in found] == list(clauses_of(kind))
    assert not [(finding.clause.name, finding.why) for finding in found if finding.status == "broken"]


def test_a_backbone_may_say_that_it_cannot_be_exported() -> None:
    class Apart(backbone.DecidesByItsInput):
        cannot_export = "it decides by its input"

    clause = next(clause for clause in clauses_of("backbone") if clause.name == "export")
    found = judged(clause, Subject(BACKBONE.spec(Apart)))
    assert (found.status, found.why) == (
        "not applicable", "it says that it can't be exported: it decides by its input",
    )  # fmt: skip


class _Items:
    """What pytest would make of a contract."""

    def __init__(self, test: Any) -> None:
        (mark,) = test.pytestmark
        self.clauses: list[Clause] = [parameter.values[0] for parameter in mark.args[1]]
        self.test = test

    def outcome(self, name: str) -> str:
        clause = next(clause for clause in self.clauses if clause.name == name)
        try:
            self.test(clause)
        except (pytest.fail.Exception, pytest.skip.Exception) as outcome:
            return f"{type(outcome).__name__}: {outcome}"
        return "passed"


def test_the_contract_as_a_test() -> None:
    """One test for each clause; failures name the plugin, the clause, what it asks for and how it is broken."""
    spec = PRIOR.spec(prior.Detached)
    items = _Items(contract(spec, {"margin_mm": 5.0}, waived={"autocast": "it is never run so"}))
    assert items.clauses == list(clauses_of("prior"))
    assert items.outcome("options") == "passed"
    assert items.outcome("autocast") == "Skipped: it is never run so"
    said = items.outcome("gradient")
    asked = next(clause.says for clause in items.clauses if clause.name == "gradient")
    assert said.startswith(f"Failed: prior 'mine' breaks the clause 'gradient' ({asked})")
    assert "no output has a gradient on points" in said
    assert "the options {'margin_mm': -1}" in _Items(contract(spec, {"margin_mm": -1})).outcome("options").replace(
        "its options", "the options"
    )
    with pytest.raises(InputError, match=r"no clause 'autocst'\. Did you mean 'autocast'"):
        contract(spec, waived={"autocst": "?"})


def test_options_may_be_made_when_a_test_runs() -> None:
    asked = []

    def options() -> dict[str, float]:
        asked.append(1)
        return {"margin_mm": 5.0}

    items = _Items(contract(PRIOR.sound, options))
    assert not asked
    assert items.outcome("options") == items.outcome("shapes") == "passed"
    assert asked == [1]


def test_a_hand_of_ones_own() -> None:
    """A prior is built with the hand that it is for."""

    def build(config: Config, build: Build) -> Prior:
        assert len(build.need_hand().names) == 6
        return PRIOR.sound.factory(config, build)

    spec = replace(PRIOR.sound, factory=build)
    assert _statuses(check(spec))["interface"] == "broken"
    assert "broken" not in _statuses(check(spec, hand=HAND.sound)).values()


def test_a_term_on_sequences_is_exempt_from_their_order() -> None:
    class Sequential(data_term.DependsOnPlace):
        sequential = True

    clause = next(clause for clause in CLAUSES if clause.name == "batch order")
    assert judged(clause, Subject(DATA_TERM.spec(Sequential))).status == "not applicable"


def test_a_transform_may_draw_nothing() -> None:
    class AlwaysTheSame(transform.Mine):
        def forward(self, depth: Tensor, generator: torch.Generator) -> transform.Changed:
            push = torch.full((len(depth), 1, 1), 8.0, device=depth.device)
            pushed = (depth + push).clamp(-self.far_mm, self.far_mm)
            moved = torch.tensor([0.0, 0.0, 8.0], device=depth.device)
            return torch.where(depth < self.far_mm, pushed, depth), lambda points: points - moved

    assert "broken" not in _statuses(check(TRANSFORM.spec(AlwaysTheSame))).values()


def test_any_failure_of_a_plugin_is_a_finding() -> None:
    class Fails(prior.Mine):
        def forward(self, points: Tensor) -> TermValue:
            raise KeyError("thumb")

    found = {finding.clause.name: finding for finding in check(PRIOR.spec(Fails))}
    assert found["shapes"] == ClauseResult(found["shapes"].clause, "broken", "KeyError: 'thumb'")
    assert found["options"].status == "holds"


def _statuses(findings: Any) -> dict[str, str]:
    return {finding.clause.name: finding.status for finding in findings}


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    subject = Subject(OBSERVER.sound)
    for clause in clauses_of("observer"):
        assert judged(clause, subject).status == "holds"
    del subject
    gc.collect()
    assert not list(tmp_path.iterdir())
