# SPDX-License-Identifier: GPL-2.0-only
"""On the board: carries out sequences of operations on the modelled cache.

The host generates them (tests/vm/test_generated_sequences.py) and sends one to a line of JSON;
the answer is a line too: what CPU and device see after each operation.
"""

import json
import sys

from pyctl.firmware.client import Faults, Stub
from pyctl.firmware.faults import parse_faults
from pyctl.firmware.settings import parse_setting
from pyctl.target.debugfs import Debugfs
from pyctl.target.observers import ModelObserver
from pyctl.target.system import System

CLEAN_INV = 0xC000_0005


def carry_out(debugfs, observer, faults, operation):
    kind, addr, *rest = operation
    if kind != "clean_inv":
        getattr(observer, kind)([(addr, bytes.fromhex(rest[0]))])
        return
    size, is_global, fault = rest
    observer.stub.set(parse_setting(f"global={int(is_global)}"))
    faults.clear()
    if fault:
        faults.replace(parse_faults(fault))
    assert debugfs.raw_call(CLEAN_INV, (addr, size, 0))[0] == 0


def main():
    debugfs = Debugfs(System.this())
    faults = Faults(Stub(debugfs.raw_call))
    for text in sys.stdin:
        task = json.loads(text)
        data = bytes.fromhex(task["data"])
        seen = []
        with ModelObserver(debugfs, task["base"], len(data), task["line_size"]) as observer:
            observer.prepare(task["base"], data)
            for operation in task["operations"]:
                carry_out(debugfs, observer, faults, operation)
                views = (observer.cpu_read, observer.device_read)
                seen.append([view(task["base"], len(data)).hex() for view in views])
        print(json.dumps(seen), flush=True)


main()
