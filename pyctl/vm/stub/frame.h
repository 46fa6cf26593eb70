/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest's registers as start.S saves them, between an exception and the
 * return from it.  What C changes here, the guest finds changed.
 */
#ifndef FRAME_H
#define FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "compiler.h"
#include "layout.h"

struct frame {
	uint64_t x[31];
	uint64_t elr;
	uint64_t spsr;
	uint64_t sp;	/* of the interrupted context; for the dump only */
};

static_assert(offsetof(struct frame, elr) == FRAME_ELR, "layout.h");
static_assert(offsetof(struct frame, spsr) == FRAME_SPSR, "layout.h");
static_assert(offsetof(struct frame, sp) == FRAME_SP, "layout.h");
static_assert(sizeof(struct frame) == FRAME_SIZE && FRAME_SIZE % 16 == 0, "layout.h");

#endif
