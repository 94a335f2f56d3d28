/* The attention of a step; what all its layers share is prepared once. */
#include "attention.h"

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
    paged_attention(&(attention_args){s, a->queries, a->keys, a->values, a->to});
}
