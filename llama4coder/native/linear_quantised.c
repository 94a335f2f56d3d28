/* Products with weights of 8 or 4 bits: widened on the way, so that a token reads fewer bytes. */
#include "linear.h"

#include <stdlib.h>

typedef struct {
    const linear_args *linear;
    input *x;      /* [m, width], in the order of the weights */
    float *sums;   /* [m, k / 32] of each group of x, for INT4 */
    int64_t width; /* k, made even */
} quantised_args;

/* In the order in which w_nibbles gives the weights of eight inputs. */
static void prepare_int4(const bf16 *from, input *to, float *sums, int64_t k) {
    for (int64_t i = 0; i < k; i += 8)
        for (int j = 0; j < 4; j++) {
            to[i + 2 * j] = input_of(from[i + j], j);
            to[i + 2 * j + 1] = input_of(from[i + j + 4], j);
        }
    for (int64_t i = 0; i < k; i += GROUP) sums[i / GROUP] = v_sum(v_add(v_widen(from + i), v_widen(from + i + 16)));
}

static void prepare_rows(const void *args, int64_t begin, int64_t end) {
    const quantised_args *q = args;
    const linear_args *a = q->linear;
    int64_t k = a->w->k;
    for (int64_t row = begin; row < end; row++) {
        const bf16 *from = a->x + row * k;
        input *to = q->x + row * q->width;
        if (a->w->format == INT4) {
            prepare_int4(from, to, q->sums + row * (k / GROUP), k);
            continue;
        }
        for (int64_t i = 0; i < k; i++) to[i] = input_of(from[i], 0);
        if (k < q->width) to[k] = 0;
    }
}

INLINE void multiply_int8(const quantised_args *q, int64_t panel, int64_t first_row, const int rows) {
    const linear_args *a = q->linear;
    int64_t width = q->width;
    const int8_t *w = (const int8_t *)a->w->packed + panel * width * PANEL;
    const input *x = q->x + first_row * width;
    vec low[MAX_ROWS], high[MAX_ROWS];
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) low[r] = high[r] = v_set(0);
    for (int64_t i = 0; i < width; i += INPUTS_AT_ONCE, w += INPUTS_AT_ONCE * PANEL) {
        _mm_prefetch((const char *)(w + 64 * PANEL), _MM_HINT_T0);
        weights w_low = w_bytes(w, w + PANEL);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) low[r] = w_dot(low[r], w_low, x + r * width + i);
        LOAD_AGAIN();
        weights w_high = w_bytes(w + 16, w + PANEL + 16);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) high[r] = w_dot(high[r], w_high, x + r * width + i);
    }
    vec scale_low = v_load(a->w->scales + panel * PANEL), scale_high = v_load(a->w->scales + panel * PANEL + 16);
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
        finish_row(a, first_row + r, panel * PANEL, v_mul(low[r], scale_low), v_mul(high[r], scale_high));
}

/* Eight inputs of each row times the weights of 16 outputs. */
INLINE void add_eight(vec *sums, words w, const input *inputs, int64_t width, const int rows) {
#pragma GCC unroll 8
    for (int i = 0; i < 8 / INPUTS_AT_ONCE; i++) {
        weights values = w_nibbles(w, i);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) sums[r] = w_dot(sums[r], values, inputs + r * width + i * INPUTS_AT_ONCE);
    }
    LOAD_AGAIN();
}

INLINE void multiply_int4(const quantised_args *q, int64_t panel, int64_t first_row, const int rows) {
    const linear_args *a = q->linear;
    int64_t k = a->w->k, num_groups = k / GROUP;
    const char *w = (const char *)a->w->packed + panel * num_groups * GROUP_BYTES;
    const input *x = q->x + first_row * k;
    const float *sums = q->sums + first_row * num_groups;
    vec totals[2][MAX_ROWS]; /* of either half of the panel */
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) totals[0][r] = totals[1][r] = v_set(0);
    for (int64_t group = 0; group < num_groups; group++, w += GROUP_BYTES) {
        vec parts[2][MAX_ROWS];
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) parts[0][r] = parts[1][r] = v_set(0);
        for (int64_t eight = 0; eight < GROUP / 8; eight++) {
            const char *from = w + 4 * PANEL + eight * 4 * PANEL;
#pragma GCC unroll 2
            for (int half = 0; half < 2; half++) {
                _mm_prefetch(from + 64 * half + 4 * GROUP_BYTES, _MM_HINT_T0);
                add_eight(parts[half], w_load(from + 64 * half), x + group * GROUP + eight * 8, k, rows);
            }
        }
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
            const bf16 *steps = (const bf16 *)w + 16 * half;
            vec step = v_widen(steps), lowest = v_fma(step, v_set(-NIBBLE_OFFSET), v_widen(steps + PANEL));
#pragma GCC unroll 12
            for (int r = 0; r < rows; r++) {
                vec total = v_fma(step, parts[half][r], totals[half][r]);
                totals[half][r] = v_fma(lowest, v_set(sums[r * num_groups + group]), total);
            }
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) finish_row(a, first_row + r, panel * PANEL, totals[0][r], totals[1][r]);
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
    int64_t width = a->w->k + a->w->k % 2, size = a->m * width;
    float *sums = malloc(size / GROUP * sizeof(float) + size * sizeof(input));
    if (!sums) abort(); /* some megabytes at most: the machine is out of memory */
    quantised_args q = {a, (input *)(sums + size / GROUP), sums, width};
    parallel_for(prepare_rows, &q, a->m, 8);
    parallel_for(multiply_quantised, &q, num_panels(a->w), 1);
    free(sums);
}
