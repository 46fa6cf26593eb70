# SPDX-License-Identifier: GPL-2.0-only
"""The page of a night in a real browser, with --full: it is shown, and nothing in it runs."""

import shutil
import subprocess

import pytest

from pyctl.lab.report import html_report, make_report
from pyctl.lab.store import Store
from tests.unit.test_lab_report import fill

CHROMIUM = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
# A script of a board's would leave its mark here.
EVIL = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"


@pytest.fixture
def browser(request):
    if not request.config.getoption("full"):
        pytest.skip("a browser takes its time: --full")
    program = shutil.which("chromium")
    if not program:
        pytest.skip("missing on the host: chromium")

    def run(*options):
        command = [program, *CHROMIUM, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_a_browser_shows_the_page_and_runs_nothing(browser, tmp_path):
    page, picture = tmp_path / "night.html", tmp_path / "night.png"
    with Store(tmp_path / "lab.sqlite") as store:
        page.write_text(html_report(store, make_report(store, fill(store, 12, EVIL))))
    shown = browser("--dump-dom", page.as_uri())
    assert "<title>Night 12: 1 new failure;" in shown
    assert "New failures</h2>" in shown
    browser("--window-size=1000,2000", f"--screenshot={picture}", page.as_uri())
    # A page on which nothing could be drawn is some 10 KB.
    assert picture.stat().st_size > 50_000
