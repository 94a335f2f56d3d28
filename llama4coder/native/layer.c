/* A decoder layer in one call: the same loops in the same order as its parts, without Python in between. */
#include "pool.h"
#include "vector.h"

typedef struct {
    const bf16 *attention_norm, *mlp_norm; /* [hidden] */
    const matrix *qkv, *attention_out, *gate_up, *down;
    float attention_eps, mlp_eps;
} layer;

typedef struct {
    const layer *layer;
    const step *step;
    const bf16 *x;             /* [m, hidden] */
    const bf16 *cosine, *sine; /* [m, d] */
    const layer_kv *kv;
    bf16 *scratch;             /* as many as l4c_layer_scratch says */
    bf16 *out;                 /* [m, hidden] */
} layer_args;

/* How many bf16 a token needs while a layer computes. */
int64_t l4c_layer_scratch(const layer *l, const step *s) {
    return 2 * l->down->n + l->qkv->n + 2 * (s->heads + s->kv_heads) * s->d + l->gate_up->n + l->down->k;
}

void l4c_decoder_layer(const layer_args *a) {
    const layer *l = a->layer;
    int64_t m = a->step->m, hidden = l->down->n, attended_size = a->step->heads * a->step->d;
    bf16 *normed = a->scratch, *middle = normed + m * hidden, *qkv = middle + m * hidden;
    bf16 *queries = qkv + m * l->qkv->n, *attended = queries + m * attended_size;
    bf16 *gate_up = attended + m * attended_size, *gated = gate_up + m * l->gate_up->n, *fresh = gated + m * l->down->k;
    l4c_rms_norm(&(norm_args){a->x, l->attention_norm, normed, m, hidden, l->attention_eps});
    l4c_linear(&(linear_args){.w = l->qkv, .x = normed, .out = qkv, .m = m});
    token_kv own = {fresh, fresh + m * a->step->kv_heads * a->step->d};
    l4c_step_attention(&(step_attention_args){
        qkv, a->cosine, a->sine, {a->step, a->kv, queries, own, {.out = attended}}});
    l4c_linear(&(linear_args){.w = l->attention_out, .x = attended, .residual = a->x, .out = middle, .m = m});
    l4c_rms_norm(&(norm_args){middle, l->mlp_norm, normed, m, hidden, l->mlp_eps});
    l4c_linear(&(linear_args){.w = l->gate_up, .x = normed, .out = gate_up, .m = m});
    l4c_swiglu(&(swiglu_args){gate_up, gated, m, l->down->k});
    l4c_linear(&(linear_args){.w = l->down, .x = gated, .residual = middle, .out = a->out, .m = m});
}
