// SPDX-License-Identifier: GPL-2.0-only
/*
 * The files "memory_cached" and "memory_noncached": the bytes of physical memory, at
 * the offset that is their address, through a mapping of either kind. What a CPU has
 * written and what a device would see are two things until a line is cleaned; these
 * are the two eyes with which a test sees both, with no help from firmware.
 *
 * Two mappings of one page with different attributes cost the page its coherency,
 * which is what is to be looked at here. That is sound only where no third mapping is
 * hurt by it, so memory that the kernel maps or a driver owns is refused (mapping.c);
 * what is left is memory that was kept away from the kernel (reserved-memory with
 * no-map, or a window that nobody has taken). Firmware may keep its own things there;
 * therefore the files exist only if the module was loaded with raw_calls=1.
 *
 * No line is cleaned or invalidated: that is left to the call under test. A mapping
 * lives as long as one read or write, so that a prefetch through the cacheable one
 * does not go on between two of them.
 */
#include "config_check.h"

#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/io.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/uaccess.h>

#include <asm/barrier.h>

#include "memregion_test.h"

#define MAX_ACCESS_BYTES	((size_t)SZ_64K)	/* of one read or write */

/**
 * map_range() - map what one read or write is about
 * @file: either of the two files
 * @addr: base physical address
 * @size: length in bytes, within MAX_ACCESS_BYTES
 *
 * Return: the mapping, for memunmap(), or an error pointer
 */
static void *map_range(const struct file *file, loff_t addr, size_t size)
{
	unsigned long flags = (unsigned long)file_inode(file)->i_private;

	return addr < 0 ? ERR_PTR(-EINVAL) : map_free_memory(addr, size, flags);
}

/*
 * The barrier makes the access complete, as far as its kind of mapping reaches, before
 * the caller goes on: to the other file, to firmware, or to a CPU that is told.
 */
static void unmap_range(void *mapping)
{
	dsb(sy);
	memunmap(mapping);
}

static ssize_t memory_read(struct file *file, char __user *buf, size_t len, loff_t *pos)
{
	size_t size = min(len, MAX_ACCESS_BYTES);
	void *mapping;

	if (!size)
		return 0;
	mapping = map_range(file, *pos, size);
	if (IS_ERR(mapping))
		return PTR_ERR(mapping);
	len = size - copy_to_user(buf, mapping, size);
	unmap_range(mapping);
	*pos += len;
	return len ?: -EFAULT;
}

static ssize_t memory_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	size_t size = min(len, MAX_ACCESS_BYTES);
	void *mapping;

	if (!size)
		return 0;
	mapping = map_range(file, *pos, size);
	if (IS_ERR(mapping))
		return PTR_ERR(mapping);
	len = size - copy_from_user(mapping, buf, size);
	unmap_range(mapping);
	*pos += len;
	return len ?: -EFAULT;
}

static const struct file_operations memory_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.read = memory_read,
	.write = memory_write,
	/* There is no end to seek from: who reads here knows the address. */
	.llseek = no_seek_end_llseek,
};

void memory_create_files(struct dentry *dir)
{
	debugfs_create_file("memory_cached", 0600, dir, (void *)MEMREMAP_WB, &memory_fops);
	/* On arm64 write-combining is Normal Non-cacheable, bytes in any order. */
	debugfs_create_file("memory_noncached", 0600, dir, (void *)MEMREMAP_WC, &memory_fops);
}
