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

_TOLD = {
    "conduit": "conduit",
    "clean_inv": "clean_inv",
    "attributes": "attributes",
    "status": "status",
    "global": "is_global",
    "latency_us": "latency_us",
    "rate_per_s": "rate_per_s",
    "break_even_bytes": "break_even_bytes",
}
"""Keys of the answer, and what of a Discovery they tell."""
SHAPE = {
    "smccc_version": None,
    **dict.fromkeys(_TOLD),
    "raw": dict.fromkeys(("x0", "x1", "x2", "x3", "x4")),
    "provider": {"registered": None, "name": None, **ProviderAttributes.no_json()},
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
    session.answer["smccc_version"] = version_text(discovery.smccc_version)
    session.answer.update({key: getattr(discovery, name) for key, name in _TOLD.items()})
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
    session.answer["provider"].update(taken.as_json())
    session.say(
        f"  has taken      global={int(taken.is_global)} latency_us={taken.latency_us} "
        f"rate_per_s={taken.rate_per_s} break_even_bytes={taken.break_even_bytes}"
    )
    session.say(f"  waits          {taken.delay_us} us between two tries")
