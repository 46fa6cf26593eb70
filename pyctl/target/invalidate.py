# SPDX-License-Identifier: GPL-2.0-only
"""The main job: check a request, have it carried out, and judge what came of it.

Checks come before anything reaches firmware. The judgement is strict because
the kernel's call returns 0 also where nothing was invalidated: only a provider
that was there throughout, and firmware calls where they can be counted, make a
success.
"""

from __future__ import annotations

import contextlib
import errno
import math
from dataclasses import dataclass

from pyctl.errors import NotReady, OperationFailed, PyctlError, TargetLost, UsageError
from pyctl.numbers import errno_name
from pyctl.ranges import check_width, target_range
from pyctl.smccc import status_name
from pyctl.target.answers import FirmwareCalls, Info, Record, Request
from pyctl.target.debugfs import Debugfs
from pyctl.target.provider import Provider, calls_inside, find_provider, start_counting
from pyctl.target.regions import check_target, regions
from pyctl.target.system import System

_MEANING = {
    errno.EBUSY: (
        "Firmware stayed busy or rate-limited through all tries of the provider.",
        "Try again later; `pyctl status` shows the provider's counters.",
    ),
    errno.EAGAIN: (
        "Firmware refused the call as too frequent (RATE_LIMITED).",
        "Call less often; `pyctl attributes` shows the rate that firmware allows.",
    ),
    errno.EINVAL: (
        "Firmware does not accept this range or these flags (INVALID_PARAMETER).",
        "Try a range aligned to pages, and see what firmware documents.",
    ),
    errno.EOPNOTSUPP: (
        "Firmware answered NOT_SUPPORTED.",
        "See `pyctl attributes`: is the function announced at all?",
    ),
    errno.EIO: (
        "Firmware answered with a status that has no meaning for this call.",
        "The kernel log (`dmesg`) and `--via smccc` show which.",
    ),
    errno.ENXIO: (
        "Nothing says of all of this range that it is memory, so the module does not map it.",
        "Choose memory that `pyctl regions` lists; registers are never mapped.",
    ),
    errno.EFAULT: (
        "The kernel has no access to part of this range.",
        "It may have been unplugged or unmapped: see `pyctl regions`.",
    ),
    errno.ENOMEM: ("The kernel had no memory for this request.", "Lower --count or --threads."),
    errno.ETIMEDOUT: (
        "The time given with --timeout ran out before all calls were made.",
        "Raise --timeout or lower --count.",
    ),
    errno.EINTR: ("The request was interrupted before all calls were made.", ""),
}


@dataclass(frozen=True)
class Result:
    """What came of a request: the module's record and the evidence beside it."""

    request: Request
    record: Record
    provider: Provider
    firmware: FirmwareCalls | None
    """None where nobody can count firmware calls."""
    timed_out: bool
    interrupted: bool

    @property
    def errno(self) -> int:
        """The errno of the whole; of a timeout the module only saw the signal."""
        if self.timed_out and self.is_partial:
            return errno.ETIMEDOUT
        return self.record.errno or (errno.EINTR if self.is_partial else 0)

    @property
    def is_partial(self) -> bool:
        """Whether a signal cut the work short."""
        return self.record.interrupted

    def failure(self) -> PyctlError | None:
        """Why this is no success, or None if it is one."""
        return _failure(self)


def prepare(system: System, request: Request, force: bool) -> Info:
    """Check everything that can be checked before firmware is reached: request, then chain."""
    info = check_request(system, request, force)
    check_chain(request, info)
    return info


def check_request(system: System, request: Request, force: bool) -> Info:
    """Refuse, with UsageError, a request that makes no sense or hits unsafe memory.

    Gives what the test module says of itself; NotReady where it cannot be asked.
    """
    target = target_range(request.addr, request.size)
    if request.dry_run and request.via != "smccc":
        raise UsageError(
            "--dry-run exists only with --via smccc: the kernel's own call has no such flag.",
            "Add --via smccc.",
        )
    info = Debugfs(system).info()
    check_width(target, info.pa_bits)
    for option, value, limit in (
        ("--count", request.count, info.max_count),
        ("--threads", request.threads, info.max_threads),
        ("--count times --threads", request.calls, info.max_count),
    ):
        if value > limit:
            raise UsageError(
                f"{option} is {value}; the module allows at most {limit}.", "Ask for fewer calls."
            )
    check_target(regions(system), target, force)
    return info


def check_chain(request: Request, info: Info) -> None:
    """Raise NotReady where the chain to firmware is incomplete.

    No provider means a silent success in the kernel, so it is not even called.
    """
    if request.via == "memregion" and not info.framework:
        raise NotReady(
            "This kernel has no cpu_cache_invalidate_memregion().",
            "It came with Linux 6.19; on this kernel use --via smccc or --via va.",
        )
    if request.via == "memregion" and not info.provider:
        raise NotReady(
            "No provider is registered: the kernel would report success and invalidate nothing.",
            "Run `pyctl load`; `pyctl doctor` says whether firmware offers the function.",
        )
    if request.via == "smccc" and info.conduit == "none":
        raise NotReady(
            "This machine has no SMCCC conduit, so firmware cannot be called.",
            "Firmware must offer PSCI 1.0 or later with SMCCC 1.1 or later.",
        )


def run(debugfs: Debugfs, request: Request, info: Info, timeout_s: float) -> Result:
    """Carry out a prepared request and collect the evidence.

    Raises TargetLost where the call never comes back, with the CPU and the call that
    are stuck where firmware can still be asked.
    """
    counting = start_counting(debugfs, info) if request.via == "memregion" else None
    try:
        record, ending = debugfs.invalidate(request, timeout_s)
    except TargetLost as lost:
        stuck = calls_inside(debugfs) if info.raw_calls else []
        if not stuck:
            raise
        raise TargetLost(f"{lost.message} {' '.join(stuck)}", lost.hint) from lost
    firmware = record.firmware
    if counting:
        # A provider that was unloaded meanwhile took its counters along; the record tells of it.
        with contextlib.suppress(NotReady):
            firmware = counting()
    return Result(
        request=request,
        record=record,
        provider=find_provider(debugfs.system, info),
        firmware=firmware,
        timed_out=ending.timed_out,
        interrupted=ending.interrupted,
    )


def _failure(result: Result) -> PyctlError | None:
    request, record = result.request, result.record
    through_kernel = request.via == "memregion"
    if through_kernel and (record.vacuous or not record.provider):
        return NotReady(
            f"The provider was gone during the request: {record.vacuous} calls reported success "
            "and invalidated nothing.",
            "Run `pyctl load` and do not unload a provider while requests are running.",
        )
    if request.via == "smccc" and _is_unsupported(record):
        return NotReady(
            "Firmware does not announce SMCCC_ARCH_CLEAN_INV_MEMREGION, so it was not called.",
            "See `pyctl attributes`; the function needs firmware support.",
        )
    if result.errno:
        return _errno_failure(result)
    if record.completed < request.calls:
        return OperationFailed(
            f"Only {record.completed} of {request.calls} calls were completed, with no errno.",
            "This looks like a fault of the module: see the kernel log (`dmesg`).",
        )
    if result.firmware and result.firmware.calls < record.completed:
        return OperationFailed(
            f"The kernel reported {record.completed} successes, but firmware was called only "
            f"{result.firmware.calls} times.",
            "A provider that merges calls, or one that does not call firmware: do not trust it.",
        )
    return None


def _is_unsupported(record: Record) -> bool:
    """The module refused by itself: NOT_SUPPORTED from a call would have counted the call."""
    calls = record.firmware.calls if record.firmware else 0
    return record.errno == errno.EOPNOTSUPP and calls == 0


def meaning_of(number: int) -> tuple[str, str]:
    """What an errno of the kernel's call means, in a sentence, and what to do about it."""
    return _MEANING.get(
        number, (f"The call failed with {errno_name(number)}.", "See the kernel log (`dmesg`).")
    )


def _errno_failure(result: Result) -> OperationFailed:
    number = result.errno
    sentence, hint = meaning_of(number)
    status = result.firmware.last_status if result.firmware else None
    if number == errno.EIO and status is not None:
        sentence = f"Firmware answered {status_name(status)}, which has no errno of its own."
    if number == errno.EBUSY and result.request.via == "smccc":
        sentence, hint = "Firmware was busy (BUSY).", "Try again later."
    if number == errno.EINVAL and result.request.via == "va":
        sentence, hint = "The module cannot map this range.", "See `pyctl regions`."
    done = f" {result.record.completed} of {result.request.calls} calls were completed."
    return OperationFailed(f"{errno_name(number)}: {sentence}{done}", hint)


def check_timeout(timeout_s: float) -> float:
    """A timeout that can be waited for: more than 0 and finite."""
    if not timeout_s > 0 or math.isinf(timeout_s):
        raise UsageError(
            f"--timeout {timeout_s:g} is no time to wait.", "Give seconds, more than 0."
        )
    return timeout_s
