/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The version that both modules carry: the one place on the kernel side.
 * pyctl compares it with its own and refuses a module of another version.
 */
#ifndef MODULE_VERSION_H
#define MODULE_VERSION_H

#define PROJECT_VERSION "0.1.0"

#endif /* MODULE_VERSION_H */
