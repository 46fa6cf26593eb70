# SPDX-License-Identifier: GPL-2.0-only
"""The target's end of a remote test: sends pytest's reports out on descriptor 3.

Loaded with ``-p tests.harness.relay`` where a target test really runs. Descriptor 3
leads to the other end, ``reports``, whatever lies between (a virtio-serial
port, ssh); standard output stays free for what the test prints.
"""

import json
import os

REPORT_FD = 3


class Relay:
    """Sends each report as one line of JSON."""

    def __init__(self, config):
        self.config = config

    def pytest_runtest_logreport(self, report):
        self.send(self.config.hook.pytest_report_to_serializable(config=self.config, report=report))

    def pytest_collectreport(self, report):
        if report.failed:
            self.send({"collection": str(report.longrepr)})

    def send(self, data):
        line = (json.dumps(data) + "\n").encode()
        while line:
            line = line[os.write(REPORT_FD, line) :]


def pytest_configure(config):
    config.pluginmanager.register(Relay(config))
