"""Labels that other tools wrote: find their files, read each format, clean, merge, and report what was done.

`sources` finds files and tells their formats; `delphi`, `csv_labels`, `csv_specialization` and `neuronpedia` read one
each and hand on what `imported` defines; `merge` makes one table of it, `report` says what became of every file.
"""
