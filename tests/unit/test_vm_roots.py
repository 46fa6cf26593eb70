# SPDX-License-Identifier: GPL-2.0-only
"""How kernels are named, and where the host's mirror is taken from."""

import re
from typing import Any

import pytest

from pyctl.errors import NotReady, UsageError
from pyctl.vm import debian
from pyctl.vm.kernel import check_image, fetch_kernel, matches_version, parse_kernel_spec
from pyctl.vm.roots import Roots


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (None, ("", "cloud-arm64")),
        ("arm64-16k", ("", "arm64-16k")),
        ("7.2", ("7.2", "cloud-arm64")),
        ("7.2.12+deb13", ("7.2.12+deb13", "cloud-arm64")),
        ("6.12-rt-arm64", ("6.12", "rt-arm64")),
    ],
)
def test_kernel_specs(spec, expected):
    assert parse_kernel_spec(spec) == expected


@pytest.mark.parametrize("spec", ["amd64", "7.2-riscv64", "latest", "7.", "-", "7.2 "])
def test_unknown_kernel_specs_are_usage_errors_that_list_the_flavours(spec):
    with pytest.raises(UsageError) as caught:
        parse_kernel_spec(spec)
    assert "cloud-arm64" in caught.value.hint


@pytest.mark.parametrize(
    ("release", "prefix", "matches"),
    [
        ("7.2.12+deb13-cloud-arm64", "", True),
        ("7.2.12+deb13-cloud-arm64", "7.2", True),
        ("7.2.12+deb13-cloud-arm64", "7.2.12", True),
        ("7.2.12+deb13-cloud-arm64", "7.2.12+deb13", True),
        ("7.2.12+deb13-cloud-arm64", "7.2.1", False),
        ("7.20.1+deb13-cloud-arm64", "7.2", False),
    ],
)
def test_a_version_prefix_matches_whole_components(release, prefix, matches):
    assert matches_version(release, prefix) is matches


class ListOfPackages:
    """An apt that knows names only."""

    host_arch = "amd64"

    def __init__(self, *releases):
        kinds = ("headers", "binary")
        self.packages = [f"linux-{kind}-{release}" for release in releases for kind in kinds]

    def names(self, pattern):
        return self.packages if "headers" in pattern else ["linux-kbuild"]

    def download(self, packages, _into):
        raise LookupError(packages[0])


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("7.2.9+deb13", "7.2.12+deb13"),
        # In Debian's order a tilde comes before nothing.
        ("7.3~rc7+deb14", "7.3.1+deb13"),
        # Debian 12 counts its builds behind the version.
        ("6.1.0-9", "6.1.0-50"),
    ],
)
def test_the_newest_kernel_is_taken_by_debians_order(tmp_path, older, newer):
    for releases in ((older, newer), (newer, older)):
        apt: Any = ListOfPackages(*(f"{release}-cloud-arm64" for release in releases))
        with pytest.raises(LookupError, match=re.escape(f"linux-binary-{newer}-cloud")):
            fetch_kernel([apt], tmp_path, "", "cloud-arm64")


def test_a_kernel_path_needs_an_image_and_its_build_tree(tmp_path):
    image = tmp_path / "Image"
    roots = Roots.__new__(Roots)
    with pytest.raises(NotReady, match="cannot be read"):
        roots.kernel(str(image))
    image.write_bytes(b"\x1f\x8b" + bytes(100))
    with pytest.raises(NotReady, match="not an uncompressed arm64 kernel Image"):
        check_image(image)
    image.write_bytes(bytes(56) + b"ARM\x64" + bytes(4))
    with pytest.raises(UsageError, match="--kdir"):
        roots.kernel(str(image))
    with pytest.raises(NotReady, match="not a prepared kernel build tree"):
        roots.kernel(str(image), tmp_path)
    (tmp_path / "include/config").mkdir(parents=True)
    (tmp_path / "include/config/kernel.release").write_text("7.3.4-mine\n")
    kernel = roots.kernel(str(image), tmp_path)
    assert kernel.release == "7.3.4-mine"
    image.write_bytes(image.read_bytes() + b"changed")
    assert roots.kernel(str(image), tmp_path).key != kernel.key
    with pytest.raises(UsageError, match="--kdir goes with"):
        roots.kernel("cloud-arm64", tmp_path)


TARGETS = """\
Debian|Debian-Security|main|stable-security|http://mirror.test/debian-security/
Debian|Debian|contrib|stable|http://mirror.test/debian/
Debian|Debian|main|stable|http://mirror.test/debian/
Other|Other|main|stable|http://other.test/stuff/
"""


@pytest.fixture
def apt(monkeypatch, tmp_path):
    """Pretend an apt configuration: what indextargets prints, and a sources directory."""

    def use(targets, sources=""):
        (tmp_path / "sources.list.d").mkdir(exist_ok=True)
        (tmp_path / "sources.list.d/debian.sources").write_text(sources)
        monkeypatch.setattr(debian, "need_tool", lambda name, _package: name)
        monkeypatch.setattr(debian, "run", lambda *_args, **_kwargs: targets)
        monkeypatch.setattr(debian, "_APT_CONFIG_DIR", tmp_path)

    return use


def test_the_mirror_is_the_hosts_own_debian_archive(apt):
    apt(TARGETS)
    assert debian.host_mirror().uri == "http://mirror.test/debian/"


def test_before_the_first_update_the_security_archive_is_not_taken(apt):
    apt(
        "$(ORIGIN)|$(LABEL)|main|stable-security|http://mirror.test/debian-security/\n"
        "$(ORIGIN)|$(LABEL)|main|stable|http://mirror.test/debian/\n"
    )
    assert debian.host_mirror().uri == "http://mirror.test/debian/"


def test_the_keyring_is_the_one_that_the_host_names(apt, tmp_path):
    keyring = tmp_path / "ring.gpg"
    keyring.write_text("")
    apt(TARGETS, f"Types: deb\nURIs: http://mirror.test/debian\nSigned-By: {keyring}\n")
    mirror = debian.host_mirror()
    assert mirror.keyring == str(keyring)
    assert all(
        line.startswith(f"deb [signed-by={keyring}] http://mirror.test/debian/ trixie")
        for line in mirror.sources().splitlines()
    )


def test_a_host_without_a_debian_archive_is_told_so(apt):
    apt("Other|Other|main|stable|http://other.test/stuff/\n")
    with pytest.raises(NotReady, match="not configured for a Debian archive"):
        debian.host_mirror()
