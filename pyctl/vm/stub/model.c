// SPDX-License-Identifier: GPL-2.0-only
/*
 * A modelled cache, which makes visible what clean and invalidate do.
 *
 * Of memory in a window that is being modelled, what the guest's loads and stores
 * see is the cache.  The memory behind it, "media", is a copy at MEDIA_BASE that
 * only vendor calls reach: they are what a device would do.  A second copy holds
 * each line's content when cache and media last met, so that a line that differs
 * from it is dirty.  Lines never leave the cache by themselves: what goes wrong
 * goes wrong every time.
 *
 * A clean writes a dirty line to media whole, as hardware may; an invalidate
 * fetches it from there.  The guest's other CPUs go on storing to lines of their
 * own, which a global operation covers too.  Therefore words of the cache are
 * only ever exchanged for what was seen in them, and a store that comes between
 * leaves its line dirty.
 */
#include "layout.h"
#include "model.h"
#include "smccc.h"
#include "string.h"
#include "vendor.h"

#define WINDOW_LIMIT	(MEDIA_SIZE / 2)
#define LINE_MIN	16UL
#define LINE_LIMIT	4096UL
#define WORD		sizeof(uint64_t)
#define BYTES_PER_CALL	64UL
#define BYTES_PER_COPY	0x10000UL

static struct lock model_lock;		/* all of the below, media included */
static struct window window;
static uint8_t *const media = (uint8_t *)MEDIA_BASE;
static uint8_t *const synced = (uint8_t *)MEDIA_BASE + WINDOW_LIMIT;

static bool is_dirty(uint64_t offset)
{
	const uint64_t *cache = (const uint64_t *)(window.base + offset);
	const uint64_t *known = (const uint64_t *)(synced + offset);

	for (uint64_t i = 0; i < window.line_size / WORD; i++)
		if (__atomic_load_n(&cache[i], __ATOMIC_RELAXED) != known[i])
			return true;
	return false;
}

/* Media gets the line; what was seen of it becomes its known content. */
static void clean_line(uint64_t offset)
{
	const uint64_t *cache = (const uint64_t *)(window.base + offset);
	uint64_t *known = (uint64_t *)(synced + offset);
	uint64_t *to = (uint64_t *)(media + offset);

	for (uint64_t i = 0; i < window.line_size / WORD; i++)
		to[i] = known[i] = __atomic_load_n(&cache[i], __ATOMIC_RELAXED);
}

/* The cache gets the line.  False if the guest stored to it meanwhile. */
static bool fetch_clean_line(uint64_t offset)
{
	uint64_t *cache = (uint64_t *)(window.base + offset);
	uint64_t *known = (uint64_t *)(synced + offset);
	const uint64_t *from = (const uint64_t *)(media + offset);

	for (uint64_t i = 0; i < window.line_size / WORD; i++) {
		uint64_t expected = known[i];

		if (!__atomic_compare_exchange_n(&cache[i], &expected, from[i], false,
						 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			return false;
		known[i] = from[i];
	}
	return true;
}

/* The same for a line whose dirty bytes are to be lost. */
static void fetch_over_line(uint64_t offset)
{
	uint64_t *cache = (uint64_t *)(window.base + offset);
	uint64_t *known = (uint64_t *)(synced + offset);
	const uint64_t *from = (const uint64_t *)(media + offset);

	for (uint64_t i = 0; i < window.line_size / WORD; i++) {
		__atomic_store_n(&cache[i], from[i], __ATOMIC_RELAXED);
		known[i] = from[i];
	}
}

static void operate_on_line(uint64_t offset, bool clean, bool invalidate)
{
	if (!clean) {
		if (invalidate)
			fetch_over_line(offset);
		return;
	}
	do {
		if (is_dirty(offset))
			clean_line(offset);
	} while (invalidate && !fetch_clean_line(offset));
}

static bool is_partial(const struct operation *operation, uint64_t line)
{
	return line < operation->first || line + window.line_size - 1 > operation->last;
}

void model_operate(const struct operation *operation)
{
	uint64_t first = operation->first;
	uint64_t last = operation->last;

	lock_acquire(&model_lock);
	if (first < window.base)
		first = window.base;
	if (last >= window.base + window.size)
		last = window.base + window.size - 1;
	if (window.line_size && first <= last) {
		first &= ~(window.line_size - 1);
		for (uint64_t line = first; line <= last; line += window.line_size) {
			bool lose = operation->lose_partial && is_partial(operation, line);

			operate_on_line(line - window.base, operation->clean && !lose,
					operation->invalidate);
		}
	}
	lock_release(&model_lock);
}

struct window model_window(void)
{
	struct window copy;

	lock_acquire(&model_lock);
	copy = window;
	lock_release(&model_lock);
	return copy;
}

void model_stop(void)
{
	lock_acquire(&model_lock);
	window.line_size = 0;
	lock_release(&model_lock);
}

static bool in_target(const struct call *call, uint64_t base, uint64_t size)
{
	uint64_t target = call->settings.value[KEY_TARGET_BASE];
	uint64_t target_size = call->settings.value[KEY_TARGET_SIZE];

	return base >= target && base - target < target_size &&
	       size <= target_size - (base - target);
}

static bool is_window(const struct call *call)
{
	uint64_t base = call->arg[1];
	uint64_t size = call->arg[2];
	uint64_t line_size = call->arg[3];

	if (line_size < LINE_MIN || line_size > LINE_LIMIT || line_size & (line_size - 1))
		return false;
	return size <= WINDOW_LIMIT && in_target(call, base, size) &&
	       !((base | size) & (line_size - 1));
}

/* From here on the window is modelled, and all of it is clean. */
static void start(const struct call *call)
{
	window = (struct window){ call->arg[1], call->arg[2], call->arg[3] };
	memcpy(media, (const void *)window.base, window.size);
	memcpy(synced, media, window.size);
}

void vendor_model(struct call *call)
{
	if (call->arg[2] == 0) {
		model_stop();
		call_return(call, SMCCC_SUCCESS);
		return;
	}
	if (!is_window(call)) {
		call_return(call, SMCCC_INVALID_PARAMETER);
		return;
	}
	lock_acquire(&model_lock);
	start(call);
	lock_release(&model_lock);
	call_return(call, SMCCC_SUCCESS);
}

/* The bytes of media that a call is about, or NULL; model_lock held. */
static uint8_t *media_of(const struct call *call, uint64_t limit)
{
	uint64_t offset = call->arg[1] - window.base;
	uint64_t length = call->arg[2];

	if (!window.line_size || length == 0 || length > limit)
		return NULL;
	if (call->arg[1] < window.base || offset >= window.size || length > window.size - offset)
		return NULL;
	return media + offset;
}

void vendor_media_read(struct call *call)
{
	uint64_t bytes[BYTES_PER_CALL / WORD] = { 0 };
	const uint8_t *from;

	lock_acquire(&model_lock);
	from = media_of(call, BYTES_PER_CALL);
	if (from)
		memcpy(bytes, from, call->arg[2]);
	lock_release(&model_lock);

	call_return(call, from ? SMCCC_SUCCESS : SMCCC_INVALID_PARAMETER);
	if (from)
		memcpy(&call->x[1], bytes, sizeof(bytes));
}

void vendor_media_write(struct call *call)
{
	uint8_t *to;

	lock_acquire(&model_lock);
	to = media_of(call, BYTES_PER_CALL);
	if (to)
		memcpy(to, &call->x[3], call->arg[2]);
	lock_release(&model_lock);
	call_return(call, to ? SMCCC_SUCCESS : SMCCC_INVALID_PARAMETER);
}

/* Outside the window, so that a buffer is plain memory. */
static bool is_buffer(const struct call *call)
{
	uint64_t base = call->arg[3];
	uint64_t size = call->arg[2];

	return in_target(call, base, size) &&
	       (base >= window.base + window.size || base + size <= window.base);
}

/* The same for many bytes, as a device would move them. */
void vendor_media_copy(struct call *call)
{
	uint8_t *buffer = (uint8_t *)call->arg[3];
	uint8_t *bytes;
	bool good;

	lock_acquire(&model_lock);
	bytes = media_of(call, BYTES_PER_COPY);
	good = bytes && is_buffer(call) && call->arg[4] <= 1;
	if (good)
		memcpy(call->arg[4] ? bytes : buffer, call->arg[4] ? buffer : bytes, call->arg[2]);
	lock_release(&model_lock);
	call_return(call, good ? SMCCC_SUCCESS : SMCCC_INVALID_PARAMETER);
}
