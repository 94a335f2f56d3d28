/* The rows of a step, and what attention gives: the whole of it, or what one KV shard's keys and values contribute. */
#ifndef ATTENTION_H
#define ATTENTION_H

#include "kv_formats.h"

typedef struct {
    int64_t index, count; /* of KV shards */
} shard;

typedef struct {
    int64_t first, count; /* tokens of the step, all of one sequence */
    int64_t start;        /* position of the first of them */
    int64_t row;
    int64_t top_blocks;   /* that its one token reads; 0: every token reads all that is before it */
} query_tile;

typedef struct {
    int64_t first, count; /* tokens of the step */
    int64_t start;        /* position of the first of them */
    int64_t tail;         /* which of the tails is the sequence's */
} step_row;

typedef struct {
    const int64_t *slots;     /* [m]; negative: kept by another shard */
    const query_tile *tiles;  /* [num_tiles], of every token */
    const step_row *rows;     /* [num_rows], one sequence each */
    const int64_t *tables;    /* [num_rows, table_width] block ids of each sequence on this shard */
    int64_t m, num_tiles, num_rows, table_width;
    int64_t heads, kv_heads, d;
    shard shard;
    int64_t window; /* tokens that each token sees, itself included, at least a block; 0: all; else there is one shard */
} step;

typedef struct {
    bf16 *out;   /* [m, heads, d], or NULL if this is a part: then */
    float *part; /* [m, heads, d] */
    float *lse;  /* [m, heads], log of the sum of exp(scores); -inf where nothing was seen */
} attention_result;

/* A layer's part of a step. */
typedef struct {
    const step *step;
    const layer_kv *kv;
    bf16 *queries;       /* [m, heads, d], rotated */
    token_kv fresh;      /* [m, kv_heads, d], the step's own keys and values, if the pool is not dense */
    attention_result to;
} attention_args;

INLINE int64_t block_start(int64_t position) { return position / BLOCK * BLOCK; }

/* Keys and values of one head at a position of the row's window: the first token's block and all after it. */
INLINE token_kv window_token(const attention_args *a, const step_row *row, int64_t kv_head, int64_t position) {
    const step *s = a->step;
    if (position >= row->start) {
        int64_t place = ((row->first + position - row->start) * s->kv_heads + kv_head) * s->d;
        return (token_kv){a->fresh.keys + place, a->fresh.values + place};
    }
    int64_t place = ((row->tail * a->kv->tail_tokens + position % a->kv->tail_tokens) * s->kv_heads + kv_head) * s->d;
    return (token_kv){a->kv->tail.keys + place, a->kv->tail.values + place};
}

/* One head of one token, `place` counting heads: its weighted values, highest score and sum of weights. */
INLINE void put_result(const attention_result *to, int64_t place, const float *sums, float best, float total, int64_t d) {
    int seen = best > -INFINITY;
    vec inverse = v_set(1.0f / total), nothing = v_set(0);
    if (to->out) {
        for (int64_t i = 0; i < d; i += 16) v_narrow(to->out + place * d + i, v_mul(v_load(sums + i), inverse));
        return;
    }
    for (int64_t i = 0; i < d; i += 16)
        v_store(to->part + place * d + i, seen ? v_mul(v_load(sums + i), inverse) : nothing);
    to->lse[place] = best + logf(total);
}

/* How many of a sequence's first tokens lie on the shard: see llama4coder/kv/striping.py. */
INLINE int64_t num_held(int64_t num_tokens, const shard *s) {
    int64_t full = num_tokens / BLOCK, rest = num_tokens % BLOCK;
    return BLOCK * ((full + s->count - 1 - s->index) / s->count) + (full % s->count == s->index ? rest : 0);
}

#endif
