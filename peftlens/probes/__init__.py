"""Probes: measurements of trained adapters, one per file.

The file name is the probe's name. A probe module has VERSION, COLUMNS and CHARTS, and one of three
functions. `measure(context, run)` measures one run; `compare(context, runs)` compares runs, passed
as a mapping to the names of their configurations. Both come with REQUIRES, properties that a method
must list in its EXPOSES. `combine(tables)` aggregates the tables of the probes in INPUTS, of those
in ALSO_READS that were measured for other reasons, and the table `configurations`. A probe with
options has a dataclass Config, the last argument of its function; OPTIONS_OF names a probe with the
same options, whose values it has unless they are set under its own name, and FILES those of its
options that name files: the probe measures again once their contents change. MEASURED_WITH names a
probe that computes what this one uses too: a study measures both on one worker, one after the
other. The context, an `adapters.run_context.RunContext`, loads base models. OPTIONAL = True
excludes the probe from studies that do not name it, and OF_CONFIGURATIONS = True says that a
comparison of configurations stays as it is when further runs of them join.
"""
