/* Attention of many tokens of one sequence over its paged KV, in tiles. */
#include "attention.h"
#include "pool.h"
#include "vector.h"

#define KEY_TILE 64  /* keys that a tile of queries meets at once */
#define QUERY_TILE 96 /* rows (query tokens times heads of a group) that share one packing of keys and values; MAX_ROWS divides it */

typedef struct {
    const bf16 *queries;    /* [tokens of the step, heads, d], rotated */
    const bf16 *keys;       /* [num_blocks, 16, kv_heads, d] */
    const bf16 *values;     /* the same */
    attention_result to;            /* of the whole step */
    int64_t first;          /* place of the first query token in it */
    const int64_t *table;   /* block ids of the sequence on this shard */
    int64_t num_tokens;     /* query tokens */
    int64_t start;          /* position of the first of them */
    const shard *shard;
    int64_t heads, kv_heads, d;
} prefill_args;

typedef struct {
    int32_t keys[MAX_HEAD / 2][KEY_TILE];    /* pairs of features, token by token */
    uint32_t values[KEY_TILE / 2][MAX_HEAD]; /* pairs of tokens, feature by feature */
    float scores[QUERY_TILE][KEY_TILE];
    bf16 weights[QUERY_TILE][KEY_TILE];
    float sums[QUERY_TILE][MAX_HEAD];
    float best[QUERY_TILE], total[QUERY_TILE], shrink[QUERY_TILE];
    const bf16 *rows[QUERY_TILE];
    int64_t places[QUERY_TILE]; /* of the row in the step, counting heads */
    int64_t last_seen[QUERY_TILE]; /* key that the row sees, -1 if none */
} __attribute__((aligned(64))) tile_state;

static void pack_tile(const prefill_args *a, tile_state *s, int64_t kv_head, int64_t begin, int64_t end) {
    static const bf16 nothing[MAX_HEAD];
    int64_t stride = a->kv_heads * a->d;
    for (int64_t t = 0; t < KEY_TILE; t += 2) {
        const bf16 *keys[2] = {nothing, nothing}, *values[2] = {nothing, nothing};
        for (int64_t i = 0, at = begin + t; i < 2 && at < end; i++, at++) {
            int64_t from = (a->table[at / BLOCK] * BLOCK + at % BLOCK) * stride + kv_head * a->d;
            keys[i] = a->keys + from, values[i] = a->values + from;
        }
        for (int64_t pair = 0; pair < a->d / 2; pair++) {
            s->keys[pair][t] = pair_at(keys[0] + 2 * pair);
            s->keys[pair][t + 1] = pair_at(keys[1] + 2 * pair);
        }
        for (int64_t i = 0; i < a->d; i++) s->values[t / 2][i] = values[0][i] | (uint32_t)values[1][i] << 16;
    }
}

static void score_tile(const prefill_args *a, tile_state *s, int64_t rows, int64_t begin) {
    vec scale = v_set(1.0f / sqrtf((float)a->d));
    for (int64_t row = 0; row < rows; row += MAX_ROWS)
        for (int64_t first = 0; first < KEY_TILE; first += 32) {
            vec low[MAX_ROWS], high[MAX_ROWS];
#pragma GCC unroll 12
            for (int r = 0; r < MAX_ROWS; r++) low[r] = high[r] = v_set(0);
            for (int64_t pair = 0; pair < a->d / 2; pair++) {
                pairs left = p_load(&s->keys[pair][first]), right = p_load(&s->keys[pair][first + 16]);
#pragma GCC unroll 12
                for (int r = 0; r < MAX_ROWS; r++) {
                    pairs query = p_repeat(s->rows[row + r] + 2 * pair);
                    low[r] = v_dot(low[r], left, query);
                    high[r] = v_dot(high[r], right, query);
                }
            }
#pragma GCC unroll 12
            for (int r = 0; r < MAX_ROWS; r++) { /* what comes after the query is out of its sight */
                int64_t last = s->last_seen[row + r] - begin - first;
                v_store(&s->scores[row + r][first], v_hide_after(v_mul(low[r], scale), last));
                v_store(&s->scores[row + r][first + 16], v_hide_after(v_mul(high[r], scale), last - 16));
            }
        }
}

static void weigh_row(tile_state *s, int64_t row) { /* the running softmax */
    vec score[4], sum = v_set(0), highest = v_set(-INFINITY);
    for (int i = 0; i < 4; i++) {
        score[i] = v_load(&s->scores[row][16 * i]);
        highest = v_max(highest, score[i]);
    }
    float best = v_highest(highest);
    if (s->best[row] > best) best = s->best[row];
    float finite = best > -INFINITY ? best : 0; /* of a row that sees nothing on this shard */
    for (int i = 0; i < 4; i++) {
        vec weight = v_exp(v_sub(score[i], v_set(finite)));
        sum = v_add(sum, weight);
        v_narrow(&s->weights[row][16 * i], weight);
    }
    s->shrink[row] = s->total[row] > 0 ? expf(s->best[row] - finite) : 0;
    s->best[row] = best;
    s->total[row] = s->total[row] * s->shrink[row] + v_sum(sum);
}

static void sum_tile(const prefill_args *a, tile_state *s, int64_t rows) {
    for (int64_t row = 0; row < rows; row += MAX_ROWS)
        for (int64_t i = 0; i < a->d; i += 32) {
            vec low[MAX_ROWS], high[MAX_ROWS];
#pragma GCC unroll 12
            for (int r = 0; r < MAX_ROWS; r++) {
                vec shrink = v_set(s->shrink[row + r]);
                low[r] = v_mul(v_load(&s->sums[row + r][i]), shrink);
                high[r] = v_mul(v_load(&s->sums[row + r][i + 16]), shrink);
            }
            for (int64_t pair = 0; pair < KEY_TILE / 2; pair++) {
                pairs left = p_load(&s->values[pair][i]), right = p_load(&s->values[pair][i + 16]);
#pragma GCC unroll 12
                for (int r = 0; r < MAX_ROWS; r++) {
                    pairs weight = p_repeat(&s->weights[row + r][2 * pair]);
                    low[r] = v_dot(low[r], left, weight);
                    high[r] = v_dot(high[r], right, weight);
                }
            }
#pragma GCC unroll 12
            for (int r = 0; r < MAX_ROWS; r++) {
                v_store(&s->sums[row + r][i], low[r]);
                v_store(&s->sums[row + r][i + 16], high[r]);
            }
        }
}

/* Query tokens [first, first + count) and the heads of one group, key tile by key tile. */
static void attend_tile(const prefill_args *a, int64_t first, int64_t count, int64_t kv_head) {
    tile_state state, *s = &state;
    int64_t group = a->heads / a->kv_heads, used = count * group;
    int64_t rows = (used + MAX_ROWS - 1) / MAX_ROWS * MAX_ROWS; /* the last pass is filled up with copies of a row */
    for (int64_t row = 0; row < rows; row++) {
        int64_t real = row < used ? row : used - 1, token = first + real / group;
        s->places[row] = (a->first + token) * a->heads + kv_head * group + real % group;
        s->rows[row] = a->queries + s->places[row] * a->d;
        s->last_seen[row] = num_held(a->start + token + 1, a->shard) - 1;
        s->best[row] = -INFINITY, s->total[row] = 0;
        memset(s->sums[row], 0, a->d * sizeof(float));
    }
    int64_t end = num_held(a->start + first + count, a->shard);
    for (int64_t begin = 0; begin < end; begin += KEY_TILE) {
        pack_tile(a, s, kv_head, begin, end);
        score_tile(a, s, rows, begin);
        for (int64_t row = 0; row < rows; row++) weigh_row(s, row);
        sum_tile(a, s, rows);
    }
    for (int64_t row = 0; row < used; row++)
        put_result(&a->to, s->places[row], s->sums[row], s->best[row], s->total[row], a->d);
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
static void prefill_attention(const prefill_args *a) { parallel_for(attend_tiles, a, num_tiles(a) * a->kv_heads, 1); }
