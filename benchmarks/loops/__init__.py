"""A study run three ways: by this package, and by loops over TRL as its users would write them.

| module | what it does |
|---|---|
| grid | the cells, their sample, their tokens |
| ledger | a file of what is measured, that sittings go on from |
| measure | a process: wall and CPU seconds, peak memory, children included |
| ours, honest, kind | the three sides |
| step | a step of a cell's exported script, in its own process or not |
| extrapolate | from some cells to all: tokens at a rate, and a constant per process |
| equivalence | whether scores differ by more than a margin |
| table | what is printed |
"""
