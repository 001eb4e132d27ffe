"""Import labels that other tools wrote.

`sources` finds files and detects their format. `delphi`, `csv_labels`, `csv_specialization` and `neuronpedia` each read
one format and yield what `imported` defines, for the features of a `target`. `merge` makes one table of everything, and
`report` says what became of every file.
"""
