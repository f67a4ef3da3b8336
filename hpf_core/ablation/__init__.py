"""`hpf ablate`: one recipe in many rows, each run once per seed, and one table of what they measured.

variants (which there are) -> plan (what is run where) -> schedule (who runs it; leases keep two processes apart,
`shared` trains once what rows have in common) -> results (what was measured) -> table and figures.
"""
