"""The contract of each kind of plugin, for the tests of a plugin's package.

    from hpf.testing import contract
    from my_package import SPEC

    test_contract = contract(SPEC)

`Fit` is the `StepData` that a data term is given. Tests make one of frames and estimates, and call a term with it.
"""

from hpf_core.objective.fit import Fit
from hpf_core.testing import CLAUSES, Broken, Clause, ClauseResult, NotApplicable, check, clauses_of, contract

__all__ = ["CLAUSES", "Broken", "Clause", "ClauseResult", "Fit", "NotApplicable", "check", "clauses_of", "contract"]
