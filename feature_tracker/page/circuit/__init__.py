"""The page's circuits: what is asked, the run, what a node holds, and the files."""
