/* Products with weights of 8 or 4 bits: widened on the way, so that a token reads fewer bytes. */
#include "linear.h"

#include <stdlib.h>

typedef struct {
    const linear_args *linear;
    float *x;    /* [m, k], input i divided by 16^(i % 4) for INT4, see v_nibble */
    float *sums; /* [m, k / 32] of each group of x as it was, for INT4 */
} quantised_args;

static void widen_rows(const void *args, int64_t begin, int64_t end) {
    const quantised_args *q = args;
    const matrix *w = q->linear->w;
    vec shift = v_set(1), fourths = v_load((float[]){1, 0x1p-4f, 0x1p-8f, 0x1p-12f, 1, 0x1p-4f, 0x1p-8f, 0x1p-12f,
                                                    1, 0x1p-4f, 0x1p-8f, 0x1p-12f, 1, 0x1p-4f, 0x1p-8f, 0x1p-12f});
    if (w->format == INT4) shift = fourths;
    for (int64_t row = begin; row < end; row++) {
        const bf16 *from = q->linear->x + row * w->k;
        float *to = q->x + row * w->k;
        for (int64_t i = 0; i < w->k; i += 16) {
            float wide[16];
            v_store(wide, v_mul(v_widen_first(from + i, w->k - i), shift));
            memcpy(to + i, wide, (w->k - i < 16 ? w->k - i : 16) * sizeof(float));
        }
        if (w->format == INT4)
            for (int64_t i = 0; i < w->k; i += GROUP)
                q->sums[(row * w->k + i) / GROUP] = v_sum(v_add(v_widen(from + i), v_widen(from + i + 16)));
    }
}

INLINE void multiply_int8(const quantised_args *q, int64_t panel, int64_t first_row, const int rows) {
    const linear_args *a = q->linear;
    int64_t k = a->w->k;
    const int8_t *w = (const int8_t *)a->w->packed + panel * k * PANEL;
    const float *x = q->x + first_row * k;
    vec low[MAX_ROWS], high[MAX_ROWS];
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) low[r] = high[r] = v_set(0);
    for (int64_t i = 0; i < k; i++, w += PANEL) {
        _mm_prefetch((const char *)(w + 64 * PANEL), _MM_HINT_T0);
        vec w_low = v_from_int8(w);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) low[r] = v_fma(w_low, v_set(x[r * k + i]), low[r]);
        LOAD_AGAIN();
        vec w_high = v_from_int8(w + 16);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) high[r] = v_fma(w_high, v_set(x[r * k + i]), high[r]);
    }
    vec scale_low = v_load(a->w->scales + panel * PANEL), scale_high = v_load(a->w->scales + panel * PANEL + 16);
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
        finish_row(a, first_row + r, panel * PANEL, v_mul(low[r], scale_low), v_mul(high[r], scale_high));
}

/* Eight inputs of each row times the weights of 16 outputs. */
INLINE void add_eight(vec *sums, words w, const float *inputs, int64_t k, const int rows) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        if (i == 4) w = w_upper_half(w);
        vec value = v_nibble(w, i % 4);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) sums[r] = v_fma(value, v_set(inputs[r * k + i]), sums[r]);
    }
    LOAD_AGAIN();
}

INLINE void multiply_int4(const quantised_args *q, int64_t panel, int64_t first_row, const int rows) {
    const linear_args *a = q->linear;
    int64_t k = a->w->k, num_groups = k / GROUP;
    const char *w = (const char *)a->w->packed + panel * num_groups * GROUP_BYTES;
    const float *x = q->x + first_row * k, *sums = q->sums + first_row * num_groups;
    vec low[MAX_ROWS], high[MAX_ROWS];
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) low[r] = high[r] = v_set(0);
    for (int64_t group = 0; group < num_groups; group++, w += GROUP_BYTES) {
        vec group_low[MAX_ROWS], group_high[MAX_ROWS];
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) group_low[r] = group_high[r] = v_set(0);
        for (int64_t eight = 0; eight < GROUP / 8; eight++) {
            const char *from = w + 4 * PANEL + eight * 4 * PANEL;
            const float *inputs = x + group * GROUP + eight * 8;
            _mm_prefetch(from + 4 * GROUP_BYTES, _MM_HINT_T0);
            _mm_prefetch(from + 4 * GROUP_BYTES + 64, _MM_HINT_T0);
            add_eight(group_low, w_load(from), inputs, k, rows);
            add_eight(group_high, w_load(from + 64), inputs, k, rows);
        }
        const bf16 *steps = (const bf16 *)w, *lows = steps + PANEL;
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            vec sum = v_set(sums[r * num_groups + group]);
            low[r] = v_fma(v_widen(lows), sum, v_fma(v_widen(steps), group_low[r], low[r]));
            high[r] = v_fma(v_widen(lows + 16), sum, v_fma(v_widen(steps + 16), group_high[r], high[r]));
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) finish_row(a, first_row + r, panel * PANEL, low[r], high[r]);
}

static void multiply_quantised(const void *args, int64_t begin, int64_t end) {
    const quantised_args *q = args;
    int64_t m = q->linear->m, passes = (m + MAX_ROWS - 1) / MAX_ROWS, is_int4 = q->linear->w->format == INT4;
    for (int64_t panel = begin; panel < end; panel++)
        for (int64_t pass = 0; pass < passes; pass++) {
            int64_t row = m * pass / passes, next = m * (pass + 1) / passes;
            if (is_int4) WITH_ROWS(next - row, multiply_int4, q, panel, row)
            else WITH_ROWS(next - row, multiply_int8, q, panel, row)
        }
}

static void linear_quantised(const linear_args *a) {
    int64_t size = a->m * a->w->k;
    float *x = malloc((size + size / GROUP) * sizeof(float));
    if (!x) abort(); /* some megabytes at most: the machine is out of memory */
    quantised_args q = {a, x, x + size};
    parallel_for(widen_rows, &q, a->m, 8);
    parallel_for(multiply_quantised, &q, num_panels(a->w), 1);
    free(x);
}
