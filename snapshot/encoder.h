/* SPDX-License-Identifier: Apache-2.0 */
/* Writer of one safetensors file, front to back: the header from the list of
 * tensors, then their data in that order, hashed on the way. One thread. Does
 * not rename and does not sync the folder; that is the version's business. */
#ifndef SNAPSHOT_ENCODER_H
#define SNAPSHOT_ENCODER_H

#include "snapshot/tensors.h"

struct snapshot_encoder; /* OWNS its descriptor and buffer */

/* Creates `name` (must not exist) below the folder descriptor. Fills begin
 * and end of the tensors. */
enum base_status snapshot_encoder_open(int folder, const char *name,
                                       struct snapshot_tensor *tensors,
                                       unsigned count,
                                       struct snapshot_encoder **encoder,
                                       struct base_error *error)
    BASE_MUST_CHECK;

/* The next bytes of data; `size` may cover any part of a tensor. */
enum base_status snapshot_encoder_add(struct snapshot_encoder *encoder,
                                      const void *data, size_t size,
                                      struct base_error *error)
    BASE_MUST_CHECK;

/* Checks that all announced bytes came, syncs, closes; says name, size, hash.
 * The encoder is still to be freed. */
enum base_status snapshot_encoder_finish(struct snapshot_encoder *encoder,
                                         struct snapshot_file *file,
                                         struct base_error *error)
    BASE_MUST_CHECK;
/* An unfinished file stays behind; its folder is thrown away as a whole. */
void snapshot_encoder_free(struct snapshot_encoder *encoder);

#endif
