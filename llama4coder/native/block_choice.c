/* Which blocks a token reads that may not read all, by the bounds of their keys; see llama4coder/kv/sparsity.py. */
#include "attention.h"
#include "pool.h"

#include <stdlib.h>

#define SINK_BLOCKS 1   /* the first ones */
#define RECENT_BLOCKS 2 /* the last ones */
#define AHEAD_BLOCKS 8  /* whose bounds are fetched early: blocks are scattered, and the CPU cannot foresee them */

/* The lowest and the highest keys of one head of a full block, as they are read. */
static void bound_block(const attention_args *a, int64_t block, int64_t kv_head) {
    int64_t kv_heads = a->step->kv_heads, d = a->step->d;
    bf16 keys[BLOCK][MAX_HEAD], values[BLOCK][MAX_HEAD];
    if (a->kv->format == KV_DENSE)
        for (int64_t t = 0; t < BLOCK; t++)
            memcpy(keys[t], (const bf16 *)a->kv->keys + ((block * BLOCK + t) * kv_heads + kv_head) * d, d * sizeof(bf16));
    else
        decode(a->kv, (kv_place){block, 0, kv_head, kv_heads, d}, BLOCK, keys, values);
    bf16 *to = a->kv->bounds + (block * kv_heads + kv_head) * 2 * d;
    for (int64_t i = 0; i < d; i += 16) {
        vec lowest = v_widen(keys[0] + i), highest = lowest;
        for (int64_t t = 1; t < BLOCK; t++) {
            lowest = v_min(lowest, v_widen(keys[t] + i));
            highest = v_max(highest, v_widen(keys[t] + i));
        }
        v_narrow(to + i, lowest);
        v_narrow(to + d + i, highest);
    }
}

/* Of one row and head all blocks that the step's tokens complete. */
static void bound_rows(const void *args, int64_t begin, int64_t end) {
    const attention_args *a = args;
    const step *s = a->step;
    for (int64_t i = begin; i < end; i++) {
        const step_row *row = s->rows + i / s->kv_heads;
        for (int64_t b = row->start / BLOCK; b < (row->start + row->count) / BLOCK; b++)
            if (b % s->shard.count == s->shard.index)
                bound_block(a, s->tables[i / s->kv_heads * s->table_width + b / s->shard.count], i % s->kv_heads);
    }
}

typedef struct {
    float above[MAX_HEAD], below[MAX_HEAD]; /* sums over heads of what their queries have above zero, and below */
} signed_queries;

static void sum_queries(const bf16 *from, signed_queries *to, int64_t heads, int64_t d) {
    for (int64_t i = 0; i < d; i += 16) {
        vec above = v_set(0), below = above;
        for (int64_t h = 0; h < heads; h++) {
            vec query = v_widen(from + h * d + i);
            above = v_add(above, v_max(query, v_set(0)));
            below = v_add(below, v_min(query, v_set(0)));
        }
        v_store(to->above + i, above);
        v_store(to->below + i, below);
    }
}

/* What the heads can score in a block at most, summed. */
INLINE float highest_score(const bf16 *bounds, const signed_queries *q, int64_t d) {
    vec sum = v_set(0);
    for (int64_t i = 0; i < d; i += 16) {
        sum = v_fma(v_load(q->above + i), v_widen(bounds + d + i), sum);
        sum = v_fma(v_load(q->below + i), v_widen(bounds + i), sum);
    }
    return v_sum(sum);
}

/* The number at `place` if they were ordered from the highest down; leaves them in another order. */
static float at_place(float *numbers, int64_t count, int64_t place) {
    int64_t low = 0, high = count - 1;
    while (low < high) {
        float pivot = numbers[(low + high) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (numbers[i] > pivot) i++;
            while (numbers[j] < pivot) j--;
            if (i > j) break;
            float swapped = numbers[i];
            numbers[i++] = numbers[j], numbers[j--] = swapped;
        }
        if (place > j && place < i) break;
        if (place <= j) high = j;
        else low = i;
    }
    return numbers[place];
}

typedef struct {
    int64_t held;    /* blocks of the sequence on the shard up to the token's own */
    int64_t limit;   /* how many of them are read */
    int64_t own;     /* counted over all shards, as are these: */
    int64_t index, stride;
} candidates;

INLINE int is_always_read(const candidates *c, int64_t place) {
    int64_t block = place * c->stride + c->index;
    return block < SINK_BLOCKS || block > c->own - RECENT_BLOCKS;
}

/* Of scores the lowest that is read, and how many of those that are as high, the first ones. */
typedef struct {
    float lowest;
    int64_t equal;
} least_score;

static least_score least_of(const candidates *c, const float *scores, float *ordered) {
    int64_t count = 0, above = 0;
    for (int64_t i = 0; i < c->held; i++)
        if (!is_always_read(c, i)) ordered[count++] = scores[i];
    int64_t num_chosen = c->limit - (c->held - count);
    if (num_chosen <= 0) return (least_score){INFINITY, 0};
    float lowest = at_place(ordered, count, num_chosen - 1);
    for (int64_t i = 0; i < count; i++) above += ordered[i] > lowest;
    return (least_score){lowest, num_chosen - above};
}

/* Of one query head group the highest scores in the shard's blocks, but not in those that are read in any case. */
static void score_blocks(const attention_args *a, const query_tile *tile, int64_t kv_head, const candidates *c,
                         float *scores) {
    const step *s = a->step;
    const int64_t *table = s->tables + tile->row * s->table_width;
    int64_t group = s->heads / s->kv_heads, d = s->d;
    signed_queries queries;
    sum_queries(a->queries + (tile->first * s->heads + kv_head * group) * d, &queries, group, d);
    for (int64_t i = 0; i < c->held; i++) {
        int64_t next = i + AHEAD_BLOCKS < c->held ? i + AHEAD_BLOCKS : i;
        const bf16 *coming = a->kv->bounds + (table[next] * s->kv_heads + kv_head) * 2 * d;
        for (int64_t j = 0; j < 2 * d; j += 32) _mm_prefetch((const char *)(coming + j), _MM_HINT_T0);
        if (is_always_read(c, i)) continue;
        scores[i] = highest_score(a->kv->bounds + (table[i] * s->kv_heads + kv_head) * 2 * d, &queries, d);
    }
}

/* Of the first `num_blocks` on the shard those that the tile's one token reads, in their order; returns how many. */
static int64_t choose_blocks(const attention_args *a, const query_tile *tile, int64_t kv_head, int64_t num_blocks,
                             int64_t *chosen) {
    const step *s = a->step;
    const int64_t *table = s->tables + tile->row * s->table_width;
    int64_t own = tile->start / BLOCK, count = s->shard.count, num_chosen = 0;
    int64_t held = (own + count - s->shard.index) / count, limit = (tile->top_blocks + count - 1) / count;
    candidates c = {held, limit, own, s->shard.index, count};
    float *scores = malloc((2 * c.held + 1) * sizeof(float));
    if (!scores) abort(); /* some kilobytes: the machine is out of memory */
    least_score least = {-INFINITY, 0};
    if (c.held > c.limit) {
        score_blocks(a, tile, kv_head, &c, scores);
        least = least_of(&c, scores, scores + c.held);
    }
    for (int64_t i = 0; i < num_blocks; i++) {
        int is_read = c.held <= c.limit || is_always_read(&c, i) || scores[i] > least.lowest ||
                      (scores[i] == least.lowest && least.equal-- > 0);
        if (is_read) chosen[num_chosen++] = table[i];
    }
    free(scores);
    return num_chosen;
}
