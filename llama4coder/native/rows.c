/* Rows of a packed matrix, as an embedding reads them. */
#include "linear.h"

typedef struct {
    const matrix *w;
    const int64_t *indices; /* [m] */
    bf16 *out;              /* [m, k] */
    int64_t m;
} rows_args;

static void unpack_bfloat16(const matrix *w, int64_t panel, int64_t lane, bf16 *to) {
    const bf16 *from = (const bf16 *)w->packed + panel * w->k * PANEL + 2 * lane;
    for (int64_t i = 0; i < w->k; i += 2, from += 2 * PANEL) memcpy(to + i, from, 2 * sizeof(bf16));
}

static void unpack_int8(const matrix *w, int64_t panel, int64_t lane, bf16 *to) {
    const int8_t *from = (const int8_t *)w->packed + panel * (w->k + w->k % 2) * PANEL + lane;
    for (int64_t i = 0; i < w->k; i++) to[i] = to_bf16(from[i * PANEL] * w->scales[panel * PANEL + lane]);
}

static void unpack_int4(const matrix *w, int64_t panel, int64_t lane, bf16 *to) {
    const char *group = (const char *)w->packed + panel * (w->k / GROUP) * GROUP_BYTES;
    for (const bf16 *end = to + w->k; to < end; to += GROUP, group += GROUP_BYTES) {
        const bf16 *steps = (const bf16 *)group, *lows = steps + PANEL;
        const uint32_t *words = (const uint32_t *)(lows + PANEL) + lane;
        for (int64_t i = 0; i < GROUP; i++) {
            float value = (float)(words[i / 8 * PANEL] >> 4 * (i % 8) & 15);
            to[i] = to_bf16(value * to_float(steps[lane]) + to_float(lows[lane]));
        }
    }
}

static void unpack_rows(const void *args, int64_t begin, int64_t end) {
    static void (*const unpack[])(const matrix *, int64_t, int64_t, bf16 *) = {
        [BFLOAT16] = unpack_bfloat16, [INT8] = unpack_int8, [INT4] = unpack_int4};
    const rows_args *a = args;
    for (int64_t row = begin; row < end; row++)
        unpack[a->w->format](a->w, a->indices[row] / PANEL, a->indices[row] % PANEL, a->out + row * a->w->k);
}

/* What the weights of some outputs stand for. */
void l4c_rows(const rows_args *a) { parallel_for(unpack_rows, a, a->m, 8); }
