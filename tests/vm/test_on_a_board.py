# SPDX-License-Identifier: GPL-2.0-only
"""What people do on a board of theirs, on one that knows nothing of us: with ``--full`` only.

The board has Debian's packages, a compiler and headers, and no network; its compiler is
emulated, so a build takes minutes. What the package holds, how its scripts decide and
that README's lines are commands is checked without it, in test_installed and test_readme.
"""

import json
import re
import shlex
import subprocess

import pytest

from pyctl import __version__
from pyctl.cache import Cache
from pyctl.vm.roots import Roots
from tests import readme
from tests.vm.conftest import NAMES, OLD_VERSION, PATIENCE_S, TOP, NetworkBoard, deb_of_version

# What a board that builds modules has, by itself or for want of the scripts of packages.
BUILDING = (
    *("apt", "base-files", "base-passwd", "bash", "ca-certificates", "coreutils", "dash"),
    "debianutils",
    *("diffutils", "dkms", "dpkg", "findutils", "grep", "gzip", "hostname"),
    *("init-system-helpers", "libc-bin", "libudev1", "login", "mawk", "mount", "perl-base"),
    *("python3-venv", "sed", "sudo", "tar", "util-linux", "xz-utils", "zstd"),
)
# In place of what libpam-runtime makes when it is configured, which other services' files,
# read with each, need as well.
PAM = "".join(f"{kind} required pam_permit.so\n" for kind in ("auth", "account", "session"))
# What ca-certificates makes when it is configured; pip reads it, with and without a network.
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
BUILD_S = 3600
TRACES = (
    f"find / -xdev {NAMES}"
    " -not -path \"$HOME/*\" -not -path '/srv/*' -not -path '/proc/*' -not -path '/var/lib/dpkg/*'"
    " -not -path '/var/log/*' -not -path '/var/cache/*'"
)


class Board(NetworkBoard):
    """One that builds."""

    def run(self, script, timeout=BUILD_S):
        return super().run(script, timeout)

    def copy(self, paths, into):
        self.good(f"mkdir -p {into}")
        command = ["scp", "-q", "-F", self.config, *paths, f"root@127.0.0.1:{into}"]
        subprocess.run(command, check=True, timeout=PATIENCE_S)

    def invalidates(self, pyctl):
        """Whether the main job is done by this pyctl."""
        answer = json.loads(self.good(f"{pyctl} invalidate --size 64K --json"))
        return answer["ok"] and answer["firmware"]["calls"] == 1


@pytest.fixture(scope="module")
def board(request):
    """A board with a compiler and headers, which runs for all tests of this file."""
    if not request.config.getoption("full"):
        pytest.skip("for another kind of target: with --full only")
    headers = f"linux-headers-{Roots(Cache()).kernel(None).release}"
    packages = [word for name in (*BUILDING, headers) for word in ("--package", name)]
    with Board("--memory", "3072", *packages, patience_s=BUILD_S) as made:
        made.good(f"printf %s {shlex.quote(PAM)} | tee /etc/pam.d/sudo >/etc/pam.d/other")
        made.good("ldconfig")
        made.good(
            f"mkdir -p $(dirname {CERTIFICATES}) &&"
            f" cat /usr/share/ca-certificates/mozilla/*.crt >{CERTIFICATES}"
        )
        yield made


def test_the_package_is_installed_upgraded_and_removed(board, packages, tmp_path):
    old_deb = deb_of_version(packages, OLD_VERSION, tmp_path)
    board.copy([packages.deb, old_deb], "/srv/debs")
    before = board.good(TRACES)
    apt = "DEBIAN_FRONTEND=noninteractive apt-get -qy --no-install-recommends"
    loaded = "cat /sys/module/memregion_test/version /sys/module/smccc_cache/version"
    raw = "cat /sys/module/memregion_test/parameters/raw_calls"

    board.good(f"{apt} install /srv/debs/{old_deb.name}")
    board.good("cd / && pyctl load --raw")
    assert board.good(loaded).split() == [OLD_VERSION] * 2

    board.good(f"{apt} install /srv/debs/{packages.deb.name}")
    # The modules are the new ones, loaded as the old ones were.
    assert board.good(loaded).split() == [__version__] * 2
    assert board.good(raw).split() == ["Y"]
    status = board.good("dkms status")
    assert re.fullmatch(rf"pyctl/{re.escape(__version__)}, \S+, aarch64: installed\n", status)
    assert board.invalidates("pyctl")
    assert 'SS "pyctl vm run' in board.good("zcat /usr/share/man/man1/pyctl.1.gz")
    complete = ". /usr/share/bash-completion/completions/pyctl; complete -p pyctl"
    assert "_pyctl_completion" in board.good(f"bash -ec '{complete}'")

    done = board.run(f"dpkg -i /srv/debs/{old_deb.name}")
    assert done.returncode != 0
    assert "which is newer" in done.stderr
    assert board.good(loaded).split() == [__version__] * 2

    # A kernel comes for which the modules cannot be built: its upgrade goes on.
    source = f"/usr/src/pyctl-{__version__}/module/memregion_test/main.c"
    board.good(
        f"pyctl unload && dkms uninstall pyctl/{__version__} && dkms unbuild"
        f" pyctl/{__version__} --all && echo '#error broken' >>{source}"
    )
    board.good("/etc/kernel/postinst.d/dkms $(uname -r)")
    done = board.run("pyctl doctor")
    assert done.returncode == 3
    assert "DKMS could not build it for this kernel" in done.stdout

    board.good(f"{apt} purge pyctl")
    assert board.good(TRACES) == before
    assert board.good("dkms status") == ""
    assert board.run("ls -d /sys/module/memregion_test /sys/module/smccc_cache").stdout == ""


def test_readme_is_walked_word_by_word(board, tmp_path):
    """Section "On a board", by somebody whose pip gets its packages from a directory."""
    libraries = ["hatchling", "click", "psutil", "pyudev"]
    fetch = ["pip", "-q", "download", "-d", tmp_path / "wheels", "--only-binary=:all:"]
    where = ["--platform=manylinux2014_aarch64", "--platform=manylinux_2_17_aarch64"]
    version = board.good("python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'")
    where.append(f"--python-version={version.strip()}")
    subprocess.run([TOP / ".venv/bin/python", "-m", *fetch, *where, *libraries], check=True)
    board.copy(list((tmp_path / "wheels").iterdir()), "/srv/wheels")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, check=True)
    pack = ["tar", "-cf", tmp_path / "clone.tar", "--null", "--files-from=-"]
    subprocess.run(pack, cwd=TOP, input=names.stdout, check=True)
    board.copy([tmp_path / "clone.tar"], "/srv/clone")
    board.good("cd /srv/clone && tar -xf clone.tar && rm clone.tar")

    [lines] = readme.blocks("On a board")
    said = {}
    for line in lines:
        pip = "export PIP_NO_INDEX=1 PIP_FIND_LINKS=/srv/wheels PIP_DISABLE_PIP_VERSION_CHECK=1"
        done = board.run(f"cd /srv/clone; {pip}; {line}")
        # At first a board lacks what the next lines make.
        wanted = 3 if line.endswith("pyctl doctor") else 0
        assert done.returncode == wanted, f"{line}:\n{done.stdout}\n{done.stderr}"
        said[line] = done.stdout
    assert re.search(r"completed +1 of 1 calls", said[lines[-1]])
    assert board.invalidates("/srv/clone/.venv/bin/pyctl")
    board.good("/srv/clone/.venv/bin/pyctl doctor")

    board.good("/srv/clone/.venv/bin/pyctl unload && rm -r /srv/clone ~/.cache/pyctl")
    assert "pyctl" not in board.good("ls -A ~ ~/.cache /srv /lib/modules/*/")
