/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer target of the snapshot's two parsers of foreign bytes. The first
 * byte chooses: a whole tensor file; a header alone, to which length, padding
 * and data are made; a manifest, and the model that it describes. What is
 * accepted must keep the promises of tensors.h, and all its bytes are read. A
 * corpus is not needed: run with -max_len=4096. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "snapshot/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_tensors(const uint8_t *bytes, size_t size)
{
    struct snapshot_tensors tensors;
    struct base_error error;
    static volatile uint8_t sink;
    if (snapshot_tensors_parse(bytes, size, &tensors, &error)) {
        BASE_ASSERT(error.status == BASE_CORRUPT && error.text[0]);
        BASE_ASSERT(tensors.tensor == NULL);
        return;
    }
    uint64_t at = 0, needed;
    for (unsigned i = 0; i < tensors.count; i++) {
        const struct snapshot_tensor *tensor = &tensors.tensor[i];
        BASE_ASSERT(tensor->begin == at);
        BASE_ASSERT(snapshot_tensor_bytes(tensor->dtype, tensor->dimensions,
                                          tensor->shape, &needed));
        BASE_ASSERT(needed == tensor->end - tensor->begin);
        for (at = tensor->begin; at < tensor->end; at++)
            sink = tensors.data[at];
        at = tensor->end;
    }
    (void)sink;
    BASE_ASSERT(tensors.data + at == bytes + size);
    snapshot_tensors_fini(&tensors);
}

/* Two bytes say how much data follows the header. */
static void check_header(const uint8_t *data, size_t size)
{
    if (size < 2)
        return;
    size_t after = base_get_u16(data) % 1024, length = size - 2;
    size_t padded = (length + 7) & ~(size_t)7;
    uint8_t *bytes = calloc(1, 8 + padded + after);
    if (!bytes)
        return;
    base_put_u64(bytes, padded);
    memset(bytes + 8, ' ', padded);
    memcpy(bytes + 8, data + 2, length);
    check_tensors(bytes, 8 + padded + after);
    free(bytes);
}

static void check_manifest(const uint8_t *data, size_t size)
{
    struct snapshot_manifest manifest;
    struct learner_model *model = NULL;
    struct base_error error;
    if (snapshot_manifest_read((const char *)data, size, &manifest, &error)) {
        BASE_ASSERT(error.text[0] && manifest.golden_count == 0);
    } else {
        BASE_ASSERT(manifest.file_count == manifest.table_count + 1u);
        if (learner_model_new(&manifest.schema, &manifest.model, &model,
                              &error))
            BASE_ASSERT(error.text[0] && !model);
        learner_model_free(model);
    }
    snapshot_manifest_fini(&manifest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t *copy = malloc(size > 1 ? size - 1 : 1); /* overreads are seen */
    if (!copy)
        return 0;
    memcpy(copy, data + 1, size - 1);
    if (data[0] % 3 == 0)
        check_tensors(copy, size - 1);
    else if (data[0] % 3 == 1)
        check_header(copy, size - 1);
    else
        check_manifest(copy, size - 1);
    free(copy);
    return 0;
}
