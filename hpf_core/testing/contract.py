"""The contract as one pytest function, and as a list of findings for the command line."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping

from hpf_core.errors import HPFError, InputError, nearest
from hpf_core.interfaces import Kind, PluginSpec
from hpf_core.testing import data, general, models, onlookers, shapes, tensors, terms, transforms
from hpf_core.testing.clause import Clause, ClauseResult
from hpf_core.testing.outcome import Broken, NotApplicable
from hpf_core.testing.subject import Options, Subject

CLAUSES: tuple[Clause, ...] = (
    *general.CLAUSES,
    *shapes.CLAUSES,
    *models.CLAUSES,
    *data.CLAUSES,
    *terms.CLAUSES,
    *transforms.CLAUSES,
    *onlookers.CLAUSES,
    *tensors.CLAUSES,
)
"""All clauses, those on the specification first."""


def clauses_of(kind: Kind) -> tuple[Clause, ...]:
    """The clauses for plugins of a kind, in the order of the checks."""
    return tuple(clause for clause in CLAUSES if kind in clause.kinds)


def contract(
    spec: PluginSpec,
    options: Options | None = None,
    *,
    hand: PluginSpec | None = None,
    renderer: PluginSpec | None = None,
    waived: Mapping[str, str] | None = None,
) -> Callable[..., None]:
    """The contract of a plugin's kind, for pytest: a test for each clause.

    Example:
        from hpf_core.testing import contract
        from my_package import SPEC

        test_contract = contract(SPEC)
        test_contract_when_strict = contract(SPEC, {"margin_mm": 0.0})

    Args:
        spec: the plugin.
        options: its options, as in a recipe, or a function that returns them (and creates their files) at the first
            test; other options have their defaults.
        hand, renderer: the parts to build it with (at default options); by default those of a recipe without names.
        waived: clauses that the plugin can't keep, each with the reason, which the test's report shows.

    Raises:
        InputError: a waived clause doesn't exist for the plugin's kind.
    """
    import pytest

    waived = dict(waived or {})
    clauses = clauses_of(spec.kind)
    for name in waived:
        if name not in (known := [clause.name for clause in clauses]):
            raise InputError(f"the contract of a {spec.kind} has no clause {name!r}. {nearest(name, known)}")
    # Built at the first test: test collection must stay fast, and a plugin that can't be built is a failure.
    subject = Subject(spec, options, hand, renderer)

    @pytest.mark.parametrize("clause", [pytest.param(clause, id=clause.name.replace(" ", "_")) for clause in clauses])
    def test_contract(clause: Clause) -> None:
        found = (
            judged(clause, subject)
            if clause.name not in waived
            else ClauseResult(clause, "not applicable", waived[clause.name])
        )
        if found.status == "broken":
            pytest.fail(
                f"{spec.kind} {spec.name!r} breaks the clause {clause.name!r} ({clause.says}):\n{found.why}",
                pytrace=False,
            )
        if found.status == "not applicable":
            pytest.skip(found.why)

    return test_contract


def check(
    spec: PluginSpec,
    options: Options | None = None,
    *,
    hand: PluginSpec | None = None,
    renderer: PluginSpec | None = None,
) -> Iterator[ClauseResult]:
    """Check a plugin, clause by clause; the arguments are those of `contract`. Yields each finding at once."""
    subject = Subject(spec, options, hand, renderer)
    for clause in clauses_of(spec.kind):
        yield judged(clause, subject)


def judged(clause: Clause, subject: Subject) -> ClauseResult:
    """The result of one clause. An exception of the plugin breaks the clause and becomes the reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # plugins warn about data, and the contract's data are unusual on purpose
            clause.check(subject)
    except Broken as error:
        return ClauseResult(clause, "broken", str(error))
    except NotApplicable as reason:
        return ClauseResult(clause, "not applicable", str(reason))
    except HPFError as error:
        return ClauseResult(clause, "broken", str(error))
    except Exception as error:
        return ClauseResult(clause, "broken", f"{type(error).__name__}: {error}")
    return ClauseResult(clause, "holds")
