/* Normalisation, SwiGLU and rotation: a row of the residual stream at a time. */
#include "pool.h"
#include "vector.h"

typedef struct {
    const bf16 *x, *weight;
    bf16 *out;
    int64_t m, n;
    float eps;
} norm_args;

static void normalise_rows(const void *args, int64_t begin, int64_t end) {
    const norm_args *a = args;
    for (int64_t row = begin; row < end; row++) {
        const bf16 *from = a->x + row * a->n;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < a->n; i++) sum += to_float(from[i]) * to_float(from[i]);
        float scale = 1.0f / sqrtf(sum / a->n + a->eps);
#pragma omp simd
        for (int64_t i = 0; i < a->n; i++)
            a->out[row * a->n + i] = to_bf16(to_float(a->weight[i]) * to_float(to_bf16(to_float(from[i]) * scale)));
    }
}

/* x / rms(x), rounded, times weight: as the models were trained. */
void l4c_rms_norm(const norm_args *a) { parallel_for(normalise_rows, a, a->m, 8); }

typedef struct {
    const bf16 *gate_up; /* [m, 2 * n] */
    bf16 *out;           /* [m, n] */
    int64_t m, n;
} swiglu_args;

static void swiglu_rows(const void *args, int64_t begin, int64_t end) {
    const swiglu_args *a = args;
    vec one = v_set(1.0f);
    for (int64_t row = begin; row < end; row++) {
        const bf16 *gate = a->gate_up + row * 2 * a->n, *up = gate + a->n;
        for (int64_t i = 0; i < a->n; i += 16) {
            vec g = v_widen(gate + i), sigmoid = v_div(one, v_add(one, v_exp(v_sub(v_set(0), g))));
            v_narrow(a->out + row * a->n + i, v_mul(v_mul(g, sigmoid), v_widen(up + i)));
        }
    }
}

/* silu(gate) * up of rows [gate | up]; n, the width of each half, is a multiple of 16. */
void l4c_swiglu(const swiglu_args *a) { parallel_for(swiglu_rows, a, a->m, 4); }

static inline void rotate(const bf16 *from, const bf16 *cosine, const bf16 *sine, bf16 *to, int64_t d) {
    int64_t half = d / 2;
#pragma omp simd
    for (int64_t i = 0; i < half; i++) {
        float first = to_float(from[i]), second = to_float(from[i + half]);
        to[i] = to_bf16(first * to_float(cosine[i]) - second * to_float(sine[i]));
        to[i + half] = to_bf16(second * to_float(cosine[i + half]) + first * to_float(sine[i + half]));
    }
}

typedef struct {
    const bf16 *qkv;           /* [m, (heads + 2 * kv_heads) * d] */
    const bf16 *cosine, *sine; /* [m, d] */
    const int64_t *slots;      /* [m]; negative: the token is rotated and not stored; or NULL: token t at slot t */
    bf16 *queries;             /* [m, heads, d] */
    bf16 *keys, *values;       /* [slots of the pool, kv_heads, d] */
    int64_t m, heads, kv_heads, d;
} rope_args;

static void rotate_tokens(const void *args, int64_t begin, int64_t end) {
    const rope_args *a = args;
    int64_t heads = a->heads, kv_heads = a->kv_heads, d = a->d;
    for (int64_t t = begin; t < end; t++) {
        const bf16 *row = a->qkv + t * (heads + 2 * kv_heads) * d, *c = a->cosine + t * d, *s = a->sine + t * d;
        int64_t slot = (a->slots ? a->slots[t] : t) * kv_heads * d;
        for (int64_t h = 0; h < heads; h++) rotate(row + h * d, c, s, a->queries + (t * heads + h) * d, d);
        if (slot < 0) continue;
        for (int64_t h = 0; h < kv_heads; h++) rotate(row + (heads + h) * d, c, s, a->keys + slot + h * d, d);
        memcpy(a->values + slot, row + (heads + kv_heads) * d, kv_heads * d * sizeof(bf16));
    }
}

/* Rows [queries | keys | values]: rotated queries to `queries`, rotated keys and values to their slots. */
static void rope_and_write(const rope_args *a) { parallel_for(rotate_tokens, a, a->m, 8); }
