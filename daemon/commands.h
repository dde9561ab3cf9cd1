/* SPDX-License-Identifier: Apache-2.0 */
/* The subcommands of `interestd`: each is a main of its own that gets its
 * name as argv[0] and returns the exit status (sysexits). Each answers
 * --help. main.c holds the table of them. */
#ifndef DAEMON_COMMANDS_H
#define DAEMON_COMMANDS_H

int daemon_run_main(int argc, char **argv);
int daemon_demo_main(int argc, char **argv);
int daemon_broker_main(int argc, char **argv);
int daemon_replay_main(int argc, char **argv);
int daemon_produce_main(int argc, char **argv);
int daemon_pause_main(int argc, char **argv);
int daemon_resume_main(int argc, char **argv);
int daemon_checkpoint_main(int argc, char **argv);
int daemon_publish_main(int argc, char **argv);
int daemon_versions_main(int argc, char **argv);
int daemon_pin_main(int argc, char **argv);
int daemon_unpin_main(int argc, char **argv);
int daemon_rollback_main(int argc, char **argv);
int daemon_verify_main(int argc, char **argv);
int daemon_rank_main(int argc, char **argv);
int daemon_inspect_main(int argc, char **argv);
int daemon_forget_main(int argc, char **argv);
int daemon_fsck_main(int argc, char **argv);
int daemon_backup_main(int argc, char **argv);
int daemon_skip_main(int argc, char **argv);
int daemon_check_config_main(int argc, char **argv);
int daemon_version_main(int argc, char **argv);

#endif
