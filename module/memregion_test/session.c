// SPDX-License-Identifier: GPL-2.0-only
/*
 * One open file: the text of a write becomes records, all of them parsed before the
 * first is run; what a read returns is printed from the records.
 *
 * The state is the open file's own, so users at the same time don't meet, and a
 * killed process leaves nothing behind.
 */
#include "config_check.h"

#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "kernel_compat.h"
#include "memregion_test.h"
#include "scratch.h"

/**
 * struct session - state of one open file
 * @type: what its requests are; constant
 * @lock: protects @records and @nr_records, and is held while requests run, so that
 *	  writes through the same open file come one after the other. Waits for it
 *	  are interruptible; nothing of this module is taken outside it.
 * @records: of the last write that was accepted
 * @nr_records: how many
 */
struct session {
	const struct request_type *type;
	struct mutex lock;	/* one write or read at a time */
	void *records;
	unsigned int nr_records;
};

static void *session_record(const struct session *session, loff_t index)
{
	return session->records + index * session->type->record_size;
}

static void *session_seq_start(struct seq_file *m, loff_t *pos)
{
	struct session *session = m->private;

	if (mutex_lock_interruptible(&session->lock))
		return ERR_PTR(-ERESTARTSYS);
	return *pos < session->nr_records ? session_record(session, *pos) : NULL;
}

static void *session_seq_next(struct seq_file *m, void *record, loff_t *pos)
{
	const struct session *session = m->private;

	++*pos;
	return *pos < session->nr_records ? session_record(session, *pos) : NULL;
}

static void session_seq_stop(struct seq_file *m, void *record)
{
	struct session *session = m->private;

	/* Called after a failed start, too, and then the lock is not ours. */
	if (!IS_ERR(record))
		mutex_unlock(&session->lock);
}

static int session_seq_show(struct seq_file *m, void *record)
{
	const struct session *session = m->private;

	if (record != session->records)
		seq_putc(m, '\n');
	session->type->show(m, record);
	return 0;
}

static const struct seq_operations session_seq_ops = {
	.start = session_seq_start,
	.next = session_seq_next,
	.stop = session_seq_stop,
	.show = session_seq_show,
};

static int session_open(struct inode *inode, struct file *file)
{
	struct session *session = __seq_open_private(file, &session_seq_ops, sizeof(*session));

	if (!session)
		return -ENOMEM;
	session->type = inode->i_private;
	mutex_init(&session->lock);
	return 0;
}

static int session_release(struct inode *inode, struct file *file)
{
	struct seq_file *m = file->private_data;
	struct session *session = m->private;

	kvfree(session->records);
	mutex_destroy(&session->lock);
	return seq_release_private(inode, file);
}

/**
 * request_text() - copy the text of a write
 * @buf: what is written
 * @len: how much, within MAX_REQUEST_BYTES
 *
 * A zero byte would end it early, so it is refused.
 *
 * Return: the text, for kfree(), or an error pointer
 */
char *request_text(const char __user *buf, size_t len)
{
	char *text;

	if (len > MAX_REQUEST_BYTES)
		return ERR_PTR(-E2BIG);
	text = memdup_user_nul(buf, len);
	if (!IS_ERR(text) && memchr(text, '\0', len)) {
		kfree(text);
		return ERR_PTR(-EINVAL);
	}
	return text;
}

static unsigned int count_lines(const char *text)
{
	unsigned int nr_lines = 1;

	while ((text = strchr(text, '\n'))) {
		nr_lines++;
		text++;
	}
	return nr_lines;
}

/*
 * One record per line that is not blank. Returns how many, or a negative errno if
 * any line is malformed or there is none at all.
 */
static int session_parse(const struct session *session, char *text, void *records)
{
	const struct request_type *type = session->type;
	int nr_records = 0;
	char *line;
	int ret;

	while ((line = strsep(&text, "\n"))) {
		if (!line[strspn(line, " \t")])
			continue;
		ret = type->parse(line, records + nr_records * type->record_size);
		if (ret)
			return ret;
		nr_records++;
	}
	return nr_records ?: -EINVAL;
}

/* Takes over @records, on success only. */
static int session_run(struct session *session, void *records, unsigned int nr_records)
{
	unsigned int i;

	if (mutex_lock_interruptible(&session->lock))
		return -ERESTARTSYS;

	for (i = 0; i < nr_records; i++) {
		struct call_in_flight call;

		call_begin(&call);
		session->type->run(records + i * session->type->record_size);
		call_end(&call);
	}
	kvfree(session->records);
	session->records = records;
	session->nr_records = nr_records;

	mutex_unlock(&session->lock);
	return 0;
}

static ssize_t session_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	struct seq_file *m = file->private_data;
	struct session *session = m->private;
	void *records;
	char *text;
	int ret;

	text = request_text(buf, len);
	if (IS_ERR(text))
		return PTR_ERR(text);
	records = kvcalloc(count_lines(text), session->type->record_size, GFP_KERNEL_ACCOUNT);
	if (!records) {
		ret = -ENOMEM;
		goto free_text;
	}

	ret = session_parse(session, text, records);
	if (ret < 0)
		goto free_records;
	ret = session_run(session, records, ret);
	if (ret)
		goto free_records;

	kfree(text);
	/* What is read next is this result, from its beginning. */
	*pos = 0;
	return len;

free_records:
	kvfree(records);
free_text:
	kfree(text);
	return ret;
}

const struct file_operations session_fops = {
	.owner = THIS_MODULE,
	.open = session_open,
	.read = seq_read,
	.write = session_write,
	.llseek = seq_lseek,
	.release = session_release,
};
