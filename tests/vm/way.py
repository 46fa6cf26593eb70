# SPDX-License-Identifier: GPL-2.0-only
"""What a test and its way to the target and back take, over ssh and by a board's own channel.

For scripts/bench, as ``python -m tests.vm.way``: prints the seconds of each as JSON, measured
in turns on two boards of the same kind.
"""

import json
import sys
import time

from pyctl.vm.spec import Spec
from tests.harness.ssh import Destination, SshTarget
from tests.harness.virtual import VmTarget, modules_for
from tests.vm.conftest import NetworkBoard

TEST = "tests/target/test_discovery.py::test_every_read_asks_anew"
ROUNDS = 10


def main():
    times: dict[str, list[float]] = {"ssh": [], "channel": []}
    virtual = VmTarget(lambda _text: None)
    spec = Spec(boot="uefi", cpus=4, memory_mib=1024, tests=True)
    with NetworkBoard("--cpus", "4") as board, virtual.boot(spec, cold=False) as guest:
        ssh = SshTarget(Destination("root@127.0.0.1", board.config), modules=modules_for)
        for turn in range(ROUNDS + 1):
            for name, run in (
                ("ssh", lambda: ssh.run(None, TEST, None, 60)),
                ("channel", lambda: virtual.run_on(guest, TEST, 60)),
            ):
                started = time.monotonic()
                reports, _printed = run()
                if {report["outcome"] for report in reports} != {"passed"}:
                    sys.exit(f"{TEST} over {name}: {reports}")
                # The first over ssh makes the connection.
                if turn:
                    times[name].append(time.monotonic() - started)
        ssh.close()
    print(json.dumps(times))


if __name__ == "__main__":
    main()
