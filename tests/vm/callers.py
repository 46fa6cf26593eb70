# SPDX-License-Identifier: GPL-2.0-only
"""Has the kernel's own drivers make the call, and tells what became of each answer.

Runs on a virtual board with the hardware that they are for, whose firmware says each
status on demand:

    pyctl vm run --nvdimm 64M --firmware whole=accept -- python3 -m tests.vm.callers
    pyctl vm run --boot uefi --cxl 256M -- python3 -m tests.vm.callers

Prints JSON, which ``tests/vm/test_callers.py`` judges; with ``--table``, what
``scripts/callers`` makes the table in ``pyctl/README.md`` of.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyctl.firmware.client import Faults, Stub
from pyctl.firmware.faults import parse_faults
from pyctl.target.debugfs import Debugfs
from pyctl.target.kmod import load, remove
from pyctl.target.system import System
from pyctl.watch.calls import WHOLE
from pyctl.watch.run import watch
from tests.vm.cxl import DEVICES, ROOT, commit, delete, make_region

NOBODY = "no provider"
# What firmware says, and the faults that make it say so.
ANSWERS = {
    "SUCCESS": "",
    "SUCCESS, 50 ms late": "latency:50000@next=1",
    "BUSY once": "status:BUSY@next=1",
    "BUSY every time": "status:BUSY",
    "INVALID_PARAMETER": "status:INVALID_PARAMETER",
    "NOT_SUPPORTED": "status:NOT_SUPPORTED",
    NOBODY: "",
}
ND_DEVICE = "/sys/bus/nd/devices/region0"


@dataclass
class Cell:
    """One operation with one answer: what was called, and what people were told."""

    operation: str
    said: str
    calls: list[dict[str, Any]]
    status: int
    firmware: list[tuple[int, int, int]]
    """Base, length and status of the calls that firmware saw."""


def nvdimm() -> Iterator[tuple[str, str]]:
    """Operations on the NVDIMM, in an order that can be repeated; their names and commands."""
    yield "ndctl disable-region", "ndctl disable-region region0"
    yield "ndctl enable-region", "ndctl enable-region region0"
    yield "ndctl create-namespace", "ndctl create-namespace -f -e namespace0.0 -m devdax >/dev/null"
    yield "ndctl destroy-namespace", "ndctl destroy-namespace -f namespace0.0"


def cxl() -> Iterator[tuple[str, str]]:
    """The same on CXL regions, and on the device that their memory is of."""
    create = "cxl create-region -d decoder0.0 -t ram -m mem0 >/dev/null"
    yield "cxl create-region", create
    yield "cxl disable-region", "cxl disable-region region0"
    yield "cxl enable-region", "cxl enable-region region0"
    yield "cxl destroy-region", "cxl destroy-region -f region0"
    shell(create)
    yield "cxl disable-memdev", "cxl disable-memdev -f mem0"
    shell("cxl enable-memdev mem0")
    delete(DEVICES / "region0")
    # What these commands do in several steps, step by step.
    region = make_region()
    yield "CXL region commit", f"echo 1 > {region}/commit"
    yield "CXL region decommit", f"echo 0 > {region}/commit"
    commit(region)
    yield "CXL region delete", f"echo {region.name} > {ROOT}/delete_region"


def shell(script: str) -> None:
    """Do what is watched by nobody."""
    subprocess.run(["sh", "-c", script], check=True)


def firmware() -> Stub:
    """Firmware of the board, which tells what it saw."""
    debugfs = Debugfs(System.this())
    stub = Stub(lambda fid, arguments: debugfs.raw_call(fid, tuple(arguments)))
    stub.identify()
    return stub


def cell(stub: Stub, operation: str, script: str, said: str) -> Cell:
    """Watch one operation while firmware says so."""
    if said == NOBODY:
        remove("smccc_cache")
    stub.reset(records_only=True)
    Faults(stub).replace(parse_faults(ANSWERS[said]) if ANSWERS[said] else [])
    calls: list[dict[str, Any]] = []
    notes: list[str] = []
    summary = watch(
        System.this(),
        ["sh", "-c", script],
        True,
        lambda call: calls.append(call.as_json()),
        notes.append,
    )
    Faults(stub).clear()
    log = [(each.base, each.length, each.status) for each in stub.log()]
    if said == NOBODY:
        load(System.this(), raw=True)
    assert (notes, summary.lost, summary.open) == ([], 0, 0)
    assert summary.status is not None
    return Cell(operation, said, calls, summary.status, log)


def cells() -> Iterator[Cell]:
    """Every operation of the hardware that is there, with every answer."""
    stub = firmware()
    for device, operations in ((ND_DEVICE, nvdimm), (DEVICES / "mem0", cxl)):
        if Path(device).exists():
            for said in ANSWERS:
                for operation, script in operations():
                    found = cell(stub, operation, script, said)
                    yield found
                    if found.status:
                        # What follows wants it done.
                        shell(script)


def head() -> str:
    """The table's first two lines."""
    operation = f"operation, on Linux {os.uname().release}"
    titles = (operation, "firmware said", "range", "caller was told", "user was told", "swallowed")
    return f"| {' | '.join(titles)} |\n{'|---' * len(titles)}|"


def table(found: Sequence[Cell]) -> Iterator[str]:
    """The table's other lines, by operation. One that never calls has one line."""
    for operation in dict.fromkeys(each.operation for each in found):
        some = [each for each in found if each.operation == operation]
        if any(each.calls for each in some):
            yield from (_row(each, each.said) for each in some)
        else:
            yield _row(some[0], "anything")


def _row(each: Cell, said: str) -> str:
    ranges = ["all memory" if call["size"] == WHOLE else "the region's" for call in each.calls]
    told = [_told(call) for call in each.calls]
    user = "success" if each.status == 0 else f"failure ({each.status})"
    lost = "**yes**" if any(call["swallowed"] for call in each.calls) else "no"
    columns = (each.operation, said, ", ".join(ranges) or "none", ", ".join(told) or "-")
    return f"| {' | '.join((*columns, user, lost))} |"


def _told(call: dict[str, Any]) -> str:
    """What the caller got to know."""
    if not call["answered"]:
        return f"-{call['errno']}, nobody was asked" if call["errno"] else "nobody was asked"
    return f"-{call['errno']}" if call["errno"] else "0"


if __name__ == "__main__":
    if sys.argv[1:] == ["--table"]:
        print(head())
        print(*table(list(cells())), sep="\n")
    else:
        print(json.dumps([asdict(found) for found in cells()]))
