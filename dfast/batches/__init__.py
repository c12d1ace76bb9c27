"""Many runs: a table of prompts, seeds and settings over one machine or a cluster.

Each run is a process of its own, started by an engine (local processes or Ray), and does what
`dfast train` does. What is finished is read from the run folders, so a batch that was stopped or
killed goes on where it was. `dfast.batch` is the function of the module `batch`.
"""
