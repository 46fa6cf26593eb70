/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The two functions that all this is about; see cache.c.
 */
#ifndef CACHE_H
#define CACHE_H

struct call;

void clean_inv(struct call *call);
void clean_inv_attributes(struct call *call);

#endif
