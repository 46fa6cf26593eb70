# SPDX-License-Identifier: GPL-2.0-only
"""Debian packages for the virtual board: where they come from and which ones.

The mirror and the keyring are those of the host's own apt configuration; only
the suite differs (the board runs Debian 13 whatever the host runs). Package
lists live in a private apt state inside the cache, so nothing on the host
changes, and apt checks every signature.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from pyctl.cache import Cache, digest
from pyctl.errors import NotReady
from pyctl.vm.process import need_tool, run

SUITE = "trixie"
SUITES = (SUITE, f"{SUITE}-updates", f"{SUITE}-backports")
OLD_SUITES = ("bookworm",)
"""Where the kernels are that have left the board's suites."""
BOARD_ARCH = "arm64"
_APT_CONFIG_DIR = Path("/etc/apt")
_DEFAULT_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_NETWORK_HINT = "Check the network and the host's own 'apt-get update', then run the command again."


@dataclass(frozen=True)
class Mirror:
    """A Debian mirror of the host and the keyring that the host trusts for it."""

    uri: str
    keyring: str | None

    def sources(self, suites: Sequence[str] = SUITES) -> str:
        """A one-line-style sources list for these suites."""
        signed = f"[signed-by={self.keyring}] " if self.keyring else ""
        return "".join(f"deb {signed}{self.uri} {suite} main\n" for suite in suites)


@functools.cache
def host_arch() -> str:
    """The host's Debian architecture (amd64, arm64, ...)."""
    return run(["dpkg", "--print-architecture"], what="ask for the host's architecture").strip()


def host_mirror() -> Mirror:
    """The Debian mirror that the host's apt uses.

    Raises NotReady when apt is not configured for a Debian archive.
    """
    need_tool("apt-get", "apt")
    columns = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(RELEASE)|$(REPO_URI)"
    command = ["apt-get", "indextargets", "--format", columns, "Created-By: Packages"]
    what = "read the host's apt configuration"
    # Before the first 'apt-get update' apt lists a target only when asked this way.
    text = run(command, what=what) or run([*command, "--no-release-info"], what=what)
    uris = []
    for line in text.splitlines():
        origin, label, component, release, uri = line.split("|", 4)
        known = (origin, label) == ("Debian", "Debian")
        unknown = origin.startswith("$(")
        if component == "main" and (known or (unknown and "security" not in release)):
            uris.append((not known, uri))
    if not uris:
        raise NotReady(
            "The host's apt is not configured for a Debian archive.",
            "Add a Debian mirror under /etc/apt and run 'apt-get update'.",
        )
    uri = min(uris)[1]
    return Mirror(uri, _signed_by(uri))


def _signed_by(uri: str) -> str | None:
    """The keyring file that the host's sources name for a mirror."""
    files = [_APT_CONFIG_DIR / "sources.list", *_APT_CONFIG_DIR.glob("sources.list.d/*")]
    for path in files:
        try:
            text = path.read_text()
        except OSError:
            continue
        blocks = text.split("\n\n") if path.suffix == ".sources" else text.splitlines()
        for block in blocks:
            match = re.search(r"signed-by\s*[:=]\s*(/[^\s\],]+)", block, re.IGNORECASE)
            if uri.rstrip("/") in block and match and Path(match[1]).exists():
                return match[1]
    return str(_DEFAULT_KEYRING) if _DEFAULT_KEYRING.exists() else None


class Apt:
    """A private apt state for some suites; only the board's own can be a root's."""

    def __init__(self, cache: Cache, mirror: Mirror, suites: Sequence[str] = SUITES) -> None:
        self.cache = cache
        self.mirror = mirror
        self.suites = suites
        self.host_arch = host_arch()
        self.top = cache.root / "apt" / digest(mirror.uri, mirror.keyring, suites)
        self._updated = False

    def _options(self) -> list[str]:
        archs = dict.fromkeys((BOARD_ARCH, self.host_arch))
        return [
            "-oDir::Etc::SourceList=" + str(self.top / "sources.list"),
            "-oDir::Etc::SourceParts=/dev/null",
            "-oDir::State=" + str(self.top),
            "-oDir::State::status=/dev/null",
            "-oDir::Cache=" + str(self.top / "cache"),
            "-oAPT::Architecture=" + BOARD_ARCH,
            *(f"-oAPT::Architectures::={arch}" for arch in archs),
            # The private state is root's; the sandbox user could not write there.
            "-oAPT::Sandbox::User=root",
            "-oAcquire::Retries=3",
        ]

    def update(self) -> None:
        """Fetch the package lists, once per process."""
        if self._updated:
            return
        for sub in ("lists/partial", "cache/archives/partial"):
            (self.top / sub).mkdir(parents=True, exist_ok=True)
        (self.top / "sources.list").write_text(self.mirror.sources(self.suites))
        with self.cache.lock("apt"):
            self.cache.say("fetching Debian package lists ...")
            # 'update' succeeds with a warning when a mirror cannot be reached.
            run(
                ["apt-get", *self._options(), "-oAPT::Update::Error-Mode=any", "update"],
                what="fetch the Debian package lists",
                hint=_NETWORK_HINT,
                env=_c_locale(),
                timeout_s=300,
            )
        self._updated = True

    def names(self, pattern: str) -> list[str]:
        """The names of packages that match a regular expression."""
        self.update()
        text = run(
            ["apt-cache", *self._options(), "search", "--names-only", pattern],
            what="list packages",
            env=_c_locale(),
        )
        return [line.split(" ", 1)[0] for line in text.splitlines()]

    def download(self, packages: Sequence[str], into: Path) -> list[Path]:
        """Fetch packages (``name``, ``name:arch``, ``name=version``), signatures checked."""
        self.update()
        into.mkdir(parents=True, exist_ok=True)
        run(
            ["apt-get", *self._options(), "download", *packages],
            what="download " + " ".join(packages),
            hint=_NETWORK_HINT,
            cwd=into,
            env=_c_locale(),
        )
        return sorted(into.glob("*.deb"))

    def bootstrap(self, top: Path, archs: Sequence[str], packages: Sequence[str]) -> dict[str, str]:
        """Unpack packages and all that they need into a new root.

        Nothing of the root is run: the packages are only extracted. Returns
        the version of every package.
        """
        tool = need_tool("mmdebstrap", "mmdebstrap")
        run(
            [
                tool,
                "--quiet",
                "--mode=root",
                "--variant=extract",
                "--format=directory",
                "--skip=check/qemu,cleanup/apt/cache",
                "--architectures=" + ",".join(archs),
                "--include=" + ",".join(packages),
                "--aptopt=Acquire::Retries 3",
                SUITE,
                top,
                "-",
            ],
            what="unpack Debian packages with mmdebstrap",
            hint=_NETWORK_HINT,
            stdin=self.mirror.sources(),
            env=_c_locale(),
        )
        return _take_archives(top)


def _take_archives(top: Path) -> dict[str, str]:
    """Delete the packages that were unpacked into a root; return name -> version.

    The extract variant leaves dpkg's own record empty, so the file names tell.
    """
    versions = {}
    for deb in sorted((top / "var/cache/apt/archives").glob("*.deb")):
        name, version, arch = deb.stem.split("_")
        versions[f"{name}:{arch}"] = unquote(version)
        deb.unlink()
    return versions


def merge_usr(top: Path, links: bool = True) -> None:
    """Give an extracted root the merged-/usr links that a package script would make."""
    for name in ("bin", "sbin", "lib", "lib64"):
        path, target = top / name, top / "usr" / name
        if path.is_symlink():
            continue
        if path.is_dir():
            run(["cp", "-a", f"{path}/.", f"{target}/"], what=f"merge {name} into usr")
            shutil.rmtree(path)
        if links:
            target.mkdir(parents=True, exist_ok=True)
            path.symlink_to(f"usr/{name}")


def _c_locale() -> dict[str, str]:
    return dict(os.environ) | {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
