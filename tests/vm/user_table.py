# SPDX-License-Identifier: GPL-2.0-only
"""Prints pyctl/README.md's table of what a user sees for what firmware said, from a run.

Runs on a virtual board, whose firmware says each status on demand:

    pyctl vm run -- python3 -m tests.vm.user_table

``tests/vm/test_user_table.py`` compares it with what this prints.
"""

import contextlib
import io
import json

from pyctl.cli.main import main
from pyctl.firmware.client import Stub
from pyctl.smccc import STATUS_NAMES
from pyctl.target import regions
from pyctl.target.debugfs import Debugfs
from pyctl.target.system import System

# More tries than the provider makes.
ALWAYS = 100
UNKNOWN = -77
TRIED_AGAIN = ("BUSY", "RATE_LIMITED")
CALLERS = {"memregion": "the kernel's call (default)", "smccc": "firmware directly (`--via smccc`)"}
HEAD = (
    "| asked through | firmware said | provider returned | `pyctl` printed | exit status |\n"
    "|---|---|---|---|---|"
)


def cases(via):
    """Each status on every call; where the provider tries again, also on the first call only."""
    for status in (*STATUS_NAMES, UNKNOWN):
        name = STATUS_NAMES.get(status, f"{status} (unknown)")
        if name in TRIED_AGAIN and via == "memregion":
            yield f"{name} once", status, 1
            yield f"{name} every time", status, ALWAYS
        else:
            yield name, status, ALWAYS


def run(*arguments):
    """Run `pyctl`; give its exit status, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(arguments)
    return status, out.getvalue(), err.getvalue()


def row(stub, words, via, said, status, repeat):
    """One line of the table: the same request once for machines, once for people."""
    answers = []
    for option in ((), ("--json",)):
        stub.reset()
        stub.queue(status, repeat)
        answers.append(run(*words, "--via", via, *option))
    (exit_status, out, err), (_, answer, _) = answers
    returned = json.loads(answer)["errno"] or "0"
    complaints = [line for line in err.splitlines() if line.startswith("pyctl: ")]
    printed = complaints or [line for line in out.splitlines() if line.startswith("completed")]
    text = " ".join(printed[0].removeprefix("pyctl: ").split())
    returned = f"-{returned}" if returned != "0" else "0"
    provider = returned if via == "memregion" else "not involved"
    return f"| {CALLERS[via]} | {said} | {provider} | {text} | {exit_status} |"


def table():
    system = System.this()
    debugfs = Debugfs(system)
    stub = Stub(debugfs.raw_call)
    stub.identify()
    target = next(region.range for region in regions.regions(system) if region.safe)
    words = ("invalidate", "--addr", hex(target.addr), "--size", "64K")
    rows = [row(stub, words, via, *case) for via in CALLERS for case in cases(via)]
    stub.reset()
    return "\n".join([HEAD, *rows])


if __name__ == "__main__":
    print(table())
