// SPDX-License-Identifier: GPL-2.0-only
/*
 * A modelled cache, which makes visible what clean and invalidate do.
 *
 * Of memory in a window that is being modelled, what the guest's loads and stores
 * see is the cache.  The memory behind it, "media", is a copy in firmware's memory that
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
#include "call.h"
#include "layout.h"
#include "mmu.h"
#include "model.h"
#include "smccc.h"
#include "string.h"

#define WINDOW_LIMIT	(MEDIA_SIZE / 2)
#define LINE_MIN	16UL
#define LINE_LIMIT	4096UL
#define WORD		sizeof(uint64_t)
#define BYTES_PER_CALL	64UL
#define BYTES_PER_COPY	0x10000UL

static struct lock model_lock;		/* all of the below, media included */
static struct window window;
static uint8_t *cached;			/* the window's memory, as we see it */
static uint8_t *media;
static uint8_t *synced;

static bool is_dirty(uint64_t offset)
{
	const uint64_t *cache = (const uint64_t *)(cached + offset);
	const uint64_t *known = (const uint64_t *)(synced + offset);

	for (uint64_t i = 0; i < window.line_size / WORD; i++)
		if (__atomic_load_n(&cache[i], __ATOMIC_RELAXED) != known[i])
			return true;
	return false;
}

/* Media gets the line; what was seen of it becomes its known content. */
static void clean_line(uint64_t offset)
{
	const uint64_t *cache = (const uint64_t *)(cached + offset);
	uint64_t *known = (uint64_t *)(synced + offset);
	uint64_t *to = (uint64_t *)(media + offset);

	for (uint64_t i = 0; i < window.line_size / WORD; i++) {
		known[i] = __atomic_load_n(&cache[i], __ATOMIC_RELAXED);
		to[i] = known[i];
	}
}

/* The cache gets the line.  False if the guest stored to it meanwhile. */
static bool fetch_clean_line(uint64_t offset)
{
	uint64_t *cache = (uint64_t *)(cached + offset);
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
	uint64_t *cache = (uint64_t *)(cached + offset);
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

/* What the cache holds counts as known to media, which never gets it. */
static void forget_line(uint64_t line)
{
	if (line >= window.base && line - window.base < window.size)
		memcpy(synced + (line - window.base), cached + (line - window.base),
		       window.line_size);
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
		if (operation->forget) {
			forget_line(first - window.line_size);
			forget_line((last & ~(window.line_size - 1)) + window.line_size);
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

static bool is_inside(uint64_t base, uint64_t size, uint64_t outer, uint64_t outer_size)
{
	return base >= outer && base - outer < outer_size && size <= outer_size - (base - outer);
}

/* The guest's: never firmware's own, and never a device's. */
static bool is_guest_memory(const struct call *call, uint64_t base, uint64_t size)
{
	const uint64_t *value = call->settings.value;
	uint64_t firmware = firmware_base();

	if (base + size > firmware && base < firmware + FIRMWARE_SIZE)
		return false;
	return is_inside(base, size, RAM_BASE, value[KEY_MEMORY_SIZE]) ||
	       is_inside(base, size, value[KEY_TARGET_BASE], value[KEY_TARGET_SIZE]);
}

static bool is_window(const struct call *call)
{
	uint64_t base = call->arg[1];
	uint64_t size = call->arg[2];
	uint64_t line_size = call->arg[3];

	if (line_size < LINE_MIN || line_size > LINE_LIMIT || line_size & (line_size - 1))
		return false;
	return size <= WINDOW_LIMIT && is_guest_memory(call, base, size) &&
	       !((base | size) & (line_size - 1));
}

/* From here on the window is modelled, and all of it is clean. */
static void start(const struct call *call)
{
	window = (struct window){ call->arg[1], call->arg[2], call->arg[3] };
	cached = mmu_show(VIEW_WINDOW, window.base, window.size);
	media = (uint8_t *)firmware_base() + MEDIA_OFFSET;
	synced = media + WINDOW_LIMIT;
	memcpy(media, cached, window.size);
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

	return is_guest_memory(call, base, size) &&
	       (base >= window.base + window.size || base + size <= window.base);
}

/* The same for many bytes, as a device would move them. */
void vendor_media_copy(struct call *call)
{
	uint8_t *buffer;
	uint8_t *bytes;
	bool good;

	lock_acquire(&model_lock);
	bytes = media_of(call, BYTES_PER_COPY);
	good = bytes && is_buffer(call) && call->arg[4] <= 1;
	if (good) {
		buffer = mmu_show(VIEW_BUFFER, call->arg[3], call->arg[2]);
		memcpy(call->arg[4] ? bytes : buffer, call->arg[4] ? buffer : bytes, call->arg[2]);
	}
	lock_release(&model_lock);
	call_return(call, good ? SMCCC_SUCCESS : SMCCC_INVALID_PARAMETER);
}
