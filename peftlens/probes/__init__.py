"""Probes, one file each; the file name is the probe's name.

A probe has VERSION, COLUMNS and CHARTS. One that measures a run has REQUIRES (of what a method
EXPOSES) and `measure(context, run)`; one that holds runs side by side has REQUIRES and
`compare(context, runs)`, with the names of their configurations; one that sums up has INPUTS, the
probes whose tables it reads, and `combine(tables)`, which gets the table `configurations` too.
Where it has a Config, its options, that is a last argument of each. The context, an
`adapters.run_context.RunContext`, gives base models.
OPTIONAL = True leaves it out of a study that does not name it.
"""
