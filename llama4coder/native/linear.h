/* A matrix of weights in panels of 32 outputs, and what is done with a product. */
#ifndef LINEAR_H
#define LINEAR_H

#include "pool.h"
#include "vector.h"

#define PANEL 32        /* output features that one accumulator pair holds */
#define GROUP 32        /* inputs that share a step and a low */
#define GROUP_BYTES 640 /* 32 steps, 32 lows, then 4 times 8 inputs of 32 outputs */

enum { BFLOAT16, INT8, INT4 };

typedef struct {
    const void *packed;  /* see l4c_pack and quantise.c */
    const float *scales; /* of INT8: [n], filled up to whole panels */
    const bf16 *bias;    /* [n] or NULL */
    int64_t n, k;        /* outputs, inputs; INT8 has a zero more where these are odd */
    int64_t format;
} matrix;

typedef struct {
    const matrix *w;
    const bf16 *x;        /* [m, k] */
    const bf16 *residual; /* [m, n] or NULL: added to the product */
    bf16 *out;            /* [m, n], or NULL for out_wide */
    float *out_wide;      /* [m, n] in float32 */
    int64_t m;
} linear_args;

static int64_t num_panels(const matrix *w) { return (w->n + PANEL - 1) / PANEL; }

/* Calls `multiply`, an inline function, with a constant number of rows: the accumulators live in registers. */
#if MAX_ROWS > 3
#define WITH_ROWS(rows, multiply, ...) \
    switch (rows) { \
        case 1: multiply(__VA_ARGS__, 1); break; \
        case 2: multiply(__VA_ARGS__, 2); break; \
        case 3: multiply(__VA_ARGS__, 3); break; \
        case 4: multiply(__VA_ARGS__, 4); break; \
        case 5: multiply(__VA_ARGS__, 5); break; \
        case 6: multiply(__VA_ARGS__, 6); break; \
        case 7: multiply(__VA_ARGS__, 7); break; \
        case 8: multiply(__VA_ARGS__, 8); break; \
        case 9: multiply(__VA_ARGS__, 9); break; \
        case 10: multiply(__VA_ARGS__, 10); break; \
        case 11: multiply(__VA_ARGS__, 11); break; \
        default: multiply(__VA_ARGS__, 12); \
    }
#else
#define WITH_ROWS(rows, multiply, ...) \
    switch (rows) { \
        case 1: multiply(__VA_ARGS__, 1); break; \
        case 2: multiply(__VA_ARGS__, 2); break; \
        default: multiply(__VA_ARGS__, 3); \
    }
#endif

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

#endif
