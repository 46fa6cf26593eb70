# SPDX-License-Identifier: GPL-2.0-only
"""Firmware with a defect, and firmware that is unusual and has none.

Each is a fault script (`pyctl fault list` explains the kinds). The suite must fail on
every defect, and the commands must name it; neither may have anything against the rest.
"""

DEFECTS = {
    # The operation.
    "success without doing anything": "noop",
    "success without doing anything, now and then": "noop@every=5",
    "first line left out": "skip_first_line",
    "last line left out": "skip_last_line",
    "second half left out": "skip_second_half",
    "clean without invalidating": "clean_only",
    "invalidate without cleaning": "invalidate_only",
    "nothing done above 4 GiB": "only_below",
    "only the first of two queued ranges": "skip_queued",
    "dirty bytes beside a partly covered line lost": "lose_partial",
    "wrong base, below": "wrong_base:-64",
    "wrong base": "wrong_base:0x1000",
    "nothing done on CPU 0": "noop@cpu=0",
    "nothing done by the first call": "noop@next=1",
    "last line left out on CPU 2": "skip_last_line@cpu=2",
    # Statuses.
    "always NOT_SUPPORTED": "status:NOT_SUPPORTED",
    "always BUSY": "status:BUSY",
    "always RATE_LIMITED": "status:RATE_LIMITED",
    "always INVALID_PARAMETER": "status:INVALID_PARAMETER",
    "NOT_REQUIRED instead of SUCCESS": "status:NOT_REQUIRED",
    "an unknown status, now and then": "status:-77@every=4",
    "a positive status": "status:1",
    # Registers.
    "garbage in the upper half of x0": "x0_garbage",
    "x1-x3 not preserved": "clobber_x1_x3",
    "x4-x17 not preserved": "clobber_x4_x17",
    "v0-v31 not preserved": "clobber_simd",
    # Attributes and discovery.
    "lies about being global": "attr_global:1",
    "advertises a latency that it does not keep": "attr_latency_us:1,latency:20000",
    "late on CPU 2": "attr_latency_us:100,latency:20000@cpu=2",
    "advertises a rate that it does not allow": "attr_rate:1000000,rate_limit:5/1000000",
    "SMCCC_VERSION differs on one CPU": "version:1.1@cpu=1",
    "SMCCC_VERSION changes between calls": "version:1.1@every=20",
    "SMC32 aliases answered": "smc32_alias",
    "SMC32 aliases answered by one CPU": "smc32_alias@cpu=3",
    "SVE-hint ids refused now and then": "refuse_sve@every=5",
    "SVE-hint ids refused": "refuse_sve",
    "ATTRIBUTES announced as absent": "features_attributes:NOT_SUPPORTED",
    "CLEAN_INV announced as absent": "features_clean_inv:NOT_SUPPORTED",
    "latency changes between calls": "attr_latency_us:9@every=2",
    "latency differs on one CPU": "attr_latency_us:9@cpu=0",
    "rate changes between calls": "attr_rate:9@every=2",
    "break-even changes between calls": "attr_break_even:4096@every=2",
    "ATTRIBUTES fails now and then": "status:BUSY@every=3@call=attributes",
    "dry runs carried out": "dry_run_acts",
    "reserved bits of an id ignored": "loose_id",
    "reserved bits of an id ignored by one CPU": "loose_id@cpu=2",
    "unknown ids answered": "answer_unknown",
    "never returns from the fifth call": "hang@every=5",
    "very slow": "latency:3000000",
    # By how ranges are made of bits, lines and blocks.
    "length of 32 bits": "short_length",
    "length of 16 bits": "short_length:16",
    "stops at a border of 2 MiB": "stop_at_border",
    "stops at a border of a page": "stop_at_border:4096",
    "partly covered lines left out": "skip_parts",
    "partly covered lines left out on CPU 1": "skip_parts@cpu=1",
    "dirty neighbours forgotten": "forget_neighbours",
    "dirty neighbours forgotten now and then": "forget_neighbours@every=3",
    "busy for ever with long ranges": "busy_over",
    "busy for ever with more than a page": "busy_over:4096",
    "whole pages only, and parts of them at times": "refuse_unaligned@every=3",
    "whole blocks of 64 KiB only": "refuse_unaligned:0x10000",
    "clean without invalidating on CPU 3": "clean_only@cpu=3",
    "dry runs carried out by CPU 0": "dry_run_acts@cpu=0",
    "FPCR and FPSR not preserved": "clobber_fpcr",
    "x18-x30 not preserved": "clobber_x18_x30",
    "SP_EL0 and thread registers not preserved by CPU 1": "clobber_thread@cpu=1",
}

# Planted on a board with UEFI as well: one for each way in which a defect shows.
SEEN_WITH_UEFI = (
    "success without doing anything",
    "last line left out",
    "clean without invalidating",
    "dirty bytes beside a partly covered line lost",
    "nothing done on CPU 0",
    "always BUSY",
    "garbage in the upper half of x0",
    "x4-x17 not preserved",
    "lies about being global",
    "SMC32 aliases answered",
)

VECTOR_DEFECTS = {
    "state of SVE not preserved": "clobber_sve",
    "state of SVE not preserved on CPU 1": "clobber_sve@cpu=1",
    "ZA not preserved": "clobber_sme",
    "ZA not preserved by ATTRIBUTES on CPU 1": "clobber_sme@cpu=1@call=attributes",
}
"""Those that only CPUs with SVE and SME show, which the boards of the suite have not."""

INVISIBLE = {
    ("uefi", "nothing done above 4 GiB"): "that board's memory ends below 4 GiB",
}
"""Defects that no command can see on a board, and why."""

UNUSUAL = {
    "pages for lines": ((), "over_flush:4096"),
    "lines of 2 KiB": ((), "over_flush:2048"),
    "everything": (("global=1",), ""),
    "everything, in its time": (("global=1", "latency_us=50000", "duration_us=2000"), ""),
    "zero-extended x0": ((), "x0_garbage:0"),
    "slow within its latency": (("latency_us=50000", "duration_us=30000"), ""),
    "a coarse rate limiter": (("rate=20",), "rate_limit:20/1000000"),
    "a rate limiter that is not stated": ((), "rate_limit:200/100000"),
    "a rate limiter for each CPU": (
        ("rate=200",),
        ",".join(f"rate_limit:200/1000000@cpu={cpu}" for cpu in range(4)),
    ),
    "busy now and then": ((), "status:BUSY@every=7"),
    "busy while another CPU is inside": ((), "busy_inside"),
    "rate-limited now and then": ((), "status:RATE_LIMITED@every=5"),
    "x4 kept": (("smccc=1.1",), "keep_x4"),
    "a break-even size": (("break_even=0x200000",), ""),
    "whole pages only": ((), "refuse_unaligned"),
    "whole lines only": ((), "refuse_unaligned:64"),
    "anything accepted": ((), "accept_anything"),
}
"""Conforming firmware that is not like most: settings, and a fault script."""

WORTH_ASKING = {"whole pages only", "whole lines only", "anything accepted"}
"""Of these the commands may say that the vendor is worth asking, and no more."""
