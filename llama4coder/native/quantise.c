/* From bfloat16 weights to the integers of quant/formats.py, bit by bit, in the order in which products read them. */
#include "linear.h"

#include <float.h>

#define SMALLEST_BF16 0x1p-126f

typedef struct {
    const bf16 *weight; /* [n, k] */
    void *packed;       /* zeros */
    float *scales;      /* zeros, [n] up to whole panels, for INT8 */
    int64_t n, k;
} quantise_args;

static int64_t rows_of_panel(const quantise_args *a, int64_t panel) {
    return a->n - panel * PANEL < PANEL ? a->n - panel * PANEL : PANEL;
}

/* To panels [n / 32][k, made even][32]. */
static void quantise_int8_panels(const void *args, int64_t begin, int64_t end) {
    const quantise_args *a = args;
    for (int64_t panel = begin; panel < end; panel++)
        for (int64_t lane = 0; lane < rows_of_panel(a, panel); lane++) {
            int64_t row = panel * PANEL + lane;
            const bf16 *from = a->weight + row * a->k;
            int8_t *to = (int8_t *)a->packed + panel * (a->k + a->k % 2) * PANEL + lane;
            float largest = FLT_MIN * 127;
            for (int64_t i = 0; i < a->k; i++) largest = fmaxf(largest, fabsf(to_float(from[i])));
            float scale = a->scales[row] = largest / 127;
            for (int64_t i = 0; i < a->k; i++) to[i * PANEL] = (int8_t)rintf(to_float(from[i]) / scale);
        }
}

static void quantise_group(const bf16 from[GROUP], bf16 *step_at, bf16 *low_at, uint32_t *words) {
    float low = to_float(from[0]), high = low;
    uint32_t values[GROUP];
#pragma omp simd reduction(min : low) reduction(max : high)
    for (int64_t i = 1; i < GROUP; i++) {
        float value = to_float(from[i]);
        low = value < low ? value : low, high = value > high ? value : high;
    }
    float step = to_float(*step_at = to_bf16(fmaxf((high - low) / 15, SMALLEST_BF16)));
    *low_at = to_bf16(low); /* exact: it is one of them */
#pragma omp simd
    for (int64_t i = 0; i < GROUP; i++) {
        float value = rintf((to_float(from[i]) - low) / step);
        values[i] = (uint32_t)(int32_t)(value > 15 ? 15 : value); /* none is below zero */
    }
    for (int64_t i = 0; i < GROUP; i++) words[i / 8 * PANEL] |= values[i] << 4 * (i % 8);
}

/* To panels [n / 32][k / 32] of groups: 32 steps, 32 lows, and per 8 inputs 32 words. */
static void quantise_int4_panels(const void *args, int64_t begin, int64_t end) {
    const quantise_args *a = args;
    for (int64_t panel = begin; panel < end; panel++)
        for (int64_t lane = 0; lane < rows_of_panel(a, panel); lane++)
            for (int64_t group = 0; group < a->k / GROUP; group++) {
                char *to = (char *)a->packed + (panel * (a->k / GROUP) + group) * GROUP_BYTES;
                bf16 *steps = (bf16 *)to, *lows = steps + PANEL;
                uint32_t *words = (uint32_t *)(lows + PANEL);
                quantise_group(a->weight + (panel * PANEL + lane) * a->k + group * GROUP, steps + lane, lows + lane,
                               words + lane);
            }
}

void l4c_quantise_int8(const quantise_args *a) {
    parallel_for(quantise_int8_panels, a, (a->n + PANEL - 1) / PANEL, 1);
}

/* k is a multiple of 32. */
void l4c_quantise_int4(const quantise_args *a) {
    parallel_for(quantise_int4_panels, a, (a->n + PANEL - 1) / PANEL, 1);
}
