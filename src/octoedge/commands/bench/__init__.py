"""`octoedge bench`: the figures that Octoedge is judged by, measured on this machine.

`figures` says what is measured and what it is compared with; `process` reads a process's memory and CPU time from
/proc; `scenarios` drives a real installation of its own (own home, own ports) and fills the figures in; `course` runs
one after the other; `record` keeps what each found beside the page, `report` draws table, JSON and page from it.
"""

from octoedge.commands.bench.command import main

__all__ = ["main"]
