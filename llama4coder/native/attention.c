/* The attention of a step; what all its layers share is prepared once. */
#include "attention.h"

typedef struct {
    const bf16 *qkv, *cosine, *sine; /* see rope_args */
    attention_args attention;
} step_attention_args;

/* Rotate, keep keys and values, and attend: rows [queries | keys | values] to what each token sees. */
void l4c_step_attention(const step_attention_args *args) {
    const attention_args *a = &args->attention;
    const step *s = a->step;
    rope_args rope = {args->qkv, args->cosine, args->sine, s->slots, a->queries, a->fresh.keys, a->fresh.values,
                      s->m, s->heads, s->kv_heads, s->d};
    if (a->kv->format == KV_DENSE)
        rope.keys = (bf16 *)a->kv->keys, rope.values = (bf16 *)a->kv->values;
    else
        rope.slots = NULL;
    rope_and_write(&rope);
    if (a->kv->format == KV_INT8) parallel_for(put_tokens, a, s->m, 8);
    if (a->kv->tail_tokens) parallel_for(seal_rows, a, s->num_rows * s->kv_heads, 1);
    if (a->kv->bounds) parallel_for(bound_rows, a, s->num_rows * s->kv_heads, 1);
    paged_attention(a);
    if (a->kv->tail_tokens) parallel_for(keep_tails, a, s->num_rows, 8);
}
