/* Attention of many tokens of one sequence over its paged KV, in tiles. */
#include "pool.h"
#include "vector.h"

#define KEY_TILE 64  /* keys that a tile of queries meets at once */
#define QUERY_TILE 96 /* rows (query tokens times heads of a group) that share one packing of keys and values */
#define PASS 12      /* of them in registers at a time; divides QUERY_TILE */

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
