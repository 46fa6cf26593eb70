# SPDX-License-Identifier: GPL-2.0-only
"""What happens to two CXL memory devices, and to what the CPU holds of their memory.

Runs on a virtual board that has them, for ``tests/vm/test_cxl.py``, which judges what is
printed as JSON:

    pyctl vm run --boot uefi --cxl 256M --cxl 256M -- python3 -m tests.vm.scenes
"""

import json
from collections.abc import Iterator
from dataclasses import asdict

from pyctl.firmware.client import Faults
from pyctl.firmware.faults import parse_faults
from pyctl.target.debugfs import Debugfs
from pyctl.target.observers import ModelObserver
from pyctl.target.system import System
from tests.vm.callers import Cell, cell, firmware
from tests.vm.cxl import commit, decommit, delete, make_region

ROUNDS = 10
CALLS = 200
"""How often each of two callers calls while the other does."""
LINE = 64
SIZE = 64 << 10
OLD, NEW = b"\xa5" * SIZE, b"\x5a" * SIZE


def two_regions() -> Iterator[Cell]:
    """Each on a device of its own; what becomes of one is nothing to the other."""
    stub = firmware()
    first = make_region(["mem0"])
    yield cell(stub, "commit of the first", f"echo 1 > {first}/commit", "SUCCESS")
    second = make_region(["mem1"])
    yield cell(stub, "commit of the second", f"echo 1 > {second}/commit", "SUCCESS")
    script = f"echo 0 > {second}/commit && echo 0 > {first}/commit"
    yield cell(stub, "decommit of both", script, "INVALID_PARAMETER")
    delete(second)
    delete(first)


def interleaved() -> Iterator[Cell]:
    """One region of which the devices have every other 256 bytes."""
    stub = firmware()
    region = make_region(["mem0", "mem1"])
    yield cell(stub, "commit", f"echo 1 > {region}/commit", "SUCCESS")
    yield cell(stub, "decommit", f"echo 0 > {region}/commit", "BUSY once")
    delete(region)


def at_once() -> Iterator[Cell]:
    """Two callers: the CXL drivers, and somebody who has scratch memory invalidated."""
    region = make_region(["mem0"])
    commit(region)
    script = f"""
        pyctl invalidate --scratch 64K --count {CALLS} &
        for turn in $(seq {ROUNDS}); do echo 0 > {region}/commit; echo 1 > {region}/commit; done
        wait
    """
    yield cell(firmware(), "both", script, "SUCCESS")
    decommit(region)
    delete(region)


def unloaded_in_the_middle() -> Iterator[Cell]:
    """The provider goes, and comes back."""
    region = make_region(["mem0"])
    commit(region)
    script = f"""
        echo 0 > {region}/commit
        rmmod smccc_cache
        echo 1 > {region}/commit
        pyctl load
        echo 1 > {region}/commit
    """
    yield cell(firmware(), "decommit, two commits", script, "SUCCESS")
    decommit(region)
    delete(region)


def stale(fault: str) -> bytes:
    """What the CPU reads of memory that was changed behind its back before a decommit.

    The modelled cache ends with the decommit: where no region is, there is no memory either.
    """
    stub, debugfs = firmware(), Debugfs(System.this())
    region = make_region(["mem0"])
    commit(region)
    addr = int((region / "resource").read_text(), 0)
    with ModelObserver(debugfs, addr, SIZE, LINE) as observer:
        observer.prepare(addr, OLD)
        observer.device_write([(addr, NEW)])
        Faults(stub).replace(parse_faults(fault) if fault else [])
        decommit(region)
        Faults(stub).clear()
    commit(region)
    read = debugfs.read_memory(addr, SIZE)
    decommit(region)
    delete(region)
    return read


def data() -> dict[str, str]:
    """Whether old or new data are read after each kind of firmware's answers."""
    names = {OLD: "old", NEW: "new"}
    faults = ("", "noop", "status:INVALID_PARAMETER", "status:BUSY@next=1")
    return {fault: names.get(stale(fault), "neither") for fault in faults}


if __name__ == "__main__":
    scenes = (two_regions, interleaved, at_once, unloaded_in_the_middle)
    told = {scene.__name__: [asdict(each) for each in scene()] for scene in scenes}
    print(json.dumps(told | {"data": data()}))
