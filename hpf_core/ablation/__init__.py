"""`hpf ablate`: runs variants of one recipe, each once per seed, and collects their figures in one table.

variants (names and recipes) -> plan (jobs and folders) -> schedule (execution; leases separate processes, `shared`
trains common stages once) -> results (figures) -> table and figures.
"""
