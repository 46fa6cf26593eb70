# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl status`: what is loaded, from which build, and what it has counted."""

from __future__ import annotations

from typing import Any

import click

from pyctl.cli.params import Session, json_option, pass_session
from pyctl.errors import NotReady
from pyctl.smccc import status_name
from pyctl.target.debugfs import TEST_MODULE, Debugfs
from pyctl.target.modinfo import MODULES, LoadedModule, find_file
from pyctl.target.provider import find_provider

SHAPE: dict[str, Any] = {
    "modules": [],
    "framework": None,
    "raw_calls": None,
    "provider": {"registered": None, "name": None},
    "counters": None,
}


@click.command(short_help="Show the modules, the provider and its counters.")
@json_option(SHAPE)
@pass_session
def status(session: Session) -> None:
    """Show which modules are loaded and from which build, the provider and its counters.

    Exit status 3 if the test module is not loaded, cannot be reached, or comes from
    another build than the one that `pyctl load` would take.

    \b
    Examples:
      pyctl status
      pyctl status --json
    """
    modules = [_module(session, name) for name in MODULES]
    session.answer["modules"] = modules
    for module in modules:
        session.say(f"{module['name']:14}  {_module_text(module)}")
    if not modules[0]["loaded"]:
        raise NotReady(f"{TEST_MODULE} is not loaded.", "Run `pyctl load`.")
    _show_provider(session)
    for module in modules:
        if module["build_matches"] is False:
            raise NotReady(
                f"{module['name']} is loaded from another build than {module['path']}.",
                "Run `pyctl unload`, then `pyctl load`.",
            )
    session.succeed()


def _module(session: Session, name: str) -> dict[str, Any]:
    file = find_file(session.system, name)
    loaded = LoadedModule.find(session.system, name)
    return {
        "name": name,
        "loaded": loaded is not None,
        "users": loaded.users if loaded else None,
        "srcversion": loaded.srcversion if loaded else None,
        "path": str(file.path) if file else None,
        "build_matches": loaded.matches(file) if loaded and file else None,
    }


def _module_text(module: dict[str, Any]) -> str:
    if not module["loaded"]:
        return "not loaded"
    build = {
        True: f"same build as {module['path']}",
        False: f"ANOTHER BUILD than {module['path']}",
        None: "no build here to compare with",
    }
    return f"loaded, {module['users']} users, {build[module['build_matches']]}"


def _show_provider(session: Session) -> None:
    debugfs = Debugfs(session.system)
    info = debugfs.info()
    provider = find_provider(session.system, info)
    session.answer.update(
        framework=info.framework, raw_calls=info.raw_calls, provider=provider.as_json()
    )
    session.say(f"{'framework':14}  {'in this kernel' if info.framework else 'not in this kernel'}")
    session.say(f"{'raw calls':14}  {'enabled' if info.raw_calls else 'disabled'}")
    session.say(f"{'provider':14}  {provider}")
    if not debugfs.has_provider_module():
        return
    counters = debugfs.provider_counters()
    session.answer["counters"] = counters.as_json()
    session.say(
        f"{'counters':14}  requests {counters.requests}, firmware calls {counters.calls}, "
        f"busy {counters.busy}, rate-limited {counters.rate_limited}, errors {counters.errors}"
    )
    last = status_name(counters.last_status) if counters.calls else "none"
    session.say(f"{'':14}  waited {counters.waited_ns / 1e6:.1f} ms, last status {last}")
