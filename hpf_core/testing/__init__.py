"""The contract of every plugin: HPF runs it on its own plugins, and other packages on theirs.

    from hpf_core.testing import contract
    from my_package import SPEC

    test_contract = contract(SPEC)

`hpf plugins check PACKAGE` runs it from the command line; `docs/plugins.md` lists the clauses.
"""

from hpf_core.testing.clause import Clause, ClauseResult
from hpf_core.testing.contract import CLAUSES, check, clauses_of, contract
from hpf_core.testing.outcome import Broken, NotApplicable

__all__ = ["CLAUSES", "Broken", "Clause", "ClauseResult", "NotApplicable", "check", "clauses_of", "contract"]
