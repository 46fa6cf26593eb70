# SPDX-License-Identifier: GPL-2.0-only
"""A labgrid of one's own: a coordinator and an exporter on loopback, and what switches power.

labgrid stays out of ``.venv``: its pytest plugin would cost every run of pytest a second
and a half. It is fetched once, and lies in the cache.
"""

import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time

from pyctl.cache import Cache, digest
from pyctl.vm.network import HOST, free_port

PATIENCE_S = 60
USER = "root"


def labgrid_installed():
    """Where labgrid and what it needs are."""

    def make(work):
        words = [sys.executable, "-m", "pip", "install", "-q", "--target", work, "labgrid>=26"]
        subprocess.run(words, check=True)

    return Cache().get("labgrid", digest(sys.prefix, sys.version), "labgrid", make).path


def wait_until(what, why):
    """What a function gives as soon as that is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := what()):
        assert time.monotonic() < deadline, why
        time.sleep(0.2)
    return found


class Labgrid:
    """A coordinator that has places; each is one board at a port of the loopback address.

    ``places`` are ports by name. ``switches`` are places whose power can be switched, with
    what is then called with True for on.
    """

    def __init__(self, here, places, switches=None):
        self.here, self.places, self.switches = here, places, switches or {}
        self.stack = contextlib.ExitStack()
        installed = labgrid_installed()
        self.env = dict(
            os.environ,
            LG_COORDINATOR=f"{HOST}:{free_port()}",
            PYTHONPATH=str(installed),
            PATH=f"{installed / 'bin'}:{os.environ['PATH']}",
            NO_PROXY=HOST,
            no_proxy=HOST,
        )
        self.env.pop("PYTEST_XDIST_WORKER", None)

    def __enter__(self):
        with self.stack:
            self.start("labgrid-coordinator", "-l", self.env["LG_COORDINATOR"])
            exported = {}
            for name, port in self.places.items():
                wait_until(lambda: self.client(name, "create").returncode == 0, "no coordinator")  # noqa: B023
                exported[name] = self.resources(name, port)
            # JSON is YAML.
            (self.here / "exporter.yaml").write_text(json.dumps(exported))
            self.start(
                "labgrid-exporter", "-c", self.env["LG_COORDINATOR"], "-n", "here", "exporter.yaml"
            )
            for name in self.places:
                assert self.client(name, "add-match", f"here/{name}/*").returncode == 0
                wait_until(
                    lambda: "NetworkService" in self.client(name, "resources").stdout,  # noqa: B023
                    "no exporter",
                )
            self.stack = self.stack.pop_all()
        return self

    def __exit__(self, *exc):
        self.stack.close()

    def start(self, *words):
        process = subprocess.Popen(
            words,
            cwd=self.here,
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.stack.callback(process.wait)
        self.stack.callback(process.terminate)

    def resources(self, name, port):
        found = {"NetworkService": {"address": HOST, "username": USER, "port": port}}
        if name in self.switches:
            url = (
                f"http://{HOST}:{self.stack.enter_context(_switch(self.switches[name]))}/{{value}}"
            )
            found["NetworkPowerPort"] = {"model": "simplerest", "host": url, "index": 0}
        return found

    def client(self, place, *words, **more):
        """Run labgrid's client on a place; ``more`` is what its environment has besides."""
        return subprocess.run(
            ["labgrid-client", "-p", place, *words],
            env=self.env | more,
            cwd=self.here,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    def owner(self, place):
        """Who has a place; "None" if nobody."""
        lines = self.client(place, "show").stdout.splitlines()
        return next(line.split()[1] for line in lines if line.strip().startswith("acquired:"))


@contextlib.contextmanager
def _switch(set_power):
    """A power switch as labgrid's model "simplerest" knows it; gives its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            set_power(self.path == "/1")
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments):
            pass

    with http.server.HTTPServer((HOST, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
