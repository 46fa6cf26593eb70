# SPDX-License-Identifier: GPL-2.0-only
"""The life of the Debian package: Debian's dpkg runs its scripts, in a root of their own.

The kernel is played by files: a `pyctl` before the package's own makes what is loaded
appear below /sys/module. DKMS is played as well; with ``--full`` it is Debian's, and builds
for the board's kernel with the cross compiler. The same on a board: test_on_a_board.
"""

import os
import stat
import subprocess

import pytest

from pyctl import __version__
from pyctl.cache import Cache
from pyctl.vm.roots import Roots
from tests.vm.conftest import NAMES, OLD_VERSION, PATIENCE_S, deb_of_version

NEXT_VERSION = "99.0"
DKMS_VERSION = "3.2.2"
# A file that is another package's, so that a package that has it cannot be unpacked.
TAKEN = "etc/of-another"
STATUS = f"""\
Package: dkms
Status: install ok installed
Maintainer: nobody <nobody@example.org>
Architecture: all
Version: {DKMS_VERSION}
Description: what builds modules

"""
PROGRAMS = {
    "pyctl": """\
echo "$*" >>/asked
[ ! -e /in-use ] || exit 1
cd /sys/module
case "$1" in
unload) rm -rf memregion_test smccc_cache ;;
load)
	for name in memregion_test smccc_cache; do
		mkdir -p $name/parameters
		basename /var/lib/dkms/pyctl/[0-9]* >$name/version
	done
	case "$*" in *--raw*) echo Y ;; *) echo N ;; esac >memregion_test/parameters/raw_calls
	case "$*" in *none*) rm -r smccc_cache ;; esac ;;
esac
""",
    # dkms ACTION -m NAME -v VERSION ...
    "dkms": """\
case "$1" in
status) [ ! -d "/var/lib/dkms/$3/$5" ] || echo "$3/$5, 1.0, aarch64: installed" ;;
add) mkdir -p "/var/lib/dkms/$3/$5" ;;
remove) rmdir "/var/lib/dkms/$3/$5" ;;
esac
""",
    # dpkg insists on the first two; the others take long and are not ours.
    **dict.fromkeys(("diff", "ldconfig", "py3compile", "py3clean"), ""),
}


class Machine:
    """A root in which dpkg installs what it is given."""

    def __init__(self, top):
        self.top = top

    def run(self, *command):
        path = "PATH=/usr/local/bin:/usr/bin:/usr/sbin"
        return subprocess.run(
            ["chroot", self.top, "env", "-i", path, "DEBIAN_FRONTEND=noninteractive", *command],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    def good(self, *command):
        done = self.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def dpkg(self, deb):
        """Have a package installed; give the completed process."""
        (self.top / "srv" / deb.name).write_bytes(deb.read_bytes())
        return self.run("dpkg", "--force-depends", "-i", f"/srv/{deb.name}")

    def program(self, name, text):
        path = self.top / "usr/local/bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}")
        path.chmod(0o755)

    def asked(self):
        """What has been asked of pyctl since this was asked last."""
        path = self.top / "asked"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def state(self):
        """The package's version, what DKMS has, and the modules that are loaded, by version."""
        package = self.run("dpkg-query", "-W", "-f", "${Version} ${db:Status-Status}", "pyctl")
        dkms = self.good("dkms", "status", "-m", "pyctl", "-v", package.stdout.split(" ")[0])
        loaded = self.top.glob("sys/module/*/version")
        return (
            package.stdout,
            dkms.rpartition(": ")[2].strip(),
            {path.parent.name: path.read_text().strip() for path in loaded},
        )


def whole(version, *modules):
    """The state of a machine where a version is installed and, perhaps, loaded."""
    return (f"{version} installed", "installed", dict.fromkeys(modules, version))


BOTH = ("memregion_test", "smccc_cache")
# As bash does when somebody types "pyctl inv" and the tabulator key.
COMPLETE = """\
export PYTHONDONTWRITEBYTECODE=1
. /usr/share/bash-completion/completions/pyctl
COMP_WORDS=(pyctl inv) COMP_CWORD=1
_pyctl_completion /usr/bin/pyctl
echo "${COMPREPLY[@]}"
"""


def pytest_generate_tests(metafunc):
    if "dkms" in metafunc.fixturenames:
        kinds = ["played", "true"]
        metafunc.parametrize("dkms", kinds if metafunc.config.getoption("full") else kinds[:1])


@pytest.fixture
def machine():
    """A root that dpkg takes for a machine's, with DKMS on it."""
    with Roots(Cache()).build_root() as top:
        made = Machine(top)
        for name in ("sys/module", "run", "srv", "tmp", "dev", "usr/lib/dkms"):
            (top / name).mkdir(parents=True, exist_ok=True)
        (top / "dev/null").unlink(missing_ok=True)
        os.mknod(top / "dev/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        for name, text in PROGRAMS.items():
            made.program(name, text)
        made.program("../../lib/dkms/common.postinst", 'exec dkms add -m "$1" -v "$2"\n')
        record = top / "var/lib/dpkg"
        # It may be a link to another root's.
        (record / "status").unlink()
        (record / "status").write_text(STATUS)
        (record / "info/dkms.list").write_text(f"/etc\n/{TAKEN}\n")
        yield made


def take_true_dkms(machine, debs):
    """Put Debian's DKMS into a root, and headers to build with; give their kernel's release."""
    roots = Roots(Cache())
    kernel = roots.kernel(None)
    subprocess.run(["cp", "-al", f"{kernel.headers}/.", machine.top], check=True)
    [deb] = roots.apt.download(["dkms"], debs)
    subprocess.run(["dpkg-deb", "-x", deb, machine.top], check=True)
    for name in ("dkms", "py3compile", "py3clean"):
        (machine.top / "usr/local/bin" / name).unlink()
    release = kernel.release
    names = f'case "$1" in -m) echo aarch64 ;; -r) echo {release} ;; *) echo Linux ;; esac'
    machine.program("uname", names)
    return release


@pytest.fixture
def installed(machine, packages):
    """The same, with the package installed and its modules loaded."""
    done = machine.dpkg(packages.deb)
    assert done.returncode == 0, done.stdout + done.stderr
    machine.good("pyctl", "load", "--raw")
    assert machine.state() == whole(__version__, *BOTH)
    machine.asked()
    return machine


def test_the_package_is_installed_upgraded_and_removed(machine, packages, tmp_path, dkms):
    release = take_true_dkms(machine, tmp_path / "debs") if dkms == "true" else None
    traces = ("sh", "-c", f"find / -xdev {NAMES} -not -path '/srv/*' -not -path '/var/lib/dpkg/*'")
    before = machine.good(*traces)
    done = machine.dpkg(deb_of_version(packages, OLD_VERSION, tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.state() == whole(OLD_VERSION)
    assert machine.asked() == []
    assert machine.good("bash", "-ec", COMPLETE).split() == ["invalidate"]
    machine.good("pyctl", "load", "--raw", "--provider", "none")

    # The new ones are loaded as the old ones were, when DKMS has them.
    done = machine.dpkg(packages.deb)
    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.state() == whole(__version__, "memregion_test")
    assert machine.asked()[1:] == ["unload", "load --raw --provider none"]
    if release:
        built = machine.top / "lib/modules" / release / "updates/dkms"
        assert {path.stem for path in built.iterdir()} == set(BOTH)
        # A kernel comes for which they cannot be built, and is installed all the same.
        source = machine.top / f"usr/src/pyctl-{__version__}/module/memregion_test/main.c"
        source.write_text("#error\n")
        machine.good("dkms", "unbuild", f"pyctl/{__version__}", "--all")
        said = machine.good("/etc/kernel/postinst.d/dkms", release)
        assert "was skipped for module(s) pyctl" in said

    machine.good("dpkg", "--purge", "pyctl")
    assert machine.state()[1:] == ("", {})
    assert machine.good(*traces) == before
    assert list((machine.top / "run").iterdir()) == []


def test_an_older_version_is_refused_before_anything_is_undone(installed, packages, tmp_path):
    done = installed.dpkg(deb_of_version(packages, OLD_VERSION, tmp_path))
    assert done.returncode != 0
    assert f"{__version__} is installed, which is newer than {OLD_VERSION}" in done.stderr
    assert "apt remove pyctl" in done.stderr
    assert installed.state() == whole(__version__, *BOTH)
    assert installed.asked() == []


def test_an_upgrade_that_fails_half_way_leaves_all_as_it_was(installed, packages, tmp_path):
    """As a full disk would: by then the old version has left DKMS and the kernel."""
    done = installed.dpkg(deb_of_version(packages, NEXT_VERSION, tmp_path, [TAKEN]))
    assert done.returncode != 0
    assert TAKEN in done.stderr
    assert installed.asked() == ["unload", "load --raw"]
    assert installed.state() == whole(__version__, *BOTH)


def test_a_removal_that_fails_leaves_all_as_it_was(installed):
    installed.program("dkms", f'[ "$1" != remove ] || exit 1\n{PROGRAMS["dkms"]}')
    assert installed.run("dpkg", "--remove", "pyctl").returncode != 0
    assert installed.asked() == ["unload", "load --raw"]
    assert installed.state() == whole(__version__, *BOTH)


def test_modules_that_are_in_use_stay_and_that_is_said(installed, packages, tmp_path):
    (installed.top / "in-use").write_text("")
    done = installed.dpkg(deb_of_version(packages, NEXT_VERSION, tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the modules stay loaded" in done.stderr
    assert "the modules were not loaded again; 'pyctl doctor' says why" in done.stderr
    assert installed.state()[2] == dict.fromkeys(BOTH, __version__)
    assert list((installed.top / "run").iterdir()) == []
