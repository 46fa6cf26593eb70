# SPDX-License-Identifier: GPL-2.0-only
"""Which functions of the kernel are watched, and what is fetched there.

cpu_cache_invalidate_memregion() itself takes no probe on a stock kernel: all of lib/ is
built without ftrace, and tracefs refuses what is so built. A provider's callback takes one,
so every call that somebody answers is seen there. One that nobody answers is seen in the
callers' own functions, which are in drivers/cxl/core/region.c, drivers/nvdimm/region.c and
our test module.

The caller of an answered call is read off the frame records (AAPCS64, "The Frame
Pointer"), for a whole stack would cost several times as much as the call: at the entry of
the callback x29 holds the frame of cpu_cache_invalidate_memregion(), whose return address
is in the caller. Kernels for arm64 always keep frame records.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pyctl.errors import NotReady, PyctlError
from pyctl.target.debugfs import PROVIDER_MODULE, TEST_MODULE, Debugfs
from pyctl.target.provider import find_provider
from pyctl.target.system import System
from pyctl.target.tracefs import Tracing

# struct cc_inval_params of linux/cache_coherency.h is the callback's second argument.
_ON_ENTRY = (
    "addr=+0(%x1):x64",
    "size=+8(%x1):x64",
    "caller=+8(%x29):symbol",
    "above=+8(+0(%x29)):symbol",
    "comm=$comm",
)
_RESULT = "ret=$retval:s32"
_COMM = "comm=$comm"


@dataclass(frozen=True)
class Callback:
    """What a provider has the framework call (struct cache_coherency_ops, wbinv)."""

    module: str
    function: str
    tries: str = ""
    """The function that calls firmware once, where it is known."""


@dataclass(frozen=True)
class CallSite:
    """A function whose job it is to have memory invalidated, and which may find nobody for it."""

    module: str
    function: str
    fetched: tuple[str, ...] = ()
    """Its range, as ``addr`` and ``size`` or ``end``; empty where it asks for all memory."""
    returns: bool = True
    """Whether it returns an errno."""


CALLBACKS = (
    Callback(PROVIDER_MODULE, "smccc_cache_wbinv", "smccc_cache_try"),
    Callback("arm_smccc_cache", "smccc_cache_wbinv"),
    Callback("hisi_soc_hha", "hisi_soc_hha_wbinv"),
)
CALLERS = (
    CallSite(
        "cxl_core",
        "cxl_region_invalidate_memregion",
        ("addr=cxlr->params.res->start:x64", "end=cxlr->params.res->end:x64"),
    ),
    CallSite("libnvdimm", "nd_region_remove", returns=False),
    CallSite(TEST_MODULE, "memregion_call", ("addr=+0(+0($arg1)):x64", "size=+8(+0($arg1)):x64")),
)


@dataclass
class Probes:
    """The probes that the kernel has taken, by the names of their events."""

    callbacks: dict[str, Callback] = field(default_factory=dict)
    """By number: ``in_N`` is its entry, ``out_N`` its return, ``try_N`` one of its tries."""
    callers: dict[str, CallSite] = field(default_factory=dict)
    """By number: ``enter_N`` is its entry, ``leave_N`` its return."""
    notes: list[str] = field(default_factory=list)
    """What cannot be seen, in sentences."""
    is_sure: bool = True
    """Whether a call that no callback gets is answered by nobody."""

    @classmethod
    def plant(cls, tracing: Tracing) -> Probes:
        """Have the kernel take all probes that it can. Raises NotReady where that is none."""
        probes = cls()
        answering = [probes._callback(tracing, f"{n}", each) for n, each in enumerate(CALLBACKS)]
        calling = [probes._caller(tracing, f"{n}", each) for n, each in enumerate(CALLERS)]
        if not any(answering + calling):
            raise NotReady(
                "There is nobody to watch: the kernel has neither a provider that pyctl knows nor "
                "a caller.",
                "Run `pyctl load`; `pyctl doctor` says what the kernel lacks.",
            )
        if not any(answering):
            probes._ask_for_others(tracing.system)
        return probes

    def _callback(self, tracing: Tracing, number: str, callback: Callback) -> bool:
        """Probe a callback; whether it is there now."""
        place, is_there = _plant(tracing, f"in_{number}", callback, _ON_ENTRY)
        tracing.probe(f"out_{number}", place, _RESULT, at_return=True)
        if callback.tries:
            tracing.probe(f"try_{number}", place.replace(callback.function, callback.tries))
        self.callbacks[number] = callback
        return is_there

    def _caller(self, tracing: Tracing, number: str, caller: CallSite) -> bool:
        """The same for a caller."""
        place, is_there = _plant(tracing, f"enter_{number}", caller, (_COMM,), caller.fetched)
        result = (_RESULT,) if caller.returns else ()
        tracing.probe(f"leave_{number}", place, *result, at_return=True)
        self.callers[number] = caller
        return is_there

    def _ask_for_others(self, system: System) -> None:
        """Find out, where no callback is there, whether somebody else is registered."""
        try:
            self.is_sure = not find_provider(system, Debugfs(system).info()).registered
        except PyctlError:
            self.is_sure = False
        if not self.is_sure:
            self.notes.append(
                "No provider that pyctl knows is there; whether another one answers a call cannot "
                "be seen."
            )


def _plant(
    tracing: Tracing,
    event: str,
    target: Callback | CallSite,
    fetched: tuple[str, ...],
    if_found: tuple[str, ...] = (),
) -> tuple[str, bool]:
    """Probe a function's entry; give how it is named, and whether it is there now.

    One in a module is named with it, so that it is found again whenever the module is
    loaded; one that is built in must not be. What is fetched ``if_found`` may take BTF,
    which not every kernel has.
    """
    in_module = f"{target.module}:{target.function}"
    is_loaded = _is_loaded(tracing.system, target.module)
    # Our provider's function is called like that of the kernel's series.
    is_ours = target.function == CALLBACKS[0].function and _is_loaded(
        tracing.system, PROVIDER_MODULE
    )
    is_module = is_loaded or is_ours or target.module in (PROVIDER_MODULE, TEST_MODULE)
    for place in (in_module,) if is_module else (target.function, in_module):
        for more in (if_found, ()):
            if tracing.probe(event, place, *more, *fetched):
                return place, is_loaded or place == target.function
    return in_module, False


def _is_loaded(system: System, module: str) -> bool:
    """Whether it is there as a module; what is built in has no such file."""
    return system.path(f"/sys/module/{module}/initstate").exists()
