/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where start.S takes exceptions.
 */
#ifndef TRAP_H
#define TRAP_H

#include "compiler.h"
#include "frame.h"

/* The guest called, or trapped; the frame holds its registers, and ours to change. */
void guest_sync(struct frame *frame);

/* Any other vector, by its number from 0 to 15: report and power off. */
__noreturn void fatal_exception(struct frame *frame, unsigned int vector);

#endif
