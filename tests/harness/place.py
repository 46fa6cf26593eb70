# SPDX-License-Identifier: GPL-2.0-only
"""A board that labgrid keeps: acquired for this run, power-cycled when it is lost, and released.

labgrid's client acquires, releases and cycles; its library says where the board is.
Whoever ends this process, and however, a small guard that waits for our end releases the
place, so that no night finds it taken by one that was killed.
"""

import contextlib
import getpass
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pyctl.errors import NotReady, TargetLost
from tests.harness.ssh import Destination, SshTarget, last_line

CLIENT = "labgrid-client"
POLL_S = 3.0
# A coordinator that is there answers at once.
ANSWER_S = 60.0
# So often in one run.
MOST_CYCLES = 3
# Waits until the other end of its input is gone. The second time is for a client that
# was about to acquire when we were killed.
GUARD = 'while read -r _; do :; done; "$@"; sleep 5; exec "$@"'
# What the client says of a place that somebody has, and of one that is kept for somebody.
RESERVED = "not reserved for"
TAKEN = re.compile(f"already acquired|{RESERVED}")
CONFIG = """\
targets:
  main:
    resources:
      RemotePlace:
        name: {place}
"""
# In a process of its own: labgrid's library keeps threads.
WHERE = """\
import sys
from labgrid import Environment
service = Environment(sys.argv[1]).get_target("main").get_resource("NetworkService")
print(service.username, service.address, service.port or 22)
"""


class PlaceTarget(SshTarget):
    """A place of labgrid's; the coordinator is the one of labgrid's own LG_COORDINATOR."""

    def __init__(
        self,
        place,
        config,
        say=lambda text: None,
        modules=None,
        back_s=180.0,
        serial="",
        wait_s=0.0,
    ):
        """``wait_s`` is how long somebody else may still have the place."""
        super().__init__(Destination(f"place {place}", config), say, None, modules, back_s, serial)
        self.place, self.config, self.wait_s = place, config, wait_s
        self.guard, self.cycles, self.is_found = None, 0, False
        # Of our reservation, where we stand in line. labgrid forgets one in a minute whose owner
        # was killed.
        self.token = ""
        # No other run's, so that what is released is ours whatever else happens.
        user = f"{os.environ.get('LG_USERNAME') or getpass.getuser()}-{os.getpid()}"
        host = os.environ.get("LG_HOSTNAME") or socket.gethostname()
        self.owner = f"{host}/{user}"
        self.env = dict(os.environ, LG_USERNAME=user, LG_HOSTNAME=host)

    def __str__(self):
        return f"place {self.place}"

    def connect(self):
        """Acquire the place where it is not ours yet, and prepare its board."""
        if self.guard is None:
            self.acquire()
        if not self.is_found:
            self.destination = Destination(self.where(), self.config)
            self.is_found = True
        super().connect()

    def run(self, item, nodeid, board, timeout_s):
        """Run a test; where it does not pass, only if the place is still ours."""
        reports, printed = super().run(item, nodeid, board, timeout_s)
        if any(report.get("outcome") == "failed" for report in reports):
            self.refuse_what_is_not_ours()
        return reports, printed

    def found_again(self):
        """Look for a board that was lost, after its power was cycled."""
        self.refuse_what_is_not_ours()
        if self.cycles < MOST_CYCLES:
            self.cycles += 1
            self.say(f"{self}: cycling its power")
            if why := self.cycle():
                self.say(f"{self}: its power cannot be cycled: {why}")
        return super().found_again()

    def cycle(self):
        """Cycle the power of the board; gives why that is not possible."""
        done = self.client("power", "cycle")
        return last_line(done.stderr) if done.returncode else ""

    def close(self):
        """Put the board back as it was, and release the place."""
        try:
            super().close()
        finally:
            if self.guard is not None:
                self.client("release-from", self.owner)
                self.let_go()

    def let_go(self):
        """Have the guard release what is still ours, if anything is."""
        os.close(self.guard)
        self.guard, self.is_found = None, False

    # -- the place ---------------------------------------------------------------

    def client_words(self):
        """How labgrid's client is called; that of our Python where there are several."""
        mine = str(Path(sys.executable).with_name(CLIENT))
        return [mine if Path(mine).exists() else CLIENT, "-p", self.place]

    def client(self, *words, timeout_s=ANSWER_S):
        """Run labgrid's client on the place."""
        try:
            return subprocess.run(
                [*self.client_words(), *words],
                env=self.env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_s,
            )
        except FileNotFoundError:
            raise NotReady(
                "labgrid is not installed.", "Run `pip install '.[labgrid]'` on this host."
            ) from None
        except subprocess.TimeoutExpired:
            raise NotReady("labgrid's coordinator does not answer.") from None

    def acquire(self):
        """Take the place, once it is our turn; raises NotReady that says who has it."""
        deadline = time.monotonic() + self.wait_s
        self.guard = self.start_guard()
        try:
            while (done := self.client("acquire")).returncode:
                why = last_line(done.stderr)
                if RESERVED in done.stderr:
                    why = f"it is reserved for {self.reserved_for() or 'somebody else'}"
                left_s = deadline - time.monotonic()
                if not TAKEN.search(done.stderr) or left_s <= 0:
                    raise NotReady(
                        f"{self} cannot be had: {why}.",
                        "`labgrid-client who` and `labgrid-client reservations` say who has what; "
                        "LG_COORDINATOR names the coordinator.",
                    )
                self.say(f"{self}: waiting: {why}")
                self.wait_for_our_turn(left_s)
        except NotReady:
            self.let_go()
            raise
        finally:
            if self.token:
                self.client("cancel-reservation", self.token)
                self.token = ""

    def wait_for_our_turn(self, left_s):
        """Wait in labgrid's own line, so that nobody who came later is before us."""
        if not self.token:
            reserved = self.client("reserve", "--shell", f"name={self.place}").stdout
            self.token = reserved.strip().rpartition("=")[2]
        # What is over then is our time, and not the coordinator's.
        with contextlib.suppress(NotReady):
            if "state: allocated" not in self.client("wait", self.token, timeout_s=left_s).stdout:
                # It has expired: this host slept, or the coordinator was started anew.
                self.token = ""
                time.sleep(min(POLL_S, left_s))

    def reserved_for(self):
        """For whom the place is kept, as labgrid names people; empty if for nobody."""
        for text in self.client("reservations").stdout.split("Reservation ")[1:]:
            kept = re.search(r"allocations:\n +main: (.+)", text)
            if kept and self.place in kept[1].split(", "):
                return re.search(r"owner: (\S+)", text)[1]
        return ""

    def start_guard(self):
        """Start what releases the place once the descriptor that this gives is closed."""
        there, here = os.pipe()
        release = ["sh", "-c", GUARD, "guard", *self.client_words(), "release-from", self.owner]
        quiet = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
        actions = [(os.POSIX_SPAWN_DUP2, there, 0), quiet, (os.POSIX_SPAWN_DUP2, 1, 2)]
        os.posix_spawnp("sh", release, self.env, file_actions=actions, setsid=True)
        os.close(there)
        return here

    def owner_now(self):
        """Who has the place, as labgrid names people; empty if nobody has."""
        found = re.search(r"^ *acquired: (\S+)$", self.client("show").stdout, re.MULTILINE)
        return found[1] if found and found[1] != "None" else ""

    def refuse_what_is_not_ours(self):
        """Raise TargetLost where somebody has taken the place away from us."""
        if (owner := self.owner_now()) != self.owner:
            self.drop()
            self.let_go()
            raise TargetLost(
                f"{self} was taken away from this run: {owner or 'nobody'} has it now."
            )

    def where(self):
        """The board of the place as ssh names it."""
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            # Quoted as JSON does it: to YAML a place called off is none.
            file.write(CONFIG.format(place=json.dumps(self.place)))
            file.flush()
            done = subprocess.run(
                [sys.executable, "-c", WHERE, file.name],
                env=self.env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=ANSWER_S,
            )
        if done.returncode:
            raise NotReady(
                f"{self} has no NetworkService: {last_line(done.stderr)}.",
                "Its exporter needs one, with address and username.",
            )
        user, address, port = done.stdout.split()[-3:]
        return f"{user}@{address}:{port}"


class EnvTarget(PlaceTarget):
    """The board of an environment file of labgrid's, loaded by its pytest plugin (--lg-env).

    Who gives such a file has acquired what is in it.
    """

    def __init__(self, env, config, say=lambda text: None, modules=None, back_s=180.0, serial=""):
        super().__init__("of --lg-env", config, say, modules, back_s, serial)
        self.target = env.get_target("main") or env.get_target()

    def acquire(self):
        """It is ours already."""

    def refuse_what_is_not_ours(self):
        """Nobody is asked: the file may have no coordinator."""

    def where(self):
        """The board of the file as ssh names it."""
        from labgrid.exceptions import NoResourceFoundError

        try:
            service = self.target.get_resource("NetworkService")
        except NoResourceFoundError as error:
            raise NotReady(
                f"The file of --lg-env has no NetworkService: {error.msg}.",
                "It needs one with address and username, of its own or by a RemotePlace.",
            ) from None
        return f"{service.username}@{service.address}:{service.port or 22}"

    def cycle(self):
        """Cycle the power by the driver that the file names; gives why that is not possible."""
        from labgrid.exceptions import NoDriverFoundError

        try:
            self.target.get_driver("PowerProtocol").cycle()
        except NoDriverFoundError:
            return "the file names no driver for it"
        except Exception as error:  # noqa: BLE001 - each driver has its own
            return str(error)
        return ""
