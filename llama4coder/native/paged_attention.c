/* Attention of some tokens of one sequence over its paged KV: keys and values are read and packed once for all of them.
 *
 * What a token gets does not depend on how many others are with it: verifying tokens gives the bits of decoding them.
 */
#include "attention.h"
#include "linear.h"
#include "pool.h"

#define KEY_TILE 64          /* keys that a tile of queries meets at once; all tokens meet the same tiles */
#define AHEAD (2 * KEY_TILE) /* keys that are fetched early: blocks are scattered, and the CPU cannot foresee them */
#define QUERY_TILE 96        /* rows (tokens times heads of a group) of a tile of queries */

typedef struct {
    float keys[MAX_HEAD / 2][KEY_TILE];      /* pairs of features, token by token */
    uint32_t values[KEY_TILE / 2][MAX_HEAD]; /* pairs of tokens, feature by feature */
    float scores[QUERY_TILE][KEY_TILE];
    bf16 weights[QUERY_TILE][KEY_TILE];
    float sums[QUERY_TILE][MAX_HEAD];
    float best[QUERY_TILE], total[QUERY_TILE], shrink[QUERY_TILE];
    const bf16 *rows[QUERY_TILE];
    int64_t places[QUERY_TILE];     /* of the row in the step, counting heads */
    int64_t first_seen[QUERY_TILE]; /* and last key that the row sees */
    int64_t last_seen[QUERY_TILE];  /* below the first if it sees none */
    bf16 wide_keys[4][MAX_HEAD], wide_values[4][MAX_HEAD]; /* of tokens that are not kept in bf16 */
    int64_t num_rows, num_keys;    /* of the tiles, keys in whole 32s */
} __attribute__((aligned(64))) tile_state;

/* Four tokens: from features side by side to pairs of them token by token. */
INLINE void pack_keys(const bf16 *const from[4], tile_state *s, int64_t t, int64_t d) {
    for (int64_t i = 0; i < d; i += 8) {
        __m128 a = _mm_loadu_ps((const float *)(from[0] + i)), b = _mm_loadu_ps((const float *)(from[1] + i));
        __m128 c = _mm_loadu_ps((const float *)(from[2] + i)), e = _mm_loadu_ps((const float *)(from[3] + i));
        _MM_TRANSPOSE4_PS(a, b, c, e);
        _mm_store_ps(&s->keys[i / 2][t], a), _mm_store_ps(&s->keys[i / 2 + 1][t], b);
        _mm_store_ps(&s->keys[i / 2 + 2][t], c), _mm_store_ps(&s->keys[i / 2 + 3][t], e);
    }
}

INLINE void pack_values(const bf16 *first, const bf16 *second, uint32_t *to, int64_t d) {
    for (int64_t i = 0; i < d; i++) to[i] = first[i] | (uint32_t)second[i] << 16;
}

/* Where the token at `at` of the shard begins in keys and in values. */
INLINE int64_t offset_of(const step *s, const int64_t *table, int64_t kv_head, int64_t at) {
    return ((table[at / BLOCK] * BLOCK + at % BLOCK) * s->kv_heads + kv_head) * s->d;
}

INLINE void fetch(const attention_args *a, int64_t offset) {
    const bf16 *keys = (const bf16 *)a->kv->keys + offset, *values = (const bf16 *)a->kv->values + offset;
    for (int64_t i = 0; i < a->step->d; i += 32) {
        _mm_prefetch((const char *)(keys + i), _MM_HINT_T0);
        _mm_prefetch((const char *)(values + i), _MM_HINT_T0);
    }
}

static const bf16 nothing[MAX_HEAD];

typedef struct {
    const bf16 *keys[4], *values[4];
} four_tokens;

INLINE void pack_four(tile_state *s, const four_tokens *from, int64_t t, int64_t d) {
    pack_keys(from->keys, s, t, d);
    for (int64_t i = 0; i < 4; i += 2) pack_values(from->values[i], from->values[i + 1], s->values[(t + i) / 2], d);
}

/* Keys and values from `begin` to `end` of the shard's part of a sequence. */
static void pack_tile(const attention_args *a, tile_state *s, const int64_t *table, int64_t kv_head, int64_t begin,
                      int64_t end) {
    int64_t d = a->step->d;
    for (int64_t t = 0; t < s->num_keys; t += 4) {
        four_tokens four = {{nothing, nothing, nothing, nothing}, {nothing, nothing, nothing, nothing}};
        int64_t at = begin + t, count = end - at < 4 ? end - at : 4;
        if (a->kv->format != KV_DENSE && count > 0) {
            kv_place place = {table[at / BLOCK], at % BLOCK, kv_head, a->step->kv_heads, d};
            decode(a->kv, place, count, s->wide_keys, s->wide_values);
        }
        for (int64_t i = 0; i < count; i++) {
            if (a->kv->format != KV_DENSE) {
                four.keys[i] = s->wide_keys[i], four.values[i] = s->wide_values[i];
                continue;
            }
            int64_t from = offset_of(a->step, table, kv_head, at + i);
            four.keys[i] = (const bf16 *)a->kv->keys + from, four.values[i] = (const bf16 *)a->kv->values + from;
            if (at + i + AHEAD < end) fetch(a, offset_of(a->step, table, kv_head, at + i + AHEAD));
        }
        pack_four(s, &four, t, d);
    }
}

/* Keys and values at positions from `begin` to `end` of a row's window, of blocks that the shard holds. */
static void pack_window(const attention_args *a, tile_state *s, const step_row *row, int64_t kv_head, int64_t begin,
                        int64_t end) {
    for (int64_t t = 0; t < s->num_keys; t += 4) {
        four_tokens four = {{nothing, nothing, nothing, nothing}, {nothing, nothing, nothing, nothing}};
        for (int64_t i = 0, at = begin + t; i < 4 && at < end; i++, at++) {
            token_kv token = window_token(a, row, kv_head, at);
            four.keys[i] = token.keys, four.values[i] = token.values;
        }
        pack_four(s, &four, t, a->step->d);
    }
}

INLINE void score_rows(tile_state *s, int64_t row, int64_t begin, int64_t d, const int rows) {
    vec scale = v_set(1.0f / sqrtf((float)d));
    for (int64_t first = 0; first < s->num_keys; first += 32) {
        vec low[MAX_ROWS], high[MAX_ROWS];
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) low[r] = high[r] = v_set(0);
        for (int64_t pair = 0; pair < d / 2; pair++) {
            pairs left = p_load(&s->keys[pair][first]), right = p_load(&s->keys[pair][first + 16]);
#pragma GCC unroll 12
            for (int r = 0; r < rows; r++) {
                pairs query = p_repeat(s->rows[row + r] + 2 * pair);
                low[r] = v_dot(low[r], left, query);
                high[r] = v_dot(high[r], right, query);
            }
        }
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) { /* what comes after the query is out of its sight */
            int64_t last = s->last_seen[row + r] - begin - first, from = s->first_seen[row + r] - begin - first;
            vec seen_low = v_hide_after(v_mul(low[r], scale), last);
            vec seen_high = v_hide_after(v_mul(high[r], scale), last - 16);
            if (from > 0) seen_low = v_hide_before(seen_low, from), seen_high = v_hide_before(seen_high, from - 16);
            v_store(&s->scores[row + r][first], seen_low);
            v_store(&s->scores[row + r][first + 16], seen_high);
        }
    }
}

static void weigh_row(tile_state *s, int64_t row) { /* the running softmax */
    vec sum = v_set(0), highest = v_set(-INFINITY);
    for (int64_t i = 0; i < s->num_keys; i += 16) highest = v_max(highest, v_load(&s->scores[row][i]));
    float best = v_highest(highest);
    if (s->best[row] > best) best = s->best[row];
    float finite = best > -INFINITY ? best : 0; /* of a row that sees nothing on this shard */
    for (int64_t i = 0; i < s->num_keys; i += 16) {
        /* Of what is hidden: too little to be felt. */
        vec weight = v_exp(v_sub(v_load(&s->scores[row][i]), v_set(finite)));
        sum = v_add(sum, weight);
        v_narrow(&s->weights[row][i], weight);
    }
    s->shrink[row] = s->total[row] > 0 ? expf(s->best[row] - finite) : 0;
    s->best[row] = best;
    s->total[row] = s->total[row] * s->shrink[row] + v_sum(sum);
}

INLINE void sum_rows(tile_state *s, int64_t row, int64_t d, const int rows) {
    for (int64_t i = 0; i < d; i += 32) {
        vec low[MAX_ROWS], high[MAX_ROWS];
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            vec shrink = v_set(s->shrink[row + r]);
            low[r] = v_mul(v_load(&s->sums[row + r][i]), shrink);
            high[r] = v_mul(v_load(&s->sums[row + r][i + 16]), shrink);
        }
        for (int64_t pair = 0; pair < s->num_keys / 2; pair++) {
            pairs left = p_load(&s->values[pair][i]), right = p_load(&s->values[pair][i + 16]);
#pragma GCC unroll 12
            for (int r = 0; r < rows; r++) {
                pairs weight = p_repeat(&s->weights[row + r][2 * pair]);
                low[r] = v_dot(low[r], left, weight);
                high[r] = v_dot(high[r], right, weight);
            }
        }
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            v_store(&s->sums[row + r][i], low[r]);
            v_store(&s->sums[row + r][i + 16], high[r]);
        }
    }
}

/* All rows of the tile meet the keys from `begin` on. */
static void meet_tile_of_keys(tile_state *s, int64_t begin, int64_t d) {
    int64_t passes = (s->num_rows + MAX_ROWS - 1) / MAX_ROWS;
    for (int64_t pass = 0; pass < passes; pass++) {
        int64_t row = s->num_rows * pass / passes, next = s->num_rows * (pass + 1) / passes;
        WITH_ROWS(next - row, score_rows, s, row, begin, d)
        for (int64_t r = row; r < next; r++) weigh_row(s, r);
        WITH_ROWS(next - row, sum_rows, s, row, d)
    }
}

INLINE int64_t keys_in_tile(int64_t begin, int64_t end) {
    return end - begin < KEY_TILE ? (end - begin + 31) / 32 * 32 : KEY_TILE;
}

/* The rows meet the keys of these blocks from `begin`, where a tile of keys begins, to `end`. */
static void meet_pool(const attention_args *a, tile_state *s, const int64_t *table, int64_t kv_head, int64_t begin,
                      int64_t end) {
    for (; begin < end; begin += KEY_TILE) {
        s->num_keys = keys_in_tile(begin, end);
        pack_tile(a, s, table, kv_head, begin, end);
        meet_tile_of_keys(s, begin, a->step->d);
    }
}

/* Each row meets what there is of its own block, if the shard holds it. Tiles of keys begin where blocks do, so that a
 * row meets its block in one tile, and in the same lanes whoever else is in the tile of queries. */
static void meet_own_blocks(const attention_args *a, tile_state *s, const query_tile *tile, int64_t kv_head) {
    int64_t group = a->step->heads / a->step->kv_heads;
    const shard *shard = &a->step->shard;
    for (int64_t row = 0; row < s->num_rows; row++) {
        int64_t position = tile->start + row / group;
        int is_held = position / BLOCK % shard->count == shard->index;
        s->first_seen[row] = block_start(position), s->last_seen[row] = is_held ? position : -1;
    }
    int64_t end = tile->start + tile->count;
    for (int64_t begin = block_start(tile->start); begin < end; begin += KEY_TILE) {
        s->num_keys = keys_in_tile(begin, end);
        pack_window(a, s, a->step->rows + tile->row, kv_head, begin, end);
        meet_tile_of_keys(s, begin, a->step->d);
    }
}

/* A tile's one token meets the best blocks, as if they were all that there is. */
static void meet_best(const attention_args *a, tile_state *s, const query_tile *tile, int64_t kv_head, int64_t end) {
    int64_t num_blocks = (end + BLOCK - 1) / BLOCK, missing = num_blocks * BLOCK - end; /* in the last, which is read */
    int64_t *chosen = malloc((num_blocks + 1) * sizeof(int64_t));
    if (!chosen) abort(); /* some kilobytes: the machine is out of memory */
    int64_t num_keys = choose_blocks(a, tile, kv_head, num_blocks, chosen) * BLOCK - missing;
    for (int64_t row = 0; row < s->num_rows; row++) s->last_seen[row] = num_keys - 1;
    meet_pool(a, s, chosen, kv_head, 0, num_keys);
    free(chosen);
}

/* The first position that the token at `position` sees. */
INLINE int64_t first_in_window(const step *s, int64_t position) {
    return s->window && position >= s->window ? position - s->window + 1 : 0;
}

static void attend(const attention_args *a, const query_tile *tile, int64_t kv_head) {
    tile_state state, *s = &state;
    int64_t group = a->step->heads / a->step->kv_heads, d = a->step->d, last = tile->start + tile->count - 1;
    int reads_own_dense = a->kv->format == KV_FP8 || a->kv->format == KV_INT4;
    s->num_rows = tile->count * group;
    for (int64_t row = 0; row < s->num_rows; row++) {
        int64_t position = tile->start + row / group;
        s->places[row] = (tile->first + row / group) * a->step->heads + kv_head * group + row % group;
        s->rows[row] = a->queries + s->places[row] * d;
        s->first_seen[row] = first_in_window(a->step, position);
        s->last_seen[row] = num_held(reads_own_dense ? block_start(position) : position + 1, &a->step->shard) - 1;
        s->best[row] = -INFINITY, s->total[row] = 0;
        memset(s->sums[row], 0, d * sizeof(float));
    }
    int64_t end = num_held(reads_own_dense ? block_start(last) : last + 1, &a->step->shard);
    if (tile->top_blocks) meet_best(a, s, tile, kv_head, end);
    else
        meet_pool(a, s, a->step->tables + tile->row * a->step->table_width, kv_head,
                  first_in_window(a->step, tile->start) / KEY_TILE * KEY_TILE, end);
    if (reads_own_dense) meet_own_blocks(a, s, tile, kv_head);
    for (int64_t row = 0; row < s->num_rows; row++)
        put_result(&a->to, s->places[row], s->sums[row], s->best[row], s->total[row], d);
}

static void attend_tiles(const void *args, int64_t begin, int64_t end) {
    const attention_args *a = args;
    int64_t kv_heads = a->step->kv_heads;
    for (int64_t i = begin; i < end; i++) attend(a, a->step->tiles + i / kv_heads, i % kv_heads);
}

/* Causal attention of every token of a step; d is a multiple of 32. */
static void paged_attention(const attention_args *a) {
    parallel_for(attend_tiles, a, a->step->num_tiles * a->step->kv_heads, 1);
}
