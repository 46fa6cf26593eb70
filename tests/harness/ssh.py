# SPDX-License-Identifier: GPL-2.0-only
"""Runs target tests on a board that ssh reaches, in a copy of this project.

One execnet gateway and one pytest over there serve the whole run (``control`` and
``there``). The board is looked at first, so that what it lacks is said in a sentence;
the modules are built there or, where it has no compiler, here; what was changed is put
back at the end. A board that is lost is the test's error that lost it, and is reached
anew for the next.
"""

import io
import re
import shlex
import subprocess
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

import execnet
from execnet.gateway_bootstrap import HostNotFound

from pyctl.errors import NotReady, OperationFailed, PyctlError, TargetLost
from tests.harness import control
from tests.harness.reports import TargetGone, parsed
from tests.harness.virtual import planted

TOP = Path(__file__).resolve().parents[2]
NEEDED_PYTHON = (3, 11)
# The run before may take so long to put the board back after its connection has ended.
PUT_BACK_S = 60.0
# Beyond a test's own time: for killing it over there, and for the way there and back.
MARGIN_S = 45.0
# What is looked at, in a shell that any board has. Each line that is missing is an answer.
LOOK = """\
echo machine=$(uname -m)
echo release=$(uname -r)
echo uid=$(id -u)
echo clock=$(date +%s)
echo boot=$(cat /proc/sys/kernel/random/boot_id)
echo serial=$(cat /proc/device-tree/serial-number /sys/class/dmi/id/product_serial 2>/dev/null |
	tr -d '\\000' | head -n 1)
python3 -c 'import sys; print("python=%d.%d" % sys.version_info[:2])'
python3 -c 'import pytest; print("pytest=" + pytest.__version__)'
python3 -c 'import click, psutil, pyudev; print("libraries=1")'
true
"""
# What ssh says, and what that means; the first that is found.
SSH_TROUBLE = (
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "it answers with another host key than before"),
    ("Host key verification failed", "its host key is not known"),
    ("Permission denied", "it does not accept our key"),
    ("Connection refused", "nothing answers at its ssh port"),
    ("timed out", "it does not answer"),
    ("No route to host", "it does not answer"),
    ("Could not resolve", "its name is not known"),
)


@dataclass(frozen=True)
class Destination:
    """Where a board is: ``[USER@]HOST[:PORT]``, and a configuration file of ssh's if needed."""

    text: str
    config: Path | None = None

    def arguments(self):
        """What follows `ssh` on a command line."""
        match = re.fullmatch(r"(.+?)(?::(\d+))?", self.text)
        port = ["-p", match[2]] if match[2] else []
        config = ["-F", str(self.config)] if self.config else []
        # A board that died says nothing; one that firmware keeps for long is not dead yet.
        alive = ["-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=20"]
        return [*config, "-o", "BatchMode=yes", *alive, *port, match[1]]


class SshTarget:
    """A board that ssh reaches as root without asking anything."""

    def __init__(
        self, destination, say=lambda text: None, reset=None, modules=None, back_s=180.0, serial=""
    ):
        """``reset`` is a command that gives a lost board a fresh start.

        ``modules`` gives the modules' files for a kernel release, where the board cannot
        build them. A board that was lost or reset has ``back_s`` to answer again.
        ``serial`` is the number that it must have, for an address may lead to another one.
        """
        self.destination = destination
        self.say = say
        self.reset = reset
        self.modules = modules
        self.back_s = back_s
        self.serial = serial
        self.channel = None
        self.group = None
        self.was_lost = False
        self.boot = ""
        # Why the board cannot be had: it is not asked again for each test.
        self.refusal: PyctlError | None = None

    def __str__(self):
        return self.destination.text

    def run(self, _item, nodeid, _board, timeout_s):
        """Run a test; return its reports and what it printed."""
        self.have()
        how, lines, printed = self.ask(
            "test", nodeid, planted(), timeout_s, wait_s=timeout_s + MARGIN_S
        )
        if how == "stuck":
            raise self.lost(
                f"the test did not end within {timeout_s:g} s, and could not be killed",
                "A call keeps one of its CPUs; the board needs a reset.",
            )
        if how == "late":
            raise TargetLost(f"{self} gave no result within {timeout_s:g} s; the test was killed.")
        if how == "died":
            self.leave()
        return parsed(lines), printed

    def command(self, words, timeout_s):
        """Run pyctl there with these words; gives its exit status and what it wrote."""
        self.have()
        # One that does not end is given up on here, and ends over there with the connection.
        return self.ask("command", words, wait_s=timeout_s)

    # -- to have the board ---------------------------------------------------

    def have(self):
        """Have the board ready for the next request, or raise why it cannot be had."""
        if self.refusal is not None:
            raise self.refusal
        if self.channel is None:
            try:
                self.connect()
            except PyctlError as error:
                self.refusal = error
                self.close()
                raise

    def connect(self):
        """Look at the board, send the project, load the modules, and collect the tests."""
        found = self.found_again() if self.was_lost else self.look()
        self.refuse_what_cannot_be(found)
        self.say_of_clock(found)
        self.say(f"{self}: preparing {found['release']}")
        self.group = execnet.Group()
        spec = execnet.XSpec("ssh=x//python=python3//execmodel=main_thread_only")
        spec.ssh = " ".join(self.destination.arguments())
        try:
            gateway = self.group.makegateway(spec)
            self.channel = gateway.remote_exec(control)
        except (OSError, EOFError, HostNotFound) as error:
            raise self.lost(f"{error}, while it was prepared") from None
        self.prepare(found["release"])
        self.was_lost, self.boot = False, found.get("boot", "")

    def prepare(self, release):
        if not self.ask("claim", PUT_BACK_S, wait_s=PUT_BACK_S + MARGIN_S):
            raise NotReady(
                f"{self} is in use: another run tests it, or has not put it back yet.",
                "Wait for that run's end.",
            )
        if why := self.ask("install", archive(), wait_s=300):
            raise self.no_room("the project", why)
        if why := self.ask("build", wait_s=900):
            self.send_modules(release, why)
        if why := self.ask("load", wait_s=300):
            raise NotReady(f"{self} does not load the modules: {last_line(why)}")
        if why := self.ask("collect", wait_s=400):
            raise OperationFailed(f"{self} could not collect the tests:\n{why}")

    def no_room(self, what, why):
        return NotReady(
            f"{self} does not take {what}: {last_line(why)}.",
            "Is its disk full? The project goes to a temporary directory, some 5 MB.",
        )

    def send_modules(self, release, why):
        """Build the modules here, for a board that cannot."""
        try:
            files = self.modules(release) if self.modules else []
        except PyctlError as error:
            raise NotReady(
                f"{self} cannot build the modules ({last_line(why)}), and neither can this "
                f"host: {error.message}",
                f"Install there the headers of {release}, make, and the compiler of its kernel.",
            ) from None
        for path in files:
            if why := self.ask("take", path.name, path.read_bytes(), wait_s=300):
                raise self.no_room("the modules", why)

    def look(self):
        """What the board says of itself; raises NotReady or TargetLost where it says nothing."""
        arguments = self.destination.arguments()
        try:
            done = subprocess.run(
                ["ssh", *arguments, "sh", "-s"],
                input=LOOK,
                capture_output=True,
                text=True,
                timeout=120,
            )
        except FileNotFoundError:
            raise NotReady(
                "There is no ssh on this host.", "Install it: `apt install openssh-client`."
            ) from None
        except subprocess.TimeoutExpired:
            raise NotReady(f"{self} does not answer.", "Is it on, and is its network?") from None
        if done.returncode == 255:
            raise NotReady(
                f"{self} cannot be reached: {trouble(done.stderr)}.",
                f"`{shlex.join(['ssh', *arguments, 'true'])}` must work without asking anything.",
            )
        return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)

    def found_again(self):
        """The same for a board that was lost: reset if that is possible, and given time."""
        if self.reset:
            self.say(f"{self}: resetting")
            self.do_reset()
        deadline = time.monotonic() + self.back_s
        while True:
            try:
                found = self.look()
            except NotReady as error:
                if time.monotonic() > deadline:
                    raise TargetGone(
                        f"{self} did not come back within {self.back_s:g} s. {error.message}",
                        error.hint,
                    ) from None
                time.sleep(2)
            else:
                how = "has not rebooted" if found.get("boot") == self.boot else "has rebooted"
                self.say(f"{self}: is back, and {how}")
                return found

    def do_reset(self):
        try:
            done = subprocess.run(self.reset, shell=True, check=False, timeout=self.back_s)
        except subprocess.TimeoutExpired:
            why = f"did not end within {self.back_s:g} s"
        else:
            if done.returncode == 0:
                return
            why = f"ended with {done.returncode}"
        raise TargetGone(f"{self} was lost and could not be reset: `{self.reset}` {why}.")

    def refuse_what_cannot_be(self, found):
        """Raise NotReady with the first thing that the board lacks."""
        if self.serial and found.get("serial") != self.serial:
            raise NotReady(
                f"{self} is another board: its serial number is "
                f"{found.get('serial') or 'unknown'}, and not {self.serial}.",
                "Has it been exchanged, or has its address gone to another one?",
            )
        if found.get("uid") != "0":
            raise NotReady(
                f"{self} lets us in, but not as root.", "Name root: --target ssh:root@HOST."
            )
        if found.get("machine") != "aarch64":
            raise NotReady(f"{self} is no arm64 machine, but {found.get('machine')}.")
        wanted = ".".join(map(str, NEEDED_PYTHON))
        if "python" not in found:
            raise NotReady(
                f"{self} has no python3.", f"Install Python {wanted} or newer there, with pytest."
            )
        if tuple(map(int, found["python"].split("."))) < NEEDED_PYTHON:
            raise NotReady(
                f"{self} has Python {found['python']}, and {wanted} is needed.",
                "Debian 12 and newer have it.",
            )
        for what, packages in (
            ("libraries", "python3-click python3-psutil python3-pyudev"),
            ("pytest", "python3-pytest"),
        ):
            if what not in found:
                names = "pytest" if what == "pytest" else "click, psutil or pyudev"
                raise NotReady(f"{self} has no {names}.", f"There: `apt install {packages}`.")

    def say_of_clock(self, found):
        """Say it where the board has another day than we have; results bear our time."""
        off_days = abs(int(found.get("clock") or time.time()) - time.time()) / 86400
        if off_days >= 1:
            self.say(
                f"{self}: its clock is wrong by {off_days:.0f} days; the times in its kernel log "
                "and in what it writes itself are, too. Results have this host's time."
            )

    # -- talking to it ---------------------------------------------------------

    def ask(self, *request, wait_s):
        """Have one request answered; TargetLost where the connection breaks or nothing comes."""
        try:
            self.channel.send(request)
            return self.channel.receive(wait_s)
        except self.channel.TimeoutError:
            why = f"no answer within {wait_s:g} s"
        except (EOFError, OSError):
            why = "the connection broke"
        except self.channel.RemoteError as error:
            why = last_line(str(error))
        except KeyboardInterrupt:
            # The answer, which may still come, would be taken for that of the next request.
            self.say(f"{self}: what is at work there ends, and the board is put back")
            self.drop()
            raise
        raise self.lost(why)

    def lost(self, why, hint=""):
        """What is raised for a board that is lost; the next test will look for it anew."""
        self.was_lost = True
        self.drop()
        return TargetLost(f"{self} was lost: {why}.", hint)

    def drop(self):
        """Let go of the board, which ends whatever is at work there."""
        self.channel = None
        if self.group is not None:
            self.group.terminate(timeout=5)
            self.group = None

    def close(self):
        """End with the board for good."""
        self.leave()

    def leave(self):
        """Put the board back as it was."""
        if self.channel is None:
            return self.drop()
        try:
            left = self.ask("close", wait_s=120)
        except TargetLost as error:
            self.say(f"{self} was not put back: {error.message}")
            return None
        for what in left:
            self.say(f"{self}: {what}")
        return self.drop()


def archive():
    """What the board needs of the project."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as tar:
        for name in ("Kbuild", "module", "pyctl", "tests", "pyproject.toml"):
            tar.add(TOP / name, arcname=name, filter=_sources)
    return buffer.getvalue()


def _sources(info):
    return None if "__pycache__" in info.name else info


def trouble(said):
    """What ssh's words mean, or their last line."""
    return next((meaning for words, meaning in SSH_TROUBLE if words in said), last_line(said))


def last_line(text):
    """The last line that says something, without its period."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "it did not say why"
