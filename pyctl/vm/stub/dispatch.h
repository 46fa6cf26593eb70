/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a call goes; see dispatch.c.
 */
#ifndef DISPATCH_H
#define DISPATCH_H

#include "frame.h"

/* Serves the call in the guest's registers. */
void smccc_dispatch(struct frame *frame, unsigned int conduit, unsigned int immediate);

#endif
