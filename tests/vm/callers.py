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
from collections.abc import Iterator
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
ND_REGION = "/sys/bus/nd/drivers/nd_region"
CXL = "/sys/bus/cxl/devices"
CXL_DRIVERS = "/sys/bus/cxl/drivers"


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
    """Operations on the NVDIMM, each undone by the next; their names and a shell's words."""
    yield "NVDIMM region unbind", f"echo region0 > {ND_REGION}/unbind"
    yield "NVDIMM region bind", f"echo region0 > {ND_REGION}/bind"


def cxl() -> Iterator[tuple[str, str]]:
    """The same on CXL regions, and on the device that their memory is of."""
    region = make_region()
    commit = f"echo 1 > {region}/commit"
    yield "CXL region commit", commit
    yield "CXL region bind", f"echo {region.name} > {CXL_DRIVERS}/cxl_region/bind"
    yield "CXL region unbind", f"echo {region.name} > {CXL_DRIVERS}/cxl_region/unbind"
    yield "CXL region decommit", f"echo 0 > {region}/commit"
    shell(commit)
    yield "CXL region delete", f"echo {region.name} > {CXL}/decoder0.0/delete_region"
    region = make_region()
    shell(f"echo 1 > {region}/commit")
    yield "CXL memory device unbind", f"echo mem0 > {CXL_DRIVERS}/cxl_mem/unbind"
    shell(f"echo mem0 > {CXL_DRIVERS}/cxl_mem/bind")
    shell(f"echo {region.name} > {CXL}/decoder0.0/delete_region")


def shell(script: str) -> None:
    """Do what is watched by nobody."""
    subprocess.run(["sh", "-c", script], check=True)


def make_region() -> Path:
    """Set a region of RAM up on the one memory device, as ``cxl create-region`` does."""
    root, endpoint = Path(CXL, "decoder0.0"), Path(CXL, "decoder2.0")
    name = (root / "create_ram_region").read_text().strip()
    (root / "create_ram_region").write_text(name)
    region = Path(CXL, name)
    size = int(Path(CXL, "mem0/ram/size").read_text(), 0)
    (region / "interleave_granularity").write_text("256")
    (region / "interleave_ways").write_text("1")
    (endpoint / "mode").write_text("ram")
    (endpoint / "dpa_size").write_text(hex(size))
    (region / "size").write_text(hex(size))
    (region / "target0").write_text(endpoint.name)
    return region


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
    debugfs = Debugfs(System.this())
    stub = Stub(lambda fid, arguments: debugfs.raw_call(fid, tuple(arguments)))
    stub.identify()
    for device, operations in ((ND_DEVICE, nvdimm), (f"{CXL}/mem0", cxl)):
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


def row(each: Cell) -> str:
    """A line of the table."""
    ranges = ["all memory" if call["size"] == WHOLE else "the region's" for call in each.calls]
    told = [_told(call) for call in each.calls]
    user = "success" if each.status == 0 else f"failure ({each.status})"
    lost = "**yes**" if any(call["swallowed"] for call in each.calls) else "no"
    columns = (each.operation, each.said, ", ".join(ranges) or "none", ", ".join(told) or "-")
    return f"| {' | '.join((*columns, user, lost))} |"


def _told(call: dict[str, Any]) -> str:
    """What the caller got to know."""
    if not call["answered"]:
        return f"-{call['errno']}, nobody was asked" if call["errno"] else "nobody was asked"
    return f"-{call['errno']}" if call["errno"] else "0"


if __name__ == "__main__":
    if sys.argv[1:] == ["--table"]:
        print(head())
        for found in cells():
            print(row(found))
    else:
        print(json.dumps([asdict(found) for found in cells()]))
