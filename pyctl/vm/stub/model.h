/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A modelled cache; see model.c.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stdint.h>

/* What a clean+invalidate is really going to do. */
struct operation {
	uint64_t first;		/* byte addresses, inclusive */
	uint64_t last;
	bool clean;
	bool invalidate;
	bool lose_partial;	/* no clean for a line that is covered in part */
	bool forget;		/* the lines before and after count as clean */
};

/* Where a window lies.  Line size 0: the model is not running. */
struct window {
	uint64_t base;
	uint64_t size;
	uint64_t line_size;	/* bytes, a power of two */
};

struct window model_window(void);

/* Carries out an operation on all lines of the window that it touches. */
void model_operate(const struct operation *operation);

void model_stop(void);

/* Vendor calls about it: the table of dispatch.c. */
struct call;

void vendor_model(struct call *call);
void vendor_media_read(struct call *call);
void vendor_media_write(struct call *call);
void vendor_media_copy(struct call *call);

#endif
