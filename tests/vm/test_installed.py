# SPDX-License-Identifier: GPL-2.0-only
"""What is installed works away from the checkout: the wheel, and what the Debian package holds."""

import gzip
import json
import os
import stat
import subprocess
import sys
import zipfile

import pytest

from pyctl import __version__
from pyctl.cache import Cache
from pyctl.cli.main import COMMANDS
from pyctl.vm.roots import COMPILER, Roots
from tests.vm.conftest import PATIENCE_S

NOBODY = 65534


@pytest.fixture
def unpacked(packages, tmp_path):
    """The wheel's files, in a directory of their own, as pip would put them."""
    with zipfile.ZipFile(packages.wheel) as wheel:
        wheel.extractall(tmp_path / "installed")
    return tmp_path / "installed"


@pytest.fixture
def package(packages, tmp_path):
    """The Debian package, unpacked, with its scripts in DEBIAN/."""
    subprocess.run(["dpkg-deb", "-R", packages.deb, tmp_path / "package"], check=True)
    return tmp_path / "package"


def test_the_wheel_boots_a_board_from_anywhere(unpacked):
    def run(*words):
        return subprocess.run(
            [sys.executable, "-P", *words],
            env=dict(os.environ) | {"PYTHONPATH": str(unpacked)},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    where = run("-c", "import pyctl; print(pyctl.__file__)")
    assert where.stdout.strip() == str(unpacked / "pyctl/__init__.py")
    command = ["pyctl", "invalidate", "--size", "64K", "--json"]
    done = run("-m", "pyctl", "vm", "run", "--", *command)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["ok"], answer["size"], answer["firmware"]["calls"]) == (True, 65536, 1)


def test_the_wheel_builds_modules_where_it_may_write_nothing(packages):
    """By a user who is nobody, whose current directory and installation are root's."""
    roots = Roots(Cache())
    kernel = roots.kernel(None)
    with roots.build_root(kernel) as top:
        with zipfile.ZipFile(packages.wheel) as wheel:
            wheel.extractall(top / "opt/installed")
        (top / "tmp").mkdir(exist_ok=True)
        (top / "tmp").chmod(0o1777)
        (top / "dev/null").unlink(missing_ok=True)
        (top / "dev").mkdir(exist_ok=True)
        os.mknod(top / "dev/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        (top / "dev/null").chmod(0o666)
        command = [
            *("chroot", f"--userspec={NOBODY}:{NOBODY}", str(top), "/usr/bin/env", "-i"),
            *("PATH=/usr/bin", "HOME=/nonexistent", "XDG_CACHE_HOME=/tmp/cache"),
            *("PYTHONPATH=/opt/installed", "python3", "-m", "pyctl", "build", "--json"),
            *(
                "--kdir",
                str(kernel.kdir),
                "--make-arg",
                "ARCH=arm64",
                "--make-arg",
                f"CC={COMPILER}",
            ),
            *("--make-arg", "CROSS_COMPILE=aarch64-linux-gnu-"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert answer["kernel"] == kernel.release
        modules = {entry["name"]: top / entry["path"].lstrip("/") for entry in answer["modules"]}
        assert modules.keys() == {"memregion_test", "smccc_cache"}
        for path in modules.values():
            assert f"vermagic={kernel.release} ".encode() in path.read_bytes()
            assert path.is_relative_to(top / "tmp/cache/pyctl")
        written = [path for path in (top / "opt").rglob("*") if path.stat().st_uid == NOBODY]
        assert written == []


def test_the_package_holds_what_the_wheel_holds(package, unpacked):
    python = package / "usr/lib/python3/dist-packages"
    for path in (unpacked / "pyctl").rglob("*"):
        name = path.relative_to(unpacked)
        if path.is_file() and name.parts[:2] != ("pyctl", "source"):
            assert (python / name).read_bytes() == path.read_bytes()
    source = package / f"usr/src/pyctl-{__version__}"
    assert os.path.normpath(python / "pyctl" / os.readlink(python / "pyctl/source")) == str(source)
    for path in (unpacked / "pyctl/source").rglob("*"):
        if path.is_file():
            name = path.relative_to(unpacked / "pyctl/source")
            assert (source / name).read_bytes() == path.read_bytes()


def test_the_man_page_has_every_command(package):
    page = gzip.decompress((package / "usr/share/man/man1/pyctl.1.gz").read_bytes()).decode()
    for name in (*COMMANDS, "vm run", "conformance diff", "fault set"):
        assert f'.SS "pyctl {name}' in page
    assert "\\-\\-size" in page
    assert "\b" not in page
    for place in ("bash-completion/completions/pyctl", "zsh/vendor-completions/_pyctl"):
        assert "_PYCTL_COMPLETE" in (package / "usr/share" / place).read_text()


@pytest.mark.parametrize(
    ("config", "modules"),
    [
        ("CONFIG_GENERIC_CPU_CACHE_MAINTENANCE=y\n", "memregion_test smccc_cache"),
        ("# CONFIG_GENERIC_CPU_CACHE_MAINTENANCE is not set\n", "memregion_test"),
    ],
)
@pytest.mark.parametrize(("dkms", "auto"), [("3.2.2-1~deb13u1", "yes"), ("3.0.10-8+deb12u1", "")])
def test_dkms_builds_what_the_kernel_has_a_place_for(
    package, tmp_path, config, modules, dkms, auto
):
    """And only DKMS that can be told that a build failed builds for later kernels."""
    (tmp_path / ".config").write_text(config)
    (tmp_path / "dpkg-query").write_text(f"#!/bin/sh\necho {dkms}\n")
    (tmp_path / "dpkg-query").chmod(0o755)
    script = (
        f"kernel_source_dir={tmp_path}; . {package}/usr/src/pyctl-{__version__}/dkms.conf;"
        ' echo "${BUILT_MODULE_NAME[@]}"; echo "$PACKAGE_VERSION $AUTOINSTALL"'
    )
    env = dict(os.environ) | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-ec", script], env=env, capture_output=True, text=True)
    assert done.stdout.splitlines() == [modules, f"{__version__} {auto}"]


@pytest.fixture
def dkms_build(package, tmp_path):
    """Run what DKMS runs in order to build, with a recipe that takes the place of Kbuild's."""

    def run(recipe, prepare="true"):
        (tmp_path / "Makefile").write_text(f"modules:\n\t@echo building $(M); {recipe}\n")
        (tmp_path / "installed").mkdir()
        script = package / f"usr/src/pyctl-{__version__}/dkms-build"
        command = f"{prepare} && exec {script} {tmp_path} {tmp_path}/installed"
        return subprocess.run(
            ["unshare", "-m", "sh", "-c", command], cwd=tmp_path, capture_output=True, text=True
        )

    return run


@pytest.mark.parametrize(("recipe", "status"), [("true", 0), ("false", 77)])
def test_a_build_that_fails_is_a_kernel_that_dkms_passes_over(dkms_build, tmp_path, recipe, status):
    """77 is what DKMS takes for "does not concern this kernel", so that its upgrade goes on."""
    done = dkms_build(recipe)
    assert done.returncode == status
    assert f"building {tmp_path}" in done.stdout
    assert ("pyctl doctor" in done.stderr) == bool(status)


def test_a_kernel_whose_modules_cannot_be_written_is_passed_over_by_dkms(dkms_build, tmp_path):
    """DKMS would fail after the build, and apt with it, then and ever after."""
    place = tmp_path / "installed"
    done = dkms_build("true", f"mount --bind {place} {place} && mount -o remount,bind,ro {place}")
    assert done.returncode == 77
    assert done.stdout == ""
    assert f"{place} cannot be written; 'pyctl build' keeps the modules" in done.stderr
