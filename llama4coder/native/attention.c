/* The attention of a step; what all its layers share is prepared once. */
#include "attention.h"
#include "pool.h"
#include "vector.h"

typedef struct {
    int64_t first, num_tokens; /* of the step */
    int64_t start;             /* position of the first of them */
    const int64_t *table;      /* block ids of the sequence on this shard */
} long_row;

typedef struct {
    const int64_t *slots;                     /* [m]; negative: kept by another shard */
    const int64_t *tokens, *lengths, *tables; /* of the tokens that are attended one by one: see attention_args */
    const long_row *long_rows;
    int64_t m, num_short, table_width, num_long;
    int64_t heads, kv_heads, d;
    shard shard;
} step;

typedef struct {
    const step *step;
    const bf16 *qkv, *cosine, *sine; /* see rope_args */
    bf16 *keys, *values;             /* the layer's pool */
    bf16 *queries;                   /* [m, heads, d], for our own use */
    attention_result to;
} step_attention_args;

/* Rotate, write keys and values to their slots, and attend: rows [queries | keys | values] to what each token sees. */
void l4c_step_attention(const step_attention_args *a) {
    const step *s = a->step;
    rope_and_write(&(rope_args){
        a->qkv, a->cosine, a->sine, s->slots, a->queries, a->keys, a->values, s->m, s->heads, s->kv_heads, s->d});
    decode_attention(&(attention_args){a->queries, a->keys, a->values, a->to, s->tokens, s->lengths, s->tables,
                                       s->num_short, s->table_width, s->heads, s->kv_heads, s->d});
    for (const long_row *row = s->long_rows; row < s->long_rows + s->num_long; row++)
        prefill_attention(&(prefill_args){a->queries, a->keys, a->values, a->to, row->first, row->table, row->num_tokens,
                                          row->start, &s->shard, s->heads, s->kv_heads, s->d});
}
