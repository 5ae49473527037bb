/* SPDX-License-Identifier: MIT */
/*
 * iptables.h - restore: remove what CRIU locked the network with.
 */
#ifndef STASIS_IPTABLES_H
#define STASIS_IPTABLES_H

/* Give rules to iptables-restore or ip6tables-restore; NULL: none. A failure is only logged. */
void iptables_unlock(const char *program, const char *rules);

#endif
