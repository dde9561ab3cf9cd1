/* SPDX-License-Identifier: Apache-2.0 */
/* Messages to the service manager (sd_notify's protocol: one datagram to
 * $NOTIFY_SOCKET); nothing happens where there is none. */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

/* "READY=1", "WATCHDOG=1", "STOPPING=1". */
void daemon_notify(const char *text);
/* Seconds between two signs of life that the manager wants to see, halved;
 * 0: it does not watch. */
double daemon_notify_interval(void);

#endif
