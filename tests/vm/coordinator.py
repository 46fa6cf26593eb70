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


def wait_until(what, why, patience_s=PATIENCE_S):
    """What a function gives as soon as that is true."""
    deadline = time.monotonic() + patience_s
    while not (found := what()):
        assert time.monotonic() < deadline, why
        time.sleep(0.2)
    return found


def kill_in_a_test(board, journal, patience_s=PATIENCE_S):
    """Have a board of the network end while one of its tests runs, as its journal tells."""

    def is_at_work():
        return journal.is_file() and '{"begin": "tests/' in journal.read_text()

    def watch():
        wait_until(is_at_work, "no test began", patience_s)
        board.process.kill()

    threading.Thread(target=watch, daemon=True).start()


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
                self.ask_until("no coordinator came up", name, "create")
                exported[name] = self.resources(name, port)
            # JSON is YAML.
            (self.here / "exporter.yaml").write_text(json.dumps(exported))
            self.start(
                "labgrid-exporter", "-c", self.env["LG_COORDINATOR"], "-n", "here", "exporter.yaml"
            )
            for name in self.places:
                self.ask_until("no coordinator", name, "add-match", f"here/{name}/*")
                self.ask_until("no exporter came up", name, "resources", said="NetworkService")
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

    def ask_until(self, why, place, *words, said=""):
        """Run labgrid's client until that goes well, and it has said something."""

        def is_well():
            done = self.client(place, *words)
            return done.returncode == 0 and said in done.stdout

        wait_until(is_well, why)

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
