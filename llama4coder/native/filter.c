/* Top-k, top-p and min-p as one threshold per row, by selection instead of sorting; see sampling/filters.py. */
#include "pool.h"
#include "vector.h"

#define NEGLIGIBLE 25.0f /* e^-25 of the largest probability, times a whole vocabulary, is below rounding */

typedef struct {
    const float *logits;                      /* [rows, vocab] */
    const float *temperatures, *top_p, *min_p; /* [rows] */
    const int64_t *top_k;                     /* [rows], 0: all */
    float *lowest;                            /* [rows], the result */
    float *scratch;                           /* [rows, 2, vocab rounded up to 16] */
    int64_t rows, vocab;
} filter_args;

static float largest_of(const float *values, int64_t count) {
    float highest = -INFINITY;
#pragma omp simd reduction(max : highest)
    for (int64_t i = 0; i < count; i++) highest = values[i] > highest ? values[i] : highest;
    return highest;
}

/* Copies what is not below `least`; returns how many that are. `to` may be `from`. */
static int64_t keep_from(const float *from, int64_t count, float least, float *to) {
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i++) {
        float value = from[i];
        to[kept] = value;
        kept += value >= least;
    }
    return kept;
}

/* Rearranges [low, high] so that nothing in [low, result] is below anything after it; weights move along. */
static int64_t partition(float *values, float *weights, int64_t low, int64_t high) {
    float pivot = values[(low + high) / 2];
    int64_t i = low - 1, j = high + 1;
    for (;;) {
        do i++; while (values[i] > pivot);
        do j--; while (values[j] < pivot);
        if (i >= j) return j;
        float value = values[i], weight = weights[i];
        values[i] = values[j], weights[i] = weights[j];
        values[j] = value, weights[j] = weight;
    }
}

/* The first of the values, taken from the largest down, with which their weights add up to `wanted`. */
static float select_by_weight(float *values, float *weights, int64_t count, double wanted) {
    int64_t low = 0, high = count - 1;
    double above = 0;
    while (low < high) {
        int64_t last = partition(values, weights, low, high);
        double left = 0;
        for (int64_t i = low; i <= last; i++) left += weights[i];
        if (above + left >= wanted) high = last;
        else above += left, low = last + 1;
    }
    return values[low];
}

static float threshold(const filter_args *a, int64_t row) {
    float top_p = a->top_p[row], min_p = a->min_p[row], temperature = a->temperatures[row];
    int64_t top_k = a->top_k[row], padded = (a->vocab + 15) / 16 * 16;
    const float *logits = a->logits + row * a->vocab;
    float *values = a->scratch + row * 2 * padded, *weights = values + padded;
    float highest = largest_of(logits, a->vocab), lowest = -INFINITY;
    if (top_k == 0 && top_p >= 1) return highest + logf(min_p) * temperature;
    int64_t count = keep_from(logits, a->vocab, top_k ? -INFINITY : highest - NEGLIGIBLE * temperature, values);
    if (top_k && top_k < count) {
        for (int64_t i = 0; i < count; i++) weights[i] = 1;
        lowest = select_by_weight(values, weights, count, (double)top_k);
        count = keep_from(values, count, lowest, values);
    }
    if (top_p < 1 && count) {
        double total = 0;
        for (int64_t i = count; i < (count + 15) / 16 * 16; i++) values[i] = highest;
        for (int64_t i = 0; i < count; i += 16)
            v_store(weights + i, v_exp(v_mul(v_sub(v_load(values + i), v_set(highest)), v_set(1 / temperature))));
        for (int64_t i = 0; i < count; i++) total += weights[i];
        lowest = select_by_weight(values, weights, count, top_p * total);
    }
    float by_min_p = highest + logf(min_p) * temperature; /* log 0 keeps everything */
    return by_min_p > lowest ? by_min_p : lowest;
}

static void filter_rows(const void *args, int64_t begin, int64_t end) {
    const filter_args *a = args;
    for (int64_t row = begin; row < end; row++) a->lowest[row] = threshold(a, row);
}

/* The smallest logit to keep in each row. */
void l4c_filter(const filter_args *a) { parallel_for(filter_rows, a, a->rows, 1); }
