# SPDX-License-Identifier: GPL-2.0-only
"""Bad days of what is installed: by whom, in which version, where, and what DKMS made of it."""

from __future__ import annotations

import gzip
import lzma
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pyctl import __version__
from pyctl.cache import Cache
from pyctl.errors import NotReady
from pyctl.places import cache_root
from pyctl.target import kmod
from pyctl.target.build import module_cache
from pyctl.target.kmod import load
from pyctl.target.modinfo import find_file, module_bytes, require_file
from tests.unit.fake_machine import RELEASE, TEST_SRCVERSION, Kernel, Machine
from tests.unit.fake_machine import module_bytes as fake_module

DKMS = f"/lib/modules/{RELEASE}/updates/dkms"
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".xz": lzma.compress,
    ".gz": gzip.compress,
}


@pytest.fixture
def bare(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine where nobody has named a directory of modules, and none is loaded."""
    monkeypatch.delenv("PYCTL_MODULES")
    monkeypatch.delenv("SUDO_UID", raising=False)
    machine.unload_provider()
    machine.unload_test_module()
    return machine


# -- what DKMS has built ---------------------------------------------------------


@pytest.mark.parametrize("suffix", PACKED)
def test_what_dkms_has_installed_is_found(bare: Machine, suffix: str) -> None:
    data = fake_module(TEST_SRCVERSION)
    bare.write_bytes(f"{DKMS}/memregion_test.ko{suffix}", PACKED[suffix](data))
    found = require_file(bare.system, "memregion_test")
    assert (found.name, found.srcversion) == ("memregion_test", TEST_SRCVERSION)
    assert module_bytes(found.path) == data


def test_what_pyctl_has_built_comes_before_what_dkms_has(bare: Machine) -> None:
    bare.write_bytes(f"{DKMS}/memregion_test.ko", fake_module("DKMS"))
    built = module_cache(RELEASE) / "memregion_test.ko"
    built.parent.mkdir(parents=True)
    built.write_bytes(fake_module("OURS"))
    assert require_file(bare.system, "memregion_test").srcversion == "OURS"


@pytest.mark.parametrize("suffix", [".xz", ".gz"])
def test_a_damaged_packed_module_is_not_ready(bare: Machine, suffix: str) -> None:
    data = PACKED[suffix](fake_module(TEST_SRCVERSION))
    for damaged in (data[: len(data) // 2], b"no archive"):
        bare.write_bytes(f"{DKMS}/memregion_test.ko{suffix}", damaged)
        with pytest.raises(NotReady, match="cannot be unpacked"):
            find_file(bare.system, "memregion_test")


def test_zstd_is_asked_of_the_tool(bare: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    bare.write_bytes(f"{DKMS}/memregion_test.ko.zst", b"no archive")
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(NotReady, match="compressed with zstd") as caught:
        find_file(bare.system, "memregion_test")
    assert "apt install zstd" in caught.value.hint


def test_a_packed_module_is_handed_over_unpacked(
    bare: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(kmod, "_system_call", lambda *words: asked.append(words))
    data = fake_module(TEST_SRCVERSION)
    bare.write_bytes(f"{DKMS}/memregion_test.ko.xz", lzma.compress(data))
    kmod.insert(bare.system.path(f"{DKMS}/memregion_test.ko.xz"), "raw_calls=1")
    # init_module(2): include/uapi/asm-generic/unistd.h.
    assert asked == [(105, data, len(data), b"raw_calls=1")]


def test_doctor_says_that_dkms_could_not_build(bare: Machine, pyctl) -> None:
    log = "/var/lib/dkms/pyctl/0.1.0/build/make.log"
    bare.write(log, f"DKMS (dkms-3.2.2) make.log for pyctl/0.1.0 for kernel {RELEASE} (aarch64)\n")
    ended = pyctl("doctor")
    assert ended.status == 3
    said = ended.out + ended.err
    assert f"DKMS could not build it for this kernel: {bare.system.path(log)}" in said
    bare.write(log, "DKMS (dkms-3.2.2) make.log for pyctl/0.1.0 for kernel 1.2.3 (aarch64)\n")
    ended = pyctl("doctor")
    assert "DKMS" not in ended.out


# -- another version ---------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.0.1", "99.0"])
def test_modules_of_another_version_are_refused(
    kernel: Kernel, bare: Machine, version: str, pyctl
) -> None:
    data = fake_module(TEST_SRCVERSION).replace(
        f"version={__version__}\0".encode(), f"version={version}\0".encode(), 1
    )
    bare.write_bytes(f"{DKMS}/memregion_test.ko", data)
    with pytest.raises(NotReady, match=f"is of pyctl {version}, and this is pyctl {__version__}"):
        load(bare.system)
    assert kernel.commands == []
    assert f"is of pyctl {version}" in pyctl("doctor").out


# -- by whom, and where ------------------------------------------------------------


def test_under_sudo_what_the_user_has_built_is_found(
    bare: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = tmp_path / "home/somebody"
    built = module_cache(RELEASE, user / ".cache/pyctl") / "memregion_test.ko"
    built.parent.mkdir(parents=True)
    built.write_bytes(fake_module("USERS"))
    entry = pwd.struct_passwd(("somebody", "*", 1234, 1234, "", str(user), "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", {1234: entry}.__getitem__)
    assert find_file(bare.system, "memregion_test") is None
    monkeypatch.setenv("SUDO_UID", "1234")
    assert require_file(bare.system, "memregion_test").srcversion == "USERS"
    for odd in ("77", "x", ""):
        monkeypatch.setenv("SUDO_UID", odd)
        assert find_file(bare.system, "memregion_test") is None


def test_a_home_that_does_not_exist_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYCTL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "gone"))
    with (
        pytest.raises(NotReady, match="gone does not exist, so there is no place") as caught,
        Cache().lock("any"),
    ):
        pass
    assert "PYCTL_CACHE" in caught.value.hint
    assert not (tmp_path / "gone").exists()
    # A place that was named may still be made.
    monkeypatch.setenv("PYCTL_CACHE", str(tmp_path / "new/cache"))
    with Cache().lock("any"):
        assert (tmp_path / "new/cache").exists()


def test_a_user_whom_nobody_knows_has_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYCTL_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    assert cache_root() == Path("/nonexistent/.cache/pyctl")


# -- compilers and headers -----------------------------------------------------------


def headers(machine: Machine, recipe: str, release: str = RELEASE) -> None:
    top = f"/lib/modules/{RELEASE}/build"
    machine.write(f"{top}/include/config/kernel.release", release + "\n")
    machine.write(f"{top}/Makefile", f"modules:\n\t@{recipe}\n")


def test_headers_of_another_kernel_are_3(machine: Machine, pyctl) -> None:
    headers(machine, "true", "1.2.3-other")
    ended = pyctl("build", "--json")
    assert ended.status == 3
    assert f"those of 1.2.3-other, but {RELEASE} is running" in ended.json["error"]
    assert "--kdir" in ended.err


def test_a_laptop_is_told_that_the_modules_are_for_arm64(machine: Machine, pyctl) -> None:
    """And not to install the headers of its own kernel."""
    machine.become(machine="x86_64")
    ended = pyctl("build", "--json")
    assert ended.status == 3
    assert "for arm64 machines; this one is x86_64" in ended.json["error"]
    assert "pyctl vm run" in ended.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "gcc: error: unrecognized command-line option '-fmin-function-alignment=4'",
            "not the one that built the kernel",
        ),
        ("clang: error: unknown argument: '-x'", "not the one that built the kernel"),
        ("/bin/sh: 1: gcc-14: not found", "compiler for the modules is missing"),
        ("a.c:1: fatal error: write: No space left on device", "is full"),
    ],
)
def test_what_keeps_make_from_building_is_a_sentence(
    machine: Machine, pyctl, line: str, words: str
) -> None:
    headers(machine, f'echo "{line}"; false')
    ended = pyctl("build", "--json")
    assert ended.status == 3
    assert words in ended.json["error"]
    assert ended.json["modules"] == []
    assert list(cache_root().glob("modules/*")) == []
