/* Attention of single tokens over paged KV. */
#include "pool.h"
#include "vector.h"

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
