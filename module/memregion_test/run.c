// SPDX-License-Identifier: GPL-2.0-only
/*
 * One request at work: the loop over its calls, in the writer's own context or in
 * several threads at once, and what the samples add up to.
 *
 * A signal to the writer ends the work between two calls. No thread outlives the
 * write that started it.
 *
 * What counts is a signal, task_sigpending(): signal_pending() is also true for a task
 * that is to leave the kernel for a moment, for a livepatch or for its task work, and
 * that is no reason to give a measurement up.
 */
#include "config_check.h"

#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/math.h>
#include <linux/minmax.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "kernel_compat.h"
#include "memregion_test.h"

#define SIGNAL_POLL_MS	10

/**
 * struct team - the threads of one request
 * @run: what they work on
 * @running: threads that are not done yet
 * @done: completed by the last one
 */
struct team {
	struct run *run;
	atomic_t running;
	struct completion done;
};

/**
 * struct worker - one thread
 * @team: where it belongs
 * @task: the thread itself; we hold a reference until it has ended
 * @samples: its part of the samples: time of each call in ns
 * @nr_samples: how many there are in the end
 * @tally: what it saw in the end
 */
struct worker {
	struct team *team;
	struct task_struct *task;
	u64 *samples;
	u32 nr_samples;
	struct invalidate_tally tally;
};

/* In a thread no signal is ever pending; there it is the writer who says stop. */
bool run_should_stop(const struct run *run)
{
	return READ_ONCE(run->stop) || task_sigpending(current);
}

static void tally_call(const struct run *run, struct invalidate_tally *tally, int ret,
		       bool provider)
{
	tally->provider &= provider;
	if (ret)
		tally->error = ret;
	else if (run->request->way->needs_provider && !provider)
		tally->vacuous++;
	else
		tally->completed++;
}

/*
 * A success may be nobody's, so we look for a provider between any two calls: the
 * look after one call is also the look before the next. Every way pays for that, so
 * that they differ in nothing but the call.
 *
 * The tally is kept on the stack, for threads must not share its cache lines.
 */
static void work(struct worker *worker)
{
	const struct run *run = worker->team->run;
	bool provider_before = provider_registered();
	struct invalidate_tally tally = { .provider = provider_before };
	u32 i;

	for (i = 0; i < run->request->count && !tally.error; i++) {
		bool provider_after;
		int ret = -EINTR;
		u64 ns = 0;

		if (!run_should_stop(run))
			ret = run->request->way->call(run, &tally, &ns);
		if (ret == -EINTR && run_should_stop(run)) {
			tally.interrupted = true;
			break;
		}

		worker->samples[i] = ns;
		provider_after = provider_registered();
		tally_call(run, &tally, ret, provider_before && provider_after);
		provider_before = provider_after;
		cond_resched();
	}
	worker->nr_samples = i;
	worker->tally = tally;
}

static int work_in_thread(void *data)
{
	struct worker *worker = data;

	work(worker);
	if (atomic_dec_and_test(&worker->team->running))
		complete(&worker->team->done);
	return 0;
}

static unsigned int next_online_cpu(unsigned int cpu)
{
	cpu = cpumask_next(cpu, cpu_online_mask);
	return cpu < nr_cpu_ids ? cpu : cpumask_first(cpu_online_mask);
}

/*
 * Create all threads before the first one starts. Each is bound to the next online
 * CPU; should that CPU go offline meanwhile, the scheduler moves the thread.
 */
static int create_threads(struct worker *workers, u32 nr_workers)
{
	unsigned int cpu = next_online_cpu(-1);
	struct task_struct *task;
	u32 i;

	for (i = 0; i < nr_workers; i++, cpu = next_online_cpu(cpu)) {
		task = kthread_create(work_in_thread, &workers[i], "memregion_test/%u", i);
		if (IS_ERR(task))
			return PTR_ERR(task);
		kthread_bind(task, cpu);
		workers[i].task = get_task_struct(task);
	}
	return 0;
}

/* Wait until each thread has left our code; one that never started just ends. */
static void end_threads(struct worker *workers, u32 nr_workers)
{
	u32 i;

	for (i = 0; i < nr_workers && workers[i].task; i++) {
		kthread_stop(workers[i].task);
		put_task_struct(workers[i].task);
	}
}

/*
 * True once all threads are done, false if a signal came first. Whatever else wakes an
 * interruptible sleep goes on doing so until we are back in user space: from then on
 * we look for signals now and then, and sleep so that only a fatal one wakes us.
 */
static bool wait_for_threads(struct team *team)
{
	unsigned long poll = msecs_to_jiffies(SIGNAL_POLL_MS);
	long left = wait_for_completion_interruptible(&team->done);

	if (!left)
		return true;
	while (left <= 0 && !task_sigpending(current))
		left = wait_for_completion_killable_timeout(&team->done, poll);
	return left > 0;
}

static int work_in_threads(struct team *team, struct worker *workers, u32 nr_workers)
{
	int ret;
	u32 i;

	ret = create_threads(workers, nr_workers);
	if (ret)
		goto end_threads;

	for (i = 0; i < nr_workers; i++)
		wake_up_process(workers[i].task);
	if (!wait_for_threads(team)) {
		WRITE_ONCE(team->run->stop, true);
		/*
		 * Not left to kthread_stop(): a thread that has not run yet when it
		 * is told to stop never runs, and says nothing of its interruption.
		 */
		wait_for_completion(&team->done);
	}

end_threads:
	end_threads(workers, nr_workers);
	return ret;
}

/* Sum up what the threads saw, and move their samples together. */
static u32 collect(struct worker *workers, u32 nr_workers, u64 *samples,
		   struct invalidate_tally *sum)
{
	u32 nr_samples = 0;
	u32 i;

	*sum = (struct invalidate_tally) { .provider = true };
	for (i = 0; i < nr_workers; i++) {
		const struct invalidate_tally *tally = &workers[i].tally;

		memmove(samples + nr_samples, workers[i].samples,
			workers[i].nr_samples * sizeof(*samples));
		nr_samples += workers[i].nr_samples;

		sum->error = sum->error ?: tally->error;
		sum->completed += tally->completed;
		sum->vacuous += tally->vacuous;
		sum->interrupted |= tally->interrupted;
		sum->provider &= tally->provider;
		sum->fw_calls += tally->fw_calls;
		sum->fw_busy += tally->fw_busy;
		sum->fw_rate_limited += tally->fw_rate_limited;
		/* Of several threads' last statuses, one that tells of trouble. */
		sum->fw_last_status = sum->fw_last_status ?: tally->fw_last_status;
	}
	if (sum->interrupted && !sum->error)
		sum->error = -EINTR;
	return nr_samples;
}

/*
 * The smallest value that at least @rank samples do not exceed, found by halving the
 * range of values: no second buffer and no sorting of a million numbers, and between
 * two passes others get the CPU.
 */
static u64 sample_of_rank(const u64 *samples, u32 nr_samples, u32 rank, u64 low, u64 high)
{
	while (low < high) {
		u64 middle = low + (high - low) / 2;
		u32 below = 0;
		u32 i;

		for (i = 0; i < nr_samples; i++)
			below += samples[i] <= middle;
		if (below >= rank)
			high = middle;
		else
			low = middle + 1;
		cond_resched();
	}
	return low;
}

static u64 percentile(const u64 *samples, u32 nr_samples, u32 percent,
		      const struct invalidate_times *ns)
{
	u32 rank = DIV_ROUND_UP(nr_samples * percent, 100);

	return sample_of_rank(samples, nr_samples, rank, ns->min, ns->max);
}

static void summarise(const u64 *samples, u32 nr_samples, struct invalidate_times *ns)
{
	u32 i;

	if (!nr_samples)
		return;
	ns->min = U64_MAX;
	for (i = 0; i < nr_samples; i++) {
		ns->min = min(ns->min, samples[i]);
		ns->max = max(ns->max, samples[i]);
		ns->total += samples[i];
	}
	ns->p50 = percentile(samples, nr_samples, 50, ns);
	ns->p99 = percentile(samples, nr_samples, 99, ns);
}

static int run_workers(struct run *run, struct worker *workers, u64 *samples,
		       struct invalidate_result *result)
{
	const struct invalidate_request *request = run->request;
	struct team team = { .run = run, .running = ATOMIC_INIT(request->threads) };
	int ret = 0;
	u32 i;

	init_completion(&team.done);
	for (i = 0; i < request->threads; i++) {
		workers[i].team = &team;
		workers[i].samples = samples + (size_t)i * request->count;
	}

	if (request->threads == 1)
		work(&workers[0]);
	else
		ret = work_in_threads(&team, workers, request->threads);
	if (ret)
		return ret;

	i = collect(workers, request->threads, samples, &result->tally);
	summarise(samples, i, &result->ns);
	return 0;
}

/**
 * run_invalidate() - do what a request says
 * @request: the request, within its bounds
 * @result: zeroed; gets the outcome, which may be an error before the first call
 */
void run_invalidate(const struct invalidate_request *request,
		    struct invalidate_result *result)
{
	struct run run = { .request = request };
	struct worker *workers;
	u64 *samples;
	int ret;

	/* Of many requests in one write, a signal ends all: preparing calls firmware, too. */
	ret = -EINTR;
	if (run_should_stop(&run))
		goto fail;
	ret = request->way->prepare(&run);
	if (ret)
		goto fail;

	ret = -ENOMEM;
	samples = kvmalloc_array((size_t)request->count * request->threads, sizeof(*samples),
				 GFP_KERNEL_ACCOUNT);
	if (!samples)
		goto finish;
	workers = kvcalloc(request->threads, sizeof(*workers), GFP_KERNEL_ACCOUNT);
	if (!workers)
		goto free_samples;

	ret = run_workers(&run, workers, samples, result);

	kvfree(workers);
free_samples:
	kvfree(samples);
finish:
	if (request->way->finish)
		request->way->finish(&run);
fail:
	if (ret) {
		result->tally.error = ret;
		result->tally.provider = provider_registered();
		/* Creating a thread is interruptible as well. */
		result->tally.interrupted = ret == -EINTR;
	}
}
