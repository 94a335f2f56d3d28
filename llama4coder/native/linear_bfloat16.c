/* Products with bfloat16 weights, at the speed of memory. */
#include "linear.h"

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

INLINE void multiply_panel(const linear_args *a, int64_t panel, int64_t first_row, const int rows) {
    int64_t pairs_of_inputs = a->w->k / 2;
    const bf16 *w = (const bf16 *)a->w->packed + panel * pairs_of_inputs * PANEL * 2;
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

static void multiply_bfloat16(const void *args, int64_t begin, int64_t end) {
    const linear_args *a = args;
    int64_t passes = (a->m + MAX_ROWS - 1) / MAX_ROWS;
    for (int64_t panel = begin; panel < end; panel++)
        for (int64_t pass = 0; pass < passes; pass++) { /* of even size: 32 rows are 10, 11 and 11 */
            int64_t row = a->m * pass / passes, next = a->m * (pass + 1) / passes;
            WITH_ROWS(next - row, multiply_panel, a, panel, row)
        }
}
