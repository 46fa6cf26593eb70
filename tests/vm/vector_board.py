# SPDX-License-Identifier: GPL-2.0-only
"""On the board: `pyctl conformance` while a program has state of SVE and SME in CPU 1.

Prints, as JSON, what failed on good firmware, on firmware that loses both, and how the
program has ended. It is lost, and not the board, if the module does not put back what it
found: the kernel leaves a program's vectors where they are while it does work of its own.
"""

import ctypes
import json
import mmap
import os
import signal
import struct
import subprocess
import sys

LOOPS = 2_000_000
PROGRAM = (
    *(0xD280_0001, 0xD503_457F),  # mov x1, #0; smstart za
    *(0x2518_E3E0, 0x04BF_5022),  # ptrue p0.b; rdvl x2, #1
    *(0x2538_C0A0, 0x252C_9000),  # dup z0.b, #5; setffr
    # 1: Are all of p0, z0 and FFR as they were, and is ZA on?
    *(0x2520_8003, 0xEB02_007F, 0x5400_01A1),  # cntp x3, p0, p0.b; cmp x3, x2; b.ne 2f
    *(0x2505_8011, 0x5400_0161),  # cmpne p1.b, p0/z, z0.b, #5; b.ne 2f
    *(0x2519_F002, 0x2520_8043),  # rdffr p2.b; cntp x3, p0, p2.b
    *(0xEB02_007F, 0x5400_00E1),  # cmp x3, x2; b.ne 2f
    *(0xD53B_4243, 0xF100_087F, 0x5400_0081),  # mrs x3, svcr; cmp x3, #2; b.ne 2f
    *(0xF100_0400, 0x54FF_FE61, 0x1400_0002),  # subs x0, x0, #1; b.ne 1b; b 3f
    0xD280_0021,  # 2: mov x1, #1
    *(0xD503_447F, 0xAA01_03E0, 0xD65F_03C0),  # 3: smstop za; mov x0, x1; ret
)
"""A function (number): 0, or 1 if its state was not the same so many times."""


def use_vectors() -> None:
    """Use them until something is wrong with them."""
    os.sched_setaffinity(0, {1})
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(struct.pack(f"<{len(PROGRAM)}I", *PROGRAM))
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    run = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)(address)
    while not run(LOOPS):
        pass


def conformance() -> list[str]:
    """Ids and sentences of the rules that fail, and those about vectors that were not run."""
    done = subprocess.run(["pyctl", "conformance", "--json"], stdout=subprocess.PIPE, check=False)
    rules = {rule["id"]: rule for rule in json.loads(done.stdout)["rules"]}
    return [
        f"{name} {rule['result']}: {rule['evidence']['summary']}"
        for name, rule in rules.items()
        if rule["result"] == "fail" or name in ("REG-8", "REG-9")
    ]


def main() -> None:
    """Print what was seen."""
    # Calls of others than pyctl's raw ones would be firmware's own doing on the program's CPU.
    os.sched_setaffinity(0, {0})
    said: dict[str, list[str] | int] = {"good": conformance()}
    user = os.fork()
    if not user:
        use_vectors()
        sys.exit("the program's vectors were changed")
    faults = "clobber_sve@call=attributes,clobber_sme@call=attributes"
    subprocess.run(["pyctl", "fault", "set", faults], stdout=2, check=True)
    said["bad"] = conformance()
    os.kill(user, signal.SIGTERM)
    said["user"] = os.waitstatus_to_exitcode(os.waitpid(user, 0)[1])
    print(json.dumps(said))


main()
