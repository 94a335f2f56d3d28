/* CPU kernels for bfloat16 on AVX-512: what a decode step spends its time in, at the speed of memory.
 *
 * Plain C behind plain pointers, so that it compiles in seconds without torch's headers. All matrices are row-major and
 * contiguous; products accumulate in float32 and round once. Every function is parallel over independent outputs, so a
 * result does not depend on the number of threads.
 */
#include "pool.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

typedef uint16_t bf16;

#define PANEL 32     /* output features that one accumulator pair holds */
#define MAX_ROWS 12  /* rows of x per pass over a panel: 24 accumulators of the 32 registers */
#define BLOCK 16     /* tokens per KV block */
#define MAX_GROUP 16 /* query heads per KV head */
#define MAX_HEAD 256 /* head_dim */
#define KEY_TILE 64  /* keys that a tile of queries meets at once */
#define QUERY_TILE 96 /* rows (query tokens times heads of a group) that share one packing of keys and values */
#define PASS 12      /* of them in registers at a time; divides QUERY_TILE */

static inline float to_float(bf16 value) {
    uint32_t bits = (uint32_t)value << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

static inline bf16 to_bf16(float value) { /* round to nearest, ties to even */
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bf16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static inline __m512 load_wide(const bf16 *from) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from)), 16));
}

static inline void store_narrow(bf16 *to, __m512 value) {
    _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(value));
}

static inline __m512 exp_ps(__m512 x) { /* 2^n * p(f), relative error below 1e-6 */
    x = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(88.0f)), _mm512_set1_ps(-87.0f));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
    __m512 f = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    f = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), f);
    __m512 p = _mm512_set1_ps(1.9875691500e-4f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.0000001201e-1f));
    p = _mm512_fmadd_ps(_mm512_mul_ps(p, f), f, _mm512_add_ps(f, _mm512_set1_ps(1.0f)));
    return _mm512_scalef_ps(p, n);
}

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
    const bf16 *x;        /* [m, k] */
    const bf16 *packed;   /* see l4c_pack */
    const bf16 *bias;     /* [n] or NULL */
    const bf16 *residual; /* [m, n] or NULL: added to the product */
    bf16 *out;            /* [m, n], or NULL for out_wide */
    float *out_wide;      /* [m, n] in float32 */
    int64_t m, n, k;
} linear_args;

static inline __attribute__((always_inline)) void finish_row(
    const linear_args *a, int64_t row, int64_t column, __m512 low, __m512 high) {
    for (int half = 0; half < 2; half++, column += 16) {
        if (column >= a->n) return;
        int64_t left = a->n - column;
        __mmask16 mask = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
        __m512 value = half ? high : low;
        if (a->bias) value = _mm512_add_ps(value, _mm512_castsi512_ps(_mm512_slli_epi32(
            _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, a->bias + column)), 16)));
        if (a->residual) value = _mm512_add_ps(value, _mm512_castsi512_ps(_mm512_slli_epi32(
            _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, a->residual + row * a->n + column)), 16)));
        if (a->out) _mm256_mask_storeu_epi16(a->out + row * a->n + column, mask, (__m256i)_mm512_cvtneps_pbh(value));
        else _mm512_mask_storeu_ps(a->out_wide + row * a->n + column, mask, value);
    }
}

/* `rows` is a constant at each call, so that the accumulators live in registers. */
static inline __attribute__((always_inline)) void multiply_panel(
    const linear_args *a, int64_t panel, int64_t first_row, const int rows) {
    int64_t pairs = a->k / 2;
    const bf16 *w = a->packed + panel * pairs * PANEL * 2;
    const bf16 *x = a->x + first_row * a->k;
    __m512 low[MAX_ROWS], high[MAX_ROWS];
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) low[r] = high[r] = _mm512_setzero_ps();
    for (int64_t pair = 0; pair < pairs; pair++, w += PANEL * 2) {
        __m512bh w_low = (__m512bh)_mm512_loadu_si512(w), w_high = (__m512bh)_mm512_loadu_si512(w + PANEL);
        _mm_prefetch((const char *)(w + 16 * PANEL * 2), _MM_HINT_T0);
        _mm_prefetch((const char *)(w + 16 * PANEL * 2 + PANEL), _MM_HINT_T0);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            int32_t inputs;
            memcpy(&inputs, x + r * a->k + 2 * pair, sizeof inputs);
            __m512bh broadcast = (__m512bh)_mm512_set1_epi32(inputs);
            low[r] = _mm512_dpbf16_ps(low[r], w_low, broadcast);
            high[r] = _mm512_dpbf16_ps(high[r], w_high, broadcast);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) finish_row(a, first_row + r, panel * PANEL, low[r], high[r]);
}

static void multiply_rows(const linear_args *a, int64_t panel, int64_t row, int64_t rows) {
    switch (rows) {
#define CASE(count) case count: multiply_panel(a, panel, row, count); break;
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11)
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
void l4c_linear(const linear_args *a) { parallel_for(multiply_panels, a, (a->n + PANEL - 1) / PANEL, 1); }

typedef struct {
    const bf16 *x, *weight;
    bf16 *out;
    int64_t m, n;
    float eps;
} norm_args;

static void normalise_rows(const void *args, int64_t begin, int64_t end) {
    const norm_args *a = args;
    for (int64_t row = begin; row < end; row++) {
        const bf16 *from = a->x + row * a->n;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < a->n; i++) sum += to_float(from[i]) * to_float(from[i]);
        float scale = 1.0f / sqrtf(sum / a->n + a->eps);
#pragma omp simd
        for (int64_t i = 0; i < a->n; i++)
            a->out[row * a->n + i] = to_bf16(to_float(a->weight[i]) * to_float(to_bf16(to_float(from[i]) * scale)));
    }
}

/* x / rms(x), rounded, times weight: as the models were trained. */
void l4c_rms_norm(const norm_args *a) { parallel_for(normalise_rows, a, a->m, 8); }

typedef struct {
    const bf16 *gate_up; /* [m, 2 * n] */
    bf16 *out;           /* [m, n] */
    int64_t m, n;
} swiglu_args;

static void swiglu_rows(const void *args, int64_t begin, int64_t end) {
    const swiglu_args *a = args;
    __m512 one = _mm512_set1_ps(1.0f);
    for (int64_t row = begin; row < end; row++) {
        const bf16 *gate = a->gate_up + row * 2 * a->n, *up = gate + a->n;
        for (int64_t i = 0; i < a->n; i += 16) {
            __m512 g = load_wide(gate + i);
            __m512 sigmoid = _mm512_div_ps(one, _mm512_add_ps(one, exp_ps(_mm512_sub_ps(_mm512_setzero_ps(), g))));
            store_narrow(a->out + row * a->n + i, _mm512_mul_ps(_mm512_mul_ps(g, sigmoid), load_wide(up + i)));
        }
    }
}

/* silu(gate) * up of rows [gate | up]; n, the width of each half, is a multiple of 16. */
void l4c_swiglu(const swiglu_args *a) { parallel_for(swiglu_rows, a, a->m, 4); }

static inline void rotate(const bf16 *from, const bf16 *cosine, const bf16 *sine, bf16 *to, int64_t d) {
    int64_t half = d / 2;
#pragma omp simd
    for (int64_t i = 0; i < half; i++) {
        float first = to_float(from[i]), second = to_float(from[i + half]);
        to[i] = to_bf16(first * to_float(cosine[i]) - second * to_float(sine[i]));
        to[i + half] = to_bf16(second * to_float(cosine[i + half]) + first * to_float(sine[i + half]));
    }
}

typedef struct {
    const bf16 *qkv;           /* [m, (heads + 2 * kv_heads) * d] */
    const bf16 *cosine, *sine; /* [m, d] */
    const int64_t *slots;      /* [m] */
    bf16 *queries;             /* [m, heads, d] */
    bf16 *keys, *values;       /* [slots of the pool, kv_heads, d] */
    int64_t m, heads, kv_heads, d;
} rope_args;

static void rotate_tokens(const void *args, int64_t begin, int64_t end) {
    const rope_args *a = args;
    int64_t heads = a->heads, kv_heads = a->kv_heads, d = a->d;
    for (int64_t t = begin; t < end; t++) {
        const bf16 *row = a->qkv + t * (heads + 2 * kv_heads) * d, *c = a->cosine + t * d, *s = a->sine + t * d;
        int64_t slot = a->slots[t] * kv_heads * d;
        for (int64_t h = 0; h < heads; h++) rotate(row + h * d, c, s, a->queries + (t * heads + h) * d, d);
        for (int64_t h = 0; h < kv_heads; h++) rotate(row + (heads + h) * d, c, s, a->keys + slot + h * d, d);
        memcpy(a->values + slot, row + (heads + kv_heads) * d, kv_heads * d * sizeof(bf16));
    }
}

/* Rows [queries | keys | values]: rotated queries to `queries`, rotated keys and values to their slots. */
void l4c_rope_and_write(const rope_args *a) { parallel_for(rotate_tokens, a, a->m, 8); }

typedef struct {
    const bf16 *queries;     /* [num_tokens, heads, d], rotated */
    const bf16 *keys;        /* [num_blocks, 16, kv_heads, d] */
    const bf16 *values;      /* the same */
    bf16 *out;               /* [num_tokens, heads, d] */
    const int64_t *tokens;   /* [rows] places of the query tokens */
    const int64_t *lengths;  /* [rows] tokens each of them attends to */
    const int64_t *tables;   /* [rows, table_width] block ids */
    int64_t rows, table_width, heads, kv_heads, d;
} attention_args;

/* One query token, one KV head: all query heads that share it, block by block with a running softmax. */
static void attend(const attention_args *a, int64_t row, int64_t kv_head) {
    int64_t group = a->heads / a->kv_heads, d = a->d, stride = a->kv_heads * d;
    const bf16 *queries = a->queries + (a->tokens[row] * a->heads + kv_head * group) * d;
    float sums[MAX_GROUP * MAX_HEAD] __attribute__((aligned(64)));
    float best[MAX_GROUP], total[MAX_GROUP], scale = 1.0f / sqrtf((float)d);
    memset(sums, 0, group * d * sizeof(float));
    for (int64_t g = 0; g < group; g++) best[g] = -INFINITY, total[g] = 0;
    for (int64_t begin = 0; begin < a->lengths[row]; begin += BLOCK) {
        int64_t block = a->tables[row * a->table_width + begin / BLOCK];
        int64_t count = a->lengths[row] - begin < BLOCK ? a->lengths[row] - begin : BLOCK;
        const bf16 *keys = a->keys + block * BLOCK * stride + kv_head * d;
        const bf16 *values = a->values + block * BLOCK * stride + kv_head * d;
        __mmask16 valid = (__mmask16)((1u << count) - 1);
        for (int64_t g = 0; g < group; g++) {
            float scores[BLOCK] __attribute__((aligned(64)));
            for (int64_t t = 0; t < count; t++) {
                __m512 product = _mm512_setzero_ps();
                for (int64_t i = 0; i < d; i += 32)
                    product = _mm512_dpbf16_ps(product, (__m512bh)_mm512_loadu_si512(queries + g * d + i),
                                               (__m512bh)_mm512_loadu_si512(keys + t * stride + i));
                scores[t] = _mm512_reduce_add_ps(product) * scale;
            }
            __m512 score = _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), valid, scores);
            float highest = _mm512_reduce_max_ps(score);
            highest = highest > best[g] ? highest : best[g];
            float shrink = total[g] ? expf(best[g] - highest) : 0;
            __m512 weight = _mm512_maskz_mov_ps(valid, exp_ps(_mm512_sub_ps(score, _mm512_set1_ps(highest))));
            best[g] = highest;
            total[g] = total[g] * shrink + _mm512_reduce_add_ps(weight);
            _mm512_store_ps(scores, weight);
            for (int64_t i = 0; i < d; i += 16) {
                __m512 sum = _mm512_mul_ps(_mm512_load_ps(sums + g * d + i), _mm512_set1_ps(shrink));
                for (int64_t t = 0; t < count; t++)
                    sum = _mm512_fmadd_ps(_mm512_set1_ps(scores[t]), load_wide(values + t * stride + i), sum);
                _mm512_store_ps(sums + g * d + i, sum);
            }
        }
    }
    bf16 *out = a->out + (a->tokens[row] * a->heads + kv_head * group) * d;
    for (int64_t g = 0; g < group; g++)
        for (int64_t i = 0; i < d; i += 16)
            store_narrow(out + g * d + i, _mm512_mul_ps(_mm512_load_ps(sums + g * d + i), _mm512_set1_ps(1.0f / total[g])));
}

static void attend_pairs(const void *args, int64_t begin, int64_t end) {
    const attention_args *a = args;
    for (int64_t pair = begin; pair < end; pair++) attend(a, pair / a->kv_heads, pair % a->kv_heads);
}

/* Attention of single tokens over paged KV; d is a multiple of 32. */
void l4c_attention(const attention_args *a) { parallel_for(attend_pairs, a, a->rows * a->kv_heads, 1); }

typedef struct {
    const bf16 *queries;    /* [num_tokens, heads, d], rotated */
    const bf16 *keys;       /* [num_blocks, 16, kv_heads, d] */
    const bf16 *values;     /* the same */
    bf16 *out;              /* [num_tokens, heads, d] */
    const int64_t *table;   /* block ids of the sequence */
    int64_t num_tokens;     /* query tokens */
    int64_t start;          /* position of the first of them */
    int64_t heads, kv_heads, d;
} prefill_args;

typedef struct {
    bf16 keys[MAX_HEAD / 2][KEY_TILE][2];   /* pairs of features, token by token */
    bf16 values[KEY_TILE / 2][MAX_HEAD][2]; /* pairs of tokens, feature by feature */
    float scores[QUERY_TILE][KEY_TILE];
    bf16 weights[QUERY_TILE][KEY_TILE];
    float sums[QUERY_TILE][MAX_HEAD];
    float best[QUERY_TILE], total[QUERY_TILE], shrink[QUERY_TILE];
    const bf16 *rows[QUERY_TILE];
    int64_t positions[QUERY_TILE];
} __attribute__((aligned(64))) tile_state;

static void pack_tile(const prefill_args *a, tile_state *s, int64_t kv_head, int64_t begin, int64_t end) {
    int64_t stride = a->kv_heads * a->d;
    __m512i lanes = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                       _mm512_set1_epi32((int)(stride / 2)));
    for (int64_t first = 0; first < KEY_TILE; first += BLOCK) {
        int present = begin + first < end;
        int64_t from = present ? (a->table[(begin + first) / BLOCK] * BLOCK) * stride + kv_head * a->d : 0;
        for (int64_t pair = 0; pair < a->d / 2; pair++) {
            __m512i column = present ? _mm512_i32gather_epi32(lanes, (const int *)(a->keys + from) + pair, 4)
                                     : _mm512_setzero_si512();
            _mm512_storeu_si512(&s->keys[pair][first], column);
        }
        for (int64_t t = 0; t < BLOCK; t += 2)
            for (int64_t i = 0; i < a->d; i += 16) {
                __m512i both = _mm512_setzero_si512();
                if (present) {
                    const bf16 *even = a->values + from + t * stride + i;
                    both = _mm512_or_si512(
                        _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)even)),
                        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(even + stride))), 16));
                }
                _mm512_storeu_si512(&s->values[(first + t) / 2][i], both);
            }
    }
}

static inline __m512bh broadcast_pair(const bf16 *from) {
    int32_t pair;
    memcpy(&pair, from, sizeof pair);
    return (__m512bh)_mm512_set1_epi32(pair);
}

static void score_tile(const prefill_args *a, tile_state *s, int64_t rows, int64_t begin) {
    __m512 scale = _mm512_set1_ps(1.0f / sqrtf((float)a->d));
    __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (int64_t row = 0; row < rows; row += PASS)
        for (int64_t first = 0; first < KEY_TILE; first += 32) {
            __m512 low[PASS], high[PASS];
#pragma GCC unroll 12
            for (int r = 0; r < PASS; r++) low[r] = high[r] = _mm512_setzero_ps();
            for (int64_t pair = 0; pair < a->d / 2; pair++) {
                __m512bh left = (__m512bh)_mm512_loadu_si512(&s->keys[pair][first]);
                __m512bh right = (__m512bh)_mm512_loadu_si512(&s->keys[pair][first + 16]);
#pragma GCC unroll 12
                for (int r = 0; r < PASS; r++) {
                    __m512bh query = broadcast_pair(s->rows[row + r] + 2 * pair);
                    low[r] = _mm512_dpbf16_ps(low[r], left, query);
                    high[r] = _mm512_dpbf16_ps(high[r], right, query);
                }
            }
#pragma GCC unroll 12
            for (int r = 0; r < PASS; r++) { /* what comes after the query is out of its sight */
                __m512i last = _mm512_set1_epi32((int)(s->positions[row + r] - begin - first));
                __m512 hidden = _mm512_set1_ps(-INFINITY);
                __mmask16 sees_low = _mm512_cmple_epi32_mask(lanes, last);
                __mmask16 sees_high = _mm512_cmple_epi32_mask(_mm512_add_epi32(lanes, _mm512_set1_epi32(16)), last);
                _mm512_store_ps(&s->scores[row + r][first], _mm512_mask_mul_ps(hidden, sees_low, low[r], scale));
                _mm512_store_ps(&s->scores[row + r][first + 16], _mm512_mask_mul_ps(hidden, sees_high, high[r], scale));
            }
        }
}

static void weigh_row(tile_state *s, int64_t row) { /* the running softmax */
    __m512 score[4], sum = _mm512_setzero_ps(), highest = _mm512_set1_ps(-INFINITY);
    for (int i = 0; i < 4; i++) {
        score[i] = _mm512_load_ps(&s->scores[row][16 * i]);
        highest = _mm512_max_ps(highest, score[i]);
    }
    float best = _mm512_reduce_max_ps(highest);
    if (s->best[row] > best) best = s->best[row];
    for (int i = 0; i < 4; i++) {
        __m512 weight = exp_ps(_mm512_sub_ps(score[i], _mm512_set1_ps(best)));
        sum = _mm512_add_ps(sum, weight);
        store_narrow(&s->weights[row][16 * i], weight);
    }
    s->shrink[row] = s->total[row] > 0 ? expf(s->best[row] - best) : 0;
    s->best[row] = best;
    s->total[row] = s->total[row] * s->shrink[row] + _mm512_reduce_add_ps(sum);
}

static void sum_tile(const prefill_args *a, tile_state *s, int64_t rows) {
    for (int64_t row = 0; row < rows; row += PASS)
        for (int64_t i = 0; i < a->d; i += 32) {
            __m512 low[PASS], high[PASS];
#pragma GCC unroll 12
            for (int r = 0; r < PASS; r++) {
                __m512 shrink = _mm512_set1_ps(s->shrink[row + r]);
                low[r] = _mm512_mul_ps(_mm512_load_ps(&s->sums[row + r][i]), shrink);
                high[r] = _mm512_mul_ps(_mm512_load_ps(&s->sums[row + r][i + 16]), shrink);
            }
            for (int64_t pair = 0; pair < KEY_TILE / 2; pair++) {
                __m512bh left = (__m512bh)_mm512_loadu_si512(&s->values[pair][i]);
                __m512bh right = (__m512bh)_mm512_loadu_si512(&s->values[pair][i + 16]);
#pragma GCC unroll 12
                for (int r = 0; r < PASS; r++) {
                    __m512bh weight = broadcast_pair(&s->weights[row + r][2 * pair]);
                    low[r] = _mm512_dpbf16_ps(low[r], left, weight);
                    high[r] = _mm512_dpbf16_ps(high[r], right, weight);
                }
            }
#pragma GCC unroll 12
            for (int r = 0; r < PASS; r++) {
                _mm512_store_ps(&s->sums[row + r][i], low[r]);
                _mm512_store_ps(&s->sums[row + r][i + 16], high[r]);
            }
        }
}

/* Query tokens [first, first + count) and the heads of one group, key tile by key tile. */
static void attend_tile(const prefill_args *a, int64_t first, int64_t count, int64_t kv_head) {
    tile_state state, *s = &state;
    int64_t group = a->heads / a->kv_heads, used = count * group;
    int64_t rows = (used + PASS - 1) / PASS * PASS; /* the last pass is filled up with copies of the last row */
    for (int64_t row = 0; row < rows; row++) {
        int64_t real = row < used ? row : used - 1, token = first + real / group;
        s->rows[row] = a->queries + (token * a->heads + kv_head * group + real % group) * a->d;
        s->positions[row] = a->start + token;
        s->best[row] = -INFINITY, s->total[row] = 0;
        memset(s->sums[row], 0, a->d * sizeof(float));
    }
    int64_t end = a->start + first + count;
    for (int64_t begin = 0; begin < end; begin += KEY_TILE) {
        pack_tile(a, s, kv_head, begin, end);
        score_tile(a, s, rows, begin);
        for (int64_t row = 0; row < rows; row++) weigh_row(s, row);
        sum_tile(a, s, rows);
    }
    for (int64_t row = 0; row < used; row++) {
        bf16 *out = a->out + (s->rows[row] - a->queries);
        __m512 inverse = _mm512_set1_ps(1.0f / s->total[row]);
        for (int64_t i = 0; i < a->d; i += 16)
            store_narrow(out + i, _mm512_mul_ps(_mm512_load_ps(&s->sums[row][i]), inverse));
    }
}

static int64_t tokens_per_tile(const prefill_args *a) { return QUERY_TILE / (a->heads / a->kv_heads); }

static int64_t num_tiles(const prefill_args *a) {
    return (a->num_tokens + tokens_per_tile(a) - 1) / tokens_per_tile(a);
}

static void attend_tiles(const void *args, int64_t begin, int64_t end) {
    const prefill_args *a = args;
    for (int64_t pair = begin; pair < end; pair++) {
        int64_t tile = num_tiles(a) - 1 - pair / a->kv_heads; /* the longest ones first */
        int64_t first = tile * tokens_per_tile(a), left = a->num_tokens - first;
        attend_tile(a, first, left < tokens_per_tile(a) ? left : tokens_per_tile(a), pair % a->kv_heads);
    }
}

/* Causal attention of many tokens of one sequence over its paged KV; d is a multiple of 32. */
void l4c_prefill_attention(const prefill_args *a) { parallel_for(attend_tiles, a, num_tiles(a) * a->kv_heads, 1); }
