// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dispatch.  One table says which functions there are and when each is
 * offered; both discovery (ARCH_FEATURES, PSCI_FEATURES) and the calls
 * themselves go by it, so that they cannot disagree.
 */
#include <stddef.h>

#include "cache.h"
#include "call.h"
#include "compiler.h"
#include "dispatch.h"
#include "model.h"
#include "psci.h"
#include "record.h"
#include "smccc.h"
#include "sysreg.h"
#include "vendor.h"

static bool always(const struct settings *settings)
{
	(void)settings;
	return true;
}

static bool since_1_0(const struct settings *settings)
{
	return settings->value[KEY_SMCCC_VERSION] >= VERSION_1_0;
}

static bool since_1_1(const struct settings *settings)
{
	return settings->value[KEY_SMCCC_VERSION] >= VERSION_1_1;
}

static bool clean_inv_offered(const struct settings *settings)
{
	return since_1_1(settings) && settings->value[KEY_CLEAN_INV];
}

static bool attributes_offered(const struct settings *settings)
{
	return since_1_1(settings) && settings->value[KEY_ATTRIBUTES];
}

static void smccc_version(struct call *call)
{
	if (fault_hits(&call->faults, FAULT_VERSION))
		call_return(call, (int32_t)call->faults.parameter[FAULT_VERSION]);
	else
		call_return(call, (int64_t)call->settings.value[KEY_SMCCC_VERSION]);
}

static void smccc_arch_features(struct call *call);
static void psci_features(struct call *call);

static const struct service {
	uint32_t fid;
	bool (*offered)(const struct settings *settings);
	void (*handle)(struct call *call);
	enum counter counter;
	unsigned int faults;	/* FAULT_ON_* */
} services[] = {
	{ SMCCC_VERSION, since_1_1, smccc_version, COUNT_SMCCC_VERSION, FAULT_ON_VERSION },
	{ SMCCC_ARCH_FEATURES, since_1_1, smccc_arch_features, COUNT_ARCH_FEATURES,
	  FAULT_ON_FEATURES },
	{ SMCCC_CLEAN_INV, clean_inv_offered, clean_inv, COUNT_CLEAN_INV, FAULT_ON_CLEAN_INV },
	{ SMCCC_CLEAN_INV_ATTRIBUTES, attributes_offered, clean_inv_attributes, COUNT_ATTRIBUTES,
	  FAULT_ON_ATTRIBUTES },

	{ PSCI_VERSION, always, psci_version, COUNT_NOTHING, 0 },
	{ PSCI_FEATURES, since_1_0, psci_features, COUNT_NOTHING, 0 },
	{ PSCI_CPU_SUSPEND, always, psci_forward, COUNT_NOTHING, 0 },
	{ PSCI_CPU_SUSPEND64, always, psci_forward, COUNT_NOTHING, 0 },
	{ PSCI_CPU_OFF, always, psci_cpu_off, COUNT_NOTHING, 0 },
	{ PSCI_CPU_ON, always, psci_cpu_on, COUNT_NOTHING, 0 },
	{ PSCI_CPU_ON64, always, psci_cpu_on, COUNT_NOTHING, 0 },
	{ PSCI_AFFINITY_INFO, always, psci_forward, COUNT_NOTHING, 0 },
	{ PSCI_AFFINITY_INFO64, always, psci_forward, COUNT_NOTHING, 0 },
	{ PSCI_MIGRATE_INFO_TYPE, always, psci_forward, COUNT_NOTHING, 0 },
	{ PSCI_SYSTEM_OFF, always, psci_forward, COUNT_NOTHING, 0 },
	{ PSCI_SYSTEM_RESET, always, psci_forward, COUNT_NOTHING, 0 },

	{ VENDOR_UID, always, vendor_uid, COUNT_NOTHING, 0 },
	{ VENDOR_REVISION, always, vendor_revision, COUNT_NOTHING, 0 },
	{ VENDOR_GET, always, vendor_get, COUNT_NOTHING, 0 },
	{ VENDOR_SET, always, vendor_set, COUNT_NOTHING, 0 },
	{ VENDOR_RESET, always, vendor_reset, COUNT_NOTHING, 0 },
	{ VENDOR_QUEUE, always, vendor_queue, COUNT_NOTHING, 0 },
	{ VENDOR_LOG, always, vendor_log, COUNT_NOTHING, 0 },
	{ VENDOR_MODEL, always, vendor_model, COUNT_NOTHING, 0 },
	{ VENDOR_MEDIA_READ, always, vendor_media_read, COUNT_NOTHING, 0 },
	{ VENDOR_MEDIA_WRITE, always, vendor_media_write, COUNT_NOTHING, 0 },
	{ VENDOR_MEDIA_COPY, always, vendor_media_copy, COUNT_NOTHING, 0 },
};

static const struct service *find(uint32_t fid, const struct settings *settings)
{
	for (size_t i = 0; i < ARRAY_SIZE(services); i++)
		if (services[i].fid == fid && services[i].offered(settings))
			return &services[i];
	return NULL;
}

/* Whether this exact identifier is a function that is offered now. */
static bool offers(uint32_t fid, const struct settings *settings)
{
	return find(fid, settings);
}

/* DEN0028 7.3: for functions of the Arm architecture service only. */
static void smccc_arch_features(struct call *call)
{
	const struct faults *faults = &call->faults;
	uint32_t fid = (uint32_t)call->arg[1];

	if (fault_hits(faults, FAULT_FEATURES_CLEAN_INV))
		call_return(call, (int32_t)faults->parameter[FAULT_FEATURES_CLEAN_INV]);
	else if (fault_hits(faults, FAULT_FEATURES_ATTRIBUTES))
		call_return(call, (int32_t)faults->parameter[FAULT_FEATURES_ATTRIBUTES]);
	else if (FID_OWNER(fid) == OWNER_ARCH && offers(fid, &call->settings))
		call_return(call, SMCCC_SUCCESS);
	else
		call_return(call, SMCCC_NOT_SUPPORTED);
}

/* DEN0022 5.15: for those of PSCI, and for where SMCCC begins. */
static void psci_features(struct call *call)
{
	uint32_t fid = (uint32_t)call->arg[1];
	bool known = FID_OWNER(fid) == OWNER_STANDARD || fid == SMCCC_VERSION;

	if (known && offers(fid, &call->settings))
		call_return(call, PSCI_SUCCESS);
	else
		call_return(call, PSCI_NOT_SUPPORTED);
}

static void answer_success(struct call *call)
{
	call_return(call, SMCCC_SUCCESS);
}

/* Nobody has this identifier; a fault may say otherwise.  state_lock held. */
static const struct service *mistake(struct call *call)
{
	static const struct service anything = { 0, always, answer_success, COUNT_UNKNOWN, 0 };

	if (FID_OWNER(call->fid) != OWNER_ARCH)
		return NULL;
	fault_select(call, FAULT_ON_UNKNOWN);
	if (fault_hits(&call->faults, FAULT_LOOSE_ID))
		call->fid &= ~FID_RESERVED;
	if (fault_hits(&call->faults, FAULT_ANSWER_UNKNOWN))
		return &anything;
	return find(call->fid, &call->settings);
}

/* The function that a call is for, with the faults it suffers; state_lock held. */
static const struct service *choose(struct call *call, bool hint)
{
	const struct service *service;
	uint32_t twin = call->fid | FID_SMC64;

	if (call->fid != twin && (twin == SMCCC_CLEAN_INV || twin == SMCCC_CLEAN_INV_ATTRIBUTES)) {
		fault_select(call, FAULT_ON_ALIAS);
		if (fault_hits(&call->faults, FAULT_SMC32_ALIAS))
			call->fid = twin;
	}
	service = find(call->fid, &call->settings);
	if (!service)
		service = mistake(call);
	if (!service)
		return NULL;
	/* Whoever undoes a fault must get through. */
	if (hint && FID_OWNER(call->fid) != OWNER_VENDOR_HYP) {
		fault_select(call, FAULT_ON_HINT);
		if (fault_hits(&call->faults, FAULT_REFUSE_HINT))
			return NULL;
	}
	fault_select(call, service->faults);
	return service;
}

void smccc_dispatch(struct frame *frame, unsigned int conduit, unsigned int immediate)
{
	/* The identifier is w0; what is above it is not part of the call. */
	uint32_t fid = (uint32_t)frame->x[0];
	const struct service *service = NULL;
	struct call call;

	call.x = frame->x;
	call.fid = fid & ~FID_SVE_HINT;
	call.conduit = conduit;
	call.entered = counter_read();
	call.faults.hits = 0;
	for (unsigned int i = 1; i < ARRAY_SIZE(call.arg); i++)
		call.arg[i] = call.fid & FID_SMC64 ? frame->x[i] : (uint32_t)frame->x[i];

	lock_acquire(&state_lock);
	settings_snapshot(&call.settings);
	/* Only #0 belongs to the convention. */
	if (immediate == 0)
		service = choose(&call, fid & FID_SVE_HINT);
	record_count(service ? service->counter : COUNT_UNKNOWN);
	if (conduit != call.settings.value[KEY_CONDUIT])
		record_count(COUNT_OTHER_CONDUIT);
	lock_release(&state_lock);

	if (!service) {
		call_return(&call, SMCCC_NOT_SUPPORTED);
		return;
	}
	service->handle(&call);
	fault_clobber(&call, service->faults);
}
