# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl attributes`: what firmware answers when asked, and what the provider made of it."""

from __future__ import annotations

import click

from pyctl.cli.params import Session, json_option, pass_session
from pyctl.errors import NotReady
from pyctl.numbers import size_text
from pyctl.smccc import status_name, version_text
from pyctl.target.answers import Discovery, ProviderAttributes
from pyctl.target.debugfs import Debugfs
from pyctl.target.doctor import missing_function
from pyctl.target.provider import find_provider

SHAPE = {
    "smccc_version": None,
    "conduit": None,
    "clean_inv": None,
    "attributes": None,
    "status": None,
    "global": None,
    "latency_us": None,
    "rate_per_s": None,
    "break_even_bytes": None,
    "raw": {"x0": None, "x1": None, "x2": None, "x3": None, "x4": None},
    "provider": {
        "registered": None,
        "name": None,
        "global": None,
        "latency_us": None,
        "rate_per_s": None,
        "break_even_bytes": None,
        "delay_us": None,
    },
}
_NOT_STATED = "not stated (0; the specification does not say what 0 means)"


@click.command(short_help="Ask firmware what it offers.")
@json_option(SHAPE)
@pass_session
def attributes(session: Session) -> None:
    """Ask firmware for the cache call, its attributes, and show what the provider took.

    Firmware is asked anew every time. Exit status 3 if it does not offer the call.

    \b
    Examples:
      pyctl attributes
      pyctl attributes --json
    """
    debugfs = Debugfs(session.system)
    info = debugfs.info()
    discovery = debugfs.discovery()
    _fill(session, discovery)
    provider = find_provider(session.system, info)
    session.answer["provider"].update(provider.as_json())
    _print(session, discovery)
    session.say(f"provider         {provider}")
    if debugfs.has_provider_module():
        _show_taken(session, debugfs.provider_attributes())
    if why := missing_function(discovery):
        raise NotReady(
            why, "Only firmware can supply the call; `pyctl doctor` shows the whole chain."
        )
    session.succeed()


def _fill(session: Session, discovery: Discovery) -> None:
    session.answer.update(
        {
            "smccc_version": version_text(discovery.smccc_version),
            "conduit": discovery.conduit,
            "clean_inv": discovery.clean_inv,
            "attributes": discovery.attributes,
            "status": discovery.status,
            "global": discovery.is_global,
            "latency_us": discovery.latency_us,
            "rate_per_s": discovery.rate_per_s,
            "break_even_bytes": discovery.break_even_bytes,
        }
    )
    if discovery.raw:
        session.answer["raw"] = {f"x{n}": f"0x{x:x}" for n, x in enumerate(discovery.raw)}


def _print(session: Session, discovery: Discovery) -> None:
    session.say(f"SMCCC            {version_text(discovery.smccc_version)}")
    session.say(f"conduit          {discovery.conduit}")
    session.say(f"clean+invalidate {_announced(discovery.clean_inv)}")
    session.say(f"attributes       {_announced(discovery.attributes)}")
    if discovery.status is not None:
        session.say(f"status           {status_name(discovery.status)}")
    if discovery.granted:
        scope = "the whole cache, whatever the range" if discovery.is_global else "the range given"
        session.say(f"covers           {scope}")
        session.say(f"latency          {_stated(discovery.latency_us, 'us at worst')}")
        session.say(f"rate             {_stated(discovery.rate_per_s, 'calls/s at most')}")
        break_even = discovery.break_even_bytes or 0
        text = f"from {size_text(break_even)}B on" if break_even else _NOT_STATED
        session.say(f"break-even       {text}")
    if discovery.raw:
        registers = " ".join(f"x{n}=0x{x:x}" for n, x in enumerate(discovery.raw))
        session.say(f"registers        {registers}")


def _announced(answer: int | None) -> str:
    if answer is None:
        return "not asked"
    return f"announced ({answer})" if answer >= 0 else f"not announced ({status_name(answer)})"


def _stated(value: int | None, unit: str) -> str:
    return f"{value} {unit}" if value else _NOT_STATED


def _show_taken(session: Session, taken: ProviderAttributes) -> None:
    session.answer["provider"].update(
        {
            "global": taken.is_global,
            "latency_us": taken.latency_us,
            "rate_per_s": taken.rate_per_s,
            "break_even_bytes": taken.break_even_bytes,
            "delay_us": taken.delay_us,
        }
    )
    session.say(
        f"  has taken      global={int(taken.is_global)} latency_us={taken.latency_us} "
        f"rate_per_s={taken.rate_per_s} break_even_bytes={taken.break_even_bytes}"
    )
    session.say(f"  waits          {taken.delay_us} us between two tries")
