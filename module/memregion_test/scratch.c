// SPDX-License-Identifier: GPL-2.0-only
/*
 * The file "scratch": a write of "size=N [node=M]" gives the open file memory of its
 * own (scratch_memory.c), a read says where it is, and its bytes are read and written
 * at far offsets of the same open file, cacheable or not. So the memory is reached by
 * who has the open file, or inherited it, and by nobody else; and nothing but that
 * memory is reached. It goes with the last close, however the owner ends.
 *
 * No raw_calls are needed: whoever reads and writes here hurts nobody.
 *
 * The non-cacheable view is a second mapping of memory that the kernel itself maps
 * cacheable, and that mapping stays. So the CPU may fetch a line into its cache again
 * at any time, also just after it was invalidated: a difference between the views shows
 * that a line was in a cache, and was not cleaned or not invalidated; that they agree
 * shows nothing. What a cache beyond the Point of Coherency holds is seen in neither.
 */
#include "config_check.h"

#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/nodemask.h>
#include <linux/numa.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include <asm/barrier.h>

#include "kernel_compat.h"
#include "memregion_test.h"
#include "scratch.h"

/* File offsets of the bytes at physical address 0: far above any text, and apart. */
#define VIEW_CACHED		((loff_t)BIT_ULL(60))
#define VIEW_NONCACHED		((loff_t)BIT_ULL(61))

#define MAX_ACCESS_BYTES	((size_t)SZ_64K)	/* of one read or write of bytes */
#define MAX_ANSWER_BYTES	160			/* all keys, all digits */

/**
 * struct scratch_file - state of one open file
 * @lock: one request at a time. Waits for it are interruptible; scratch_lock is taken
 *	  inside.
 * @scratch: NULL, until a request has put it there for good; read without the lock
 */
struct scratch_file {
	struct mutex lock;	/* one request at a time */
	struct scratch *scratch;
};

struct scratch_request {
	u64 size;
	int node;
};

enum { KEY_SIZE, KEY_NODE };

static const char * const keys[] = {
	[KEY_SIZE] = "size",
	[KEY_NODE] = "node",
};

static int take_word(void *record, unsigned int key, const char *value)
{
	struct scratch_request *request = record;
	u64 number;
	int ret = parse_number(value, &number);

	if (ret)
		return ret;
	if (key == KEY_SIZE) {
		request->size = number;
		return number ? 0 : -EINVAL;
	}
	request->node = min_t(u64, number, INT_MAX);
	return 0;
}

static int parse_request(char *text, struct scratch_request *request)
{
	char *line = strim(text);

	*request = (struct scratch_request) { .node = NUMA_NO_NODE };
	if (strchr(line, '\n'))
		return -EINVAL;
	return parse_line(line, keys, ARRAY_SIZE(keys), BIT(KEY_SIZE), take_word, request);
}

static int scratch_open(struct inode *inode, struct file *file)
{
	struct scratch_file *own = kzalloc(sizeof(*own), GFP_KERNEL_ACCOUNT);

	if (!own)
		return -ENOMEM;
	mutex_init(&own->lock);
	file->private_data = own;
	return 0;
}

static int scratch_release(struct inode *inode, struct file *file)
{
	struct scratch_file *own = file->private_data;

	if (own->scratch)
		scratch_retire(own->scratch);
	mutex_destroy(&own->lock);
	kfree(own);
	return 0;
}

/* Once; whoever wants other memory opens the file again. */
static int give_scratch(struct scratch_file *own, const struct scratch_request *request)
{
	struct scratch *scratch;
	int ret = 0;

	if (mutex_lock_interruptible(&own->lock))
		return -ERESTARTSYS;
	if (own->scratch) {
		ret = -EBUSY;
		goto unlock;
	}
	scratch = scratch_alloc(request->size, request->node);
	ret = PTR_ERR_OR_ZERO(scratch);
	if (!ret)
		/* Pairs with the acquire of who finds it. */
		smp_store_release(&own->scratch, scratch);
unlock:
	mutex_unlock(&own->lock);
	return ret;
}

static ssize_t write_request(struct scratch_file *own, const char __user *buf, size_t len,
			     loff_t *pos)
{
	struct scratch_request request;
	char *text = request_text(buf, len);
	int ret;

	if (IS_ERR(text))
		return PTR_ERR(text);
	ret = parse_request(text, &request);
	kfree(text);
	if (!ret)
		ret = give_scratch(own, &request);
	if (ret)
		return ret;
	/* What is read next is the answer, from its beginning. */
	*pos = 0;
	return len;
}

static ssize_t read_answer(struct scratch *scratch, char __user *buf, size_t len, loff_t *pos)
{
	char answer[MAX_ANSWER_BYTES];
	u64 damage;
	int used;

	used = scnprintf(answer, sizeof(answer), "addr=0x%llx\nsize=0x%llx\nnode=%d\n",
			 scratch->addr, scratch->size, scratch->node);
	if (scratch_guards_intact(scratch, &damage))
		used += scnprintf(answer + used, sizeof(answer) - used, "guards=intact\n");
	else
		used += scnprintf(answer + used, sizeof(answer) - used,
				  "guards=damaged\nfirst_damage=0x%llx\n", damage);
	return simple_read_from_buffer(buf, len, pos, answer, used);
}

/**
 * struct view - the bytes that one read or write is about
 * @start: where they are
 * @size: how many, within MAX_ACCESS_BYTES and within the memory
 * @alias: mapping to undo, if it is not the kernel's own
 */
struct view {
	void *start;
	size_t size;
	void *alias;
};

/* The pages that are touched; a mapping lives as long as one access. */
static void *map_noncached(struct scratch *scratch, u64 addr, size_t size)
{
	struct page *pages[MAX_ACCESS_BYTES / SZ_4K + 1];
	unsigned int nr_pages = DIV_ROUND_UP(offset_in_page(addr) + size, PAGE_SIZE);
	unsigned int i;

	for (i = 0; i < nr_pages; i++)
		pages[i] = phys_to_page(ALIGN_DOWN(addr, PAGE_SIZE) + i * PAGE_SIZE);
	WRITE_ONCE(scratch->has_alias, true);
	/* On arm64 write-combining is Normal Non-cacheable, bytes in any order. */
	return vmap(pages, nr_pages, VM_MAP, pgprot_writecombine(PAGE_KERNEL));
}

static int view_begin(struct scratch *scratch, loff_t pos, size_t len, struct view *view)
{
	bool noncached = pos >= VIEW_NONCACHED;
	u64 addr = pos - (noncached ? VIEW_NONCACHED : VIEW_CACHED);

	if (!scratch || addr < scratch->addr || addr - scratch->addr >= scratch->size)
		return -ENXIO;
	*view = (struct view) {
		.start = scratch_cached(scratch, addr),
		.size = min3((u64)len, scratch->addr + scratch->size - addr, (u64)MAX_ACCESS_BYTES),
	};
	if (!noncached)
		return 0;
	view->alias = map_noncached(scratch, addr, view->size);
	if (!view->alias)
		return -ENOMEM;
	view->start = view->alias + offset_in_page(addr);
	return 0;
}

/*
 * The barrier makes the access complete, as far as its kind of mapping reaches, before
 * the caller goes on: to the other view, to firmware, or to a CPU that is told.
 */
static void view_end(struct view *view)
{
	dsb(sy);
	vunmap(view->alias);
}

static ssize_t scratch_read(struct file *file, char __user *buf, size_t len, loff_t *pos)
{
	struct scratch_file *own = file->private_data;
	/* Pairs with the release of who has put it there. */
	struct scratch *scratch = smp_load_acquire(&own->scratch);
	struct view view;
	int ret;

	if (*pos < VIEW_CACHED)
		return scratch ? read_answer(scratch, buf, len, pos) : 0;
	if (!len)
		return 0;
	ret = view_begin(scratch, *pos, len, &view);
	if (ret)
		return ret;
	len = view.size - copy_to_user(buf, view.start, view.size);
	view_end(&view);
	*pos += len;
	return len ?: -EFAULT;
}

static ssize_t scratch_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	struct scratch_file *own = file->private_data;
	/* As for a read. */
	struct scratch *scratch = smp_load_acquire(&own->scratch);
	struct view view;
	int ret;

	if (*pos < VIEW_CACHED)
		return write_request(own, buf, len, pos);
	if (!len)
		return 0;
	ret = view_begin(scratch, *pos, len, &view);
	if (ret)
		return ret;
	len = view.size - copy_from_user(view.start, buf, view.size);
	view_end(&view);
	*pos += len;
	return len ?: -EFAULT;
}

static const struct file_operations scratch_fops = {
	.owner = THIS_MODULE,
	.open = scratch_open,
	.read = scratch_read,
	.write = scratch_write,
	/* There is no end to seek from: who looks at bytes knows their address. */
	.llseek = no_seek_end_llseek,
	.release = scratch_release,
};

/*
 * What reserve_mem= on the kernel's command line has set aside for tests, which the
 * kernel knows by name only: blocks of name, addr, size. Neither zeroed nor guarded.
 */
static int reserved_show(struct seq_file *m, void *unused)
{
	static const char * const names[] = {
		"memregion", "memregion0", "memregion1", "memregion2", "memregion3",
		"memregion4", "memregion5", "memregion6", "memregion7",
	};
	bool is_first = true;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		phys_addr_t addr, size;

		if (!find_reserved_memory(names[i], &addr, &size))
			continue;
		seq_printf(m, "%sname=%s\naddr=0x%llx\nsize=0x%llx\n", is_first ? "" : "\n",
			   names[i], (u64)addr, (u64)size);
		is_first = false;
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(reserved);

void scratch_create_files(struct dentry *dir)
{
	debugfs_create_file("scratch", 0600, dir, NULL, &scratch_fops);
	debugfs_create_file("reserved", 0400, dir, NULL, &reserved_fops);
}
