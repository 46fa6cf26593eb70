# SPDX-License-Identifier: GPL-2.0-only
"""The report of a night: the worst comes first, and nothing that a board printed is run.

tests/vm opens it in a browser.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.util import find_spec

import pytest

from pyctl.lab import report as report_module
from pyctl.lab.report import html_report, make_report, text_report
from pyctl.lab.results import (
    BoardIdentity,
    FirmwareIdentity,
    ItemEvidence,
    ItemKind,
    ItemOutcome,
    ItemResult,
    Quantity,
    RunHead,
    RunResults,
)
from pyctl.lab.store import Store

# The extra "lab"; a checkout that was set up before it came has no page.
if not all(map(find_spec, ("jinja2", "pygal"))):
    pytest.skip("missing: jinja2 or pygal", allow_module_level=True)
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7*7 }}"
TEST = "tests/target/test_discovery.py::test_attributes"


def result(path, outcome, reason="", kind=ItemKind.TEST, **rest):
    return ItemResult(path, kind, outcome, reason, 1.5, **rest)


def results_of_night(night, board, version, evil=""):
    """What one board finds in one night: latency by chance, a defect in firmware 1.4."""
    chance = random.Random(f"{night} {board}")
    latency = {
        name: Quantity(round(base * chance.uniform(0.9, 1.2), 1), "us")
        for name, base in (("p50", 20), ("p99", 55), ("max", 90))
    }
    bad = version == "1.4"
    registers = ("0xc4000110 on CPU 0: x1=0x80000000 x2=0x40 -> x0=0xfffffffffffffffe" + evil,)
    return [
        result("attributes", ItemOutcome.PASS, numbers={"latency_us": Quantity(250.0, "us")}),
        result(
            "CALL-3",
            ItemOutcome.FAIL if bad else ItemOutcome.PASS,
            f"A range of one line gave INVALID_PARAMETER.{evil}" if bad else "",
            ItemKind.RULE,
            statement=f"A range need not be aligned to a line. (DEN0028 v1.7, 7.10){evil}",
            evidence=ItemEvidence(registers=registers) if bad else ItemEvidence(),
        ),
        result("latency", ItemOutcome.PASS, kind=ItemKind.MEASUREMENT, numbers=latency),
        result(
            "OPEN-2",
            ItemOutcome.SKIP,
            f"Only observed: the flags are ignored.{evil}",
            ItemKind.RULE,
        ),
        result(TEST, ItemOutcome.FAIL if board == "grace-3" else ItemOutcome.PASS, "assert 3 == 4"),
        result(f"{TEST}_on_each_cpu", ItemOutcome.SKIP, "for another kind of target: one CPU"),
    ]


def fill(store, nights=12, evil=""):
    """Nights of five boards: in the last one has new firmware, and two have trouble."""
    for number in range(1, nights + 1):
        is_last = number == nights
        names = ["grace-1", "grace-2", "grace-3", f"tegra-1{evil}", "tegra-2"]
        night = store.begin("/srv/lab/fleet.toml", names)
        for name in names:
            version = "1.4" if is_last and name == "grace-2" else "1.3"
            firmware = FirmwareIdentity(f"A vendor{evil}", version, "", "1.4", "smc")
            board = BoardIdentity(name, "A model", (), "7.3.4", firmware, f"--target=ssh:{name}")
            run = RunResults(
                RunHead("target", board), results_of_night(number, name, version, evil), "now"
            )
            if is_last and name.startswith("tegra-1"):
                lost = ItemEvidence(log="", console=f"Kernel panic - not syncing{evil}")
                why = f"{name} was lost: the connection broke."
                more = [*run.results[:-2], result("x", ItemOutcome.ERROR, why, evidence=lost)]
                run = replace(run, results=more)
            if is_last and name == "tegra-2":
                run = RunResults(
                    RunHead("target", BoardIdentity(name)), trouble="It does not answer."
                )
            store.add(night, run)
        store.end(night)
    return store.night("last")


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "lab.sqlite") as made:
        yield made


class Page(HTMLParser):
    """What a page would load or run, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts = set(), set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.texts.append(data)


def test_the_text_says_the_worst_first(store) -> None:
    lines = text_report(make_report(store, fill(store))).splitlines()
    assert lines[1] == (
        "1 new failure; 1 known failure still there; trouble of the lab with tegra-1, tegra-2."
    )
    text = "\n".join(lines)
    places = [
        text.index(word)
        for word in (
            "NEW FAILURES",
            "grace-2: CALL-3",
            "should hold: A range need not be aligned",
            "A range of one line gave INVALID_PARAMETER.",
            "firmware: A vendor 1.4",
            "repeat: pyctl lab run /srv/lab/fleet.toml --board grace-2",
            "KNOWN FAILURES",
            "TROUBLE OF THE LAB",
            "tegra-2: It does not answer.",
            "OTHER FIRMWARE",
            "BOARDS",
        )
    ]
    assert places == sorted(places)


def test_a_test_is_repeated_on_the_board_itself(store) -> None:
    fill(store, 1)
    text = text_report(make_report(store, store.night("last")))
    assert f"repeat: .venv/bin/pytest {TEST} --target=ssh:grace-3" in text


def test_nothing_that_a_board_printed_is_run_or_loaded(store) -> None:
    page = html_report(store, make_report(store, fill(store, 3, EVIL)))
    found = Page(page)
    assert not found.tags & {"script", "img", "link", "iframe", "object", "embed", "use", "image"}
    assert not {name for name in found.attributes if name.startswith("on")}
    assert not found.attributes & {"src", "href", "xlink:href"}
    assert "alert(1)" in "".join(found.texts)
    assert "{{ 7*7 }}" in "".join(found.texts)
    styles = "".join(re.findall(r"<style.*?</style>", page, re.DOTALL))
    assert "url(" not in styles
    assert "@import" not in styles


def test_the_page_has_what_the_text_has_and_plots_with_units(store) -> None:
    text = "".join(Page(html_report(store, make_report(store, fill(store)))).texts)
    for words in (
        "1 new failure; 1 known",
        "A range need not be aligned",
        "x0=0xfffffffffffffffe",
        "firmware",
        "It does not answer.",
        "latency: p99",
        "latency, last night",
        "us",
        "for another kind of target: one CPU",
        "A vendor 1.3 SMCCC 1.4 smc → A vendor 1.4",
    ):
        assert words in text


def test_the_colour_of_the_page_is_that_of_the_verdict(store) -> None:
    fill(store, 2)
    number = store.begin("fleet", ["grace-1"])
    board = BoardIdentity("grace-1")
    good = RunResults(RunHead("target", board), [result("x", ItemOutcome.PASS)], "now")
    store.add(number, good)
    for night, kind in (("last-1", "fail"), ("last", "good")):
        page = html_report(store, make_report(store, store.night(night)))
        assert f'<p class="verdict {kind}">' in page
    store.add(number, replace(good, trouble="It was lost."))
    assert '<p class="verdict lost">' in html_report(store, make_report(store, store.night("last")))


def test_the_first_night_of_all_has_a_report(store) -> None:
    night = store.begin("fleet", ["a"])
    assert "It has no results." in text_report(make_report(store, store.night(str(night))))
    assert "It has no results." in html_report(store, make_report(store, store.night("last")))


def test_the_command_has_the_exit_status_of_the_night(pyctl, store, tmp_path) -> None:
    fill(store, 2)
    words = ("lab", "report", "--store", store.path)
    ended = pyctl(*words)
    assert (ended.status, "NEW FAILURES" in ended.out) == (1, True)
    assert pyctl(*words, "1").status == 1
    ended = pyctl(*words, "last", "--html", tmp_path / "x.html", "--json")
    assert (ended.status, ended.json["new"][0]["board"]) == (1, "grace-2")
    assert (tmp_path / "x.html").read_text().startswith("<!DOCTYPE html>")


def test_a_missing_library_is_not_ready(pyctl, store, tmp_path, monkeypatch) -> None:
    fill(store, 1)
    monkeypatch.setattr(report_module, "find_spec", lambda name: None)
    ended = pyctl("lab", "report", "--store", store.path, "--html", tmp_path / "x")
    assert (ended.status, "'.[lab]'" in ended.err) == (3, True)
