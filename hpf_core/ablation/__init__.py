"""`hpf ablate`: one recipe in many rows, each run once per seed, and one table of what they measured.

rows (which there are) -> plan (what is run where) -> schedule (who runs it; `claims` keeps two processes apart,
`shared` trains once what rows have in common) -> results (what was measured) -> table and figures.
"""
