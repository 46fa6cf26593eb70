/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of memregion_test.ko share.
 *
 *   main.c       module and debugfs tree; knows no topic beyond its file
 *   session.c    one open file: text in, requests parsed and run, text out
 *   parse.c      key=value words and numbers
 *   invalidate.c the request "invalidate": its words, its result block
 *   run.c        the loop: threads, timing samples, how it stops
 *   via_*.c      the three ways to clean and invalidate a range
 *   cpu.c        what the CPUs are: line size, address width
 *   mapping.c    what memory may be mapped; nobody else maps any
 *   info.c       what this kernel and this firmware are
 *   raw.c        the request "smccc": any call, only if the module was told so
 *   memory.c     bytes of physical memory, cached or not, only if so told as well
 *   scratch.c    the file "scratch": memory of our own, and its bytes
 *   scratch_memory.c  where that comes from, its guards, and when it may go back
 */
#ifndef MEMREGION_TEST_H
#define MEMREGION_TEST_H

#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/seq_file.h>
#include <linux/types.h>

#include "smccc_memregion.h"

#define MAX_REQUEST_BYTES	4096U		/* of one write */
#define MAX_CALLS		1000000U	/* count x threads of one request */
#define MAX_THREADS		256U

/* --- session.c ------------------------------------------------------------- */

/**
 * struct request_type - what a file that takes requests does with one line
 * @record_size: bytes of a record, which holds a request and its result
 * @parse: fill a zeroed record from one line, without side effects; the line may be
 *	   cut up. A negative errno refuses the whole write.
 * @run: do it; whatever happens is the record's business
 * @show: print the record's result
 */
struct request_type {
	size_t record_size;
	int (*parse)(char *line, void *record);
	void (*run)(void *record);
	void (*show)(struct seq_file *m, const void *record);
};

extern const struct file_operations session_fops;

char *request_text(const char __user *buf, size_t len);

/* --- parse.c --------------------------------------------------------------- */

int parse_number(const char *text, u64 *value);

/**
 * typedef parse_word_fn - take one key=value pair
 * @record: the record to fill
 * @key: index of the key in the list of keys
 * @value: text after the equals sign
 *
 * Return: 0 or a negative errno
 */
typedef int (*parse_word_fn)(void *record, unsigned int key, const char *value);

int parse_line(char *line, const char * const *keys, unsigned int nr_keys,
	       u32 required, parse_word_fn take, void *record);

/* --- invalidate.c ---------------------------------------------------------- */

extern const struct request_type invalidate_type;

/**
 * struct invalidate_request - one line, as parsed
 * @addr: base physical address
 * @size: length in bytes
 * @way: how to do it
 * @count: calls of each thread
 * @threads: threads at work at the same time
 * @dry_run: ask firmware to change nothing
 */
struct invalidate_request {
	u64 addr;
	u64 size;
	const struct invalidate_way *way;
	u32 count;
	u32 threads;
	bool dry_run;
};

/**
 * struct invalidate_tally - what one thread saw, and summed up what all saw
 * @error: 0 or the first negative errno, which also ended the thread
 * @completed: calls that returned 0 and were really done
 * @vacuous: calls that returned 0 without anybody to do them
 * @interrupted: told to stop before the end
 * @provider: a provider was registered before and after every call
 * @fw_calls: firmware calls (via smccc only, like all that follow)
 * @fw_busy: of those, answered BUSY
 * @fw_rate_limited: of those, answered RATE_LIMITED
 * @fw_last_status: of the last one
 */
struct invalidate_tally {
	int error;
	u64 completed;
	u64 vacuous;
	bool interrupted;
	bool provider;
	u64 fw_calls;
	u64 fw_busy;
	u64 fw_rate_limited;
	s32 fw_last_status;
};

/* Time of the calls alone, in ns; all 0 if there was no call. */
struct invalidate_times {
	u64 min;
	u64 p50;
	u64 p99;
	u64 max;
	u64 total;
};

struct invalidate_result {
	struct invalidate_tally tally;
	struct invalidate_times ns;
};

/* --- run.c ----------------------------------------------------------------- */

/**
 * struct run - one request at work
 * @request: what to do; constant
 * @conduit: where via smccc calls; constant
 * @line_size: step of via va in bytes; constant
 * @mapping: the whole range as via va sees it, if one piece holds it; constant
 * @stop: set once by the writer's thread to end the others early
 */
struct run {
	const struct invalidate_request *request;
	enum arm_smccc_conduit conduit;
	unsigned long line_size;
	void *mapping;
	bool stop;
};

/**
 * struct invalidate_way - one way to clean and invalidate a range
 * @name: as in via=
 * @needs_provider: returns 0, and does nothing, while no provider is registered
 * @prepare: can it be done at all, and what is needed for it; once per request.
 *	     0 or a negative errno; called in the writer's context
 * @call: do it once and say how long that alone took, in ns. 0 or a negative errno;
 *	  -EINTR if run_should_stop() ended it half-way
 * @finish: undo a successful @prepare; may be missing
 */
struct invalidate_way {
	const char *name;
	bool needs_provider;
	int (*prepare)(struct run *run);
	int (*call)(const struct run *run, struct invalidate_tally *tally, u64 *ns);
	void (*finish)(struct run *run);
};

void run_invalidate(const struct invalidate_request *request,
		    struct invalidate_result *result);
bool run_should_stop(const struct run *run);

/* --- via_*.c --------------------------------------------------------------- */

extern const struct invalidate_way via_memregion;
extern const struct invalidate_way via_smccc;
extern const struct invalidate_way via_va;

int clean_inv_lines(unsigned long start, unsigned long end, unsigned long line_size);

bool framework_present(void);
bool provider_registered(void);

/* --- cpu.c ----------------------------------------------------------------- */

unsigned long dcache_line_bytes(void);
unsigned int physical_address_bits(void);
u64 physical_address_end(void);

/* --- mapping.c ------------------------------------------------------------- */

bool is_addressable(u64 addr, u64 size);
bool is_partly_ram(u64 addr, u64 size);
void *map_memory(u64 addr, u64 size);
void *map_free_memory(u64 addr, u64 size, unsigned long flags);

/* --- info.c, raw.c, memory.c, scratch.c, main.c ----------------------------- */

void info_create_files(struct dentry *dir);
extern const struct request_type raw_type;
void memory_create_files(struct dentry *dir);
void scratch_create_files(struct dentry *dir);
extern unsigned long scratch_max_bytes;
extern bool raw_calls;

#endif /* MEMREGION_TEST_H */
