/* Attention of single tokens over paged KV. */
#include "attention.h"
#include "pool.h"
#include "vector.h"

typedef struct {
    const bf16 *queries;     /* [num_tokens, heads, d], rotated */
    const bf16 *keys;        /* [num_blocks, 16, kv_heads, d] */
    const bf16 *values;      /* the same */
    attention_result to;
    const int64_t *tokens;   /* [rows] places of the query tokens */
    const int64_t *lengths;  /* [rows] tokens each of them attends to; may be 0 on a KV shard */
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
        for (int64_t g = 0; g < group; g++) {
            float scores[BLOCK] __attribute__((aligned(64))) = {0};
            for (int64_t t = 0; t < count; t++) {
                vec product = v_set(0);
                for (int64_t i = 0; i < d; i += 32)
                    product = v_dot(product, p_load(queries + g * d + i), p_load(keys + t * stride + i));
                scores[t] = v_sum(product) * scale;
            }
            vec score = v_hide_after(v_load(scores), count - 1);
            float highest = v_highest(score);
            highest = highest > best[g] ? highest : best[g];
            float shrink = total[g] ? expf(best[g] - highest) : 0;
            vec weight = v_exp(v_sub(score, v_set(highest))); /* of what is hidden: too little to be felt */
            best[g] = highest;
            total[g] = total[g] * shrink + v_sum(weight);
            v_store(scores, weight);
            for (int64_t i = 0; i < d; i += 16) {
                vec sum = v_mul(v_load(sums + g * d + i), v_set(shrink));
                for (int64_t t = 0; t < count; t++)
                    sum = v_fma(v_set(scores[t]), v_widen(values + t * stride + i), sum);
                v_store(sums + g * d + i, sum);
            }
        }
    }
    for (int64_t g = 0; g < group; g++)
        put_result(&a->to, a->tokens[row] * a->heads + kv_head * group + g, sums + g * d, best[g], total[g], d);
}

static void attend_pairs(const void *args, int64_t begin, int64_t end) {
    const attention_args *a = args;
    for (int64_t pair = begin; pair < end; pair++) attend(a, pair / a->kv_heads, pair % a->kv_heads);
}

/* Attention of single tokens over paged KV; d is a multiple of 32. */
static void decode_attention(const attention_args *a) { parallel_for(attend_pairs, a, a->rows * a->kv_heads, 1); }
