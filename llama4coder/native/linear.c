/* Products with bfloat16 weights that lie in panels, at the speed of memory. */
#include "pool.h"
#include "vector.h"

#define PANEL 32     /* output features that one accumulator pair holds */

/* Weights [n, k] to panels [n / 32][k / 2][32][2]: one pair of inputs for 32 outputs lies in 128 bytes. Zero-padded. */
void l4c_pack(const bf16 *weight, int64_t n, int64_t k, bf16 *packed) {
    for (int64_t p = 0; p < (n + PANEL - 1) / PANEL; p++)
        for (int64_t pair = 0; pair < k / 2; pair++)
            for (int64_t lane = 0; lane < PANEL; lane++) {
                int64_t row = p * PANEL + lane;
                bf16 *to = packed + ((p * (k / 2) + pair) * PANEL + lane) * 2;
                to[0] = row < n ? weight[row * k + 2 * pair] : 0;
                to[1] = row < n ? weight[row * k + 2 * pair + 1] : 0;
            }
}

typedef struct {
    const bf16 *packed; /* see l4c_pack */
    const bf16 *bias;   /* [n] or NULL */
    int64_t n, k;       /* outputs, inputs */
} matrix;

typedef struct {
    const matrix *w;
    const bf16 *x;        /* [m, k] */
    const bf16 *residual; /* [m, n] or NULL: added to the product */
    bf16 *out;            /* [m, n], or NULL for out_wide */
    float *out_wide;      /* [m, n] in float32 */
    int64_t m;
} linear_args;

static __attribute__((noinline)) void finish_row(const linear_args *a, int64_t row, int64_t column, vec low, vec high) {
    for (int half = 0; half < 2; half++, column += 16) {
        int64_t left = a->w->n - column;
        if (left <= 0) return;
        vec value = half ? high : low;
        if (a->w->bias) value = v_add(value, v_widen_first(a->w->bias + column, left));
        if (a->residual) value = v_add(value, v_widen_first(a->residual + row * a->w->n + column, left));
        if (a->out) v_narrow_first(a->out + row * a->w->n + column, value, left);
        else v_store_first(a->out_wide + row * a->w->n + column, value, left);
    }
}

/* `rows` is a constant at each call, so that the accumulators live in registers. */
INLINE void multiply_panel(const linear_args *a, int64_t panel, int64_t first_row, const int rows) {
    int64_t pairs_of_inputs = a->w->k / 2;
    const bf16 *w = a->w->packed + panel * pairs_of_inputs * PANEL * 2;
    const bf16 *x = a->x + first_row * a->w->k;
    vec low[MAX_ROWS], high[MAX_ROWS];
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) low[r] = high[r] = v_set(0);
    for (int64_t pair = 0; pair < pairs_of_inputs; pair++, w += PANEL * 2) {
        pairs w_low = p_load(w), w_high = p_load(w + PANEL);
        _mm_prefetch((const char *)(w + 16 * PANEL * 2), _MM_HINT_T0);
        _mm_prefetch((const char *)(w + 16 * PANEL * 2 + PANEL), _MM_HINT_T0);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            pairs inputs = p_repeat(x + r * a->w->k + 2 * pair);
            low[r] = v_dot(low[r], w_low, inputs);
            high[r] = v_dot(high[r], w_high, inputs);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) finish_row(a, first_row + r, panel * PANEL, low[r], high[r]);
}

static void multiply_rows(const linear_args *a, int64_t panel, int64_t row, int64_t rows) {
    switch (rows) {
#define CASE(count) case count: multiply_panel(a, panel, row, count); break;
        CASE(1) CASE(2)
#if MAX_ROWS > 3
        CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11)
#endif
        default: multiply_panel(a, panel, row, MAX_ROWS);
#undef CASE
    }
}

static void multiply_panels(const void *args, int64_t begin, int64_t end) {
    const linear_args *a = args;
    int64_t passes = (a->m + MAX_ROWS - 1) / MAX_ROWS;
    for (int64_t panel = begin; panel < end; panel++)
        for (int64_t pass = 0; pass < passes; pass++) { /* of even size: 32 rows are 10, 11 and 11 */
            int64_t row = a->m * pass / passes, next = a->m * (pass + 1) / passes;
            multiply_rows(a, panel, row, next - row);
        }
}

/* out = x @ weight^T (+ bias) (+ residual). k is even. */
void l4c_linear(const linear_args *a) { parallel_for(multiply_panels, a, (a->w->n + PANEL - 1) / PANEL, 1); }
