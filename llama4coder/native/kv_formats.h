/* A layer's keys and values in each of the formats of llama4coder/kv/formats, and what their numbers stand for. */
#ifndef KV_FORMATS_H
#define KV_FORMATS_H

#include "vector.h"

enum { KV_DENSE, KV_INT8, KV_FP8, KV_INT4 };

typedef struct {
    bf16 *keys, *values;
} token_kv;

typedef struct {
    int64_t format;
    uint8_t *keys, *values;          /* [num_blocks, 16, kv_heads, d]: bf16, int8, e4m3, or channels i and i + d / 2 in a byte */
    void *key_scales, *value_scales; /* int8: float [num_blocks, 16, kv_heads]; fp8: float [num_blocks, kv_heads] */
    half *key_lows, *value_lows;     /* int4, and its scales: half [num_blocks, kv_heads, d] and [num_blocks, 16, kv_heads] */
    token_kv tail;                   /* fp8, int4: [sequences, tail_tokens, kv_heads, d], position p at p % tail_tokens */
    int64_t tail_tokens;
    bf16 *bounds;                    /* [num_blocks, kv_heads, 2, d], lowest and highest keys of full blocks; or NULL */
} layer_kv;

typedef struct {
    int64_t block, offset; /* of the first token */
    int64_t kv_head, kv_heads, d;
} kv_place;

INLINE vec int8_at(const uint8_t *from) { return v_of_ints(i_right(i_left(i_bytes(from), 24), 24)); }

/* The bits of e4m3 are those of a float whose exponent is 120 too small; that holds for the smallest numbers, too. */
INLINE vec e4m3_at(const uint8_t *from) {
    ints bits = i_bytes(from);
    ints bare = i_or(i_left(i_and(bits, 0x7f), 20), i_left(i_and(bits, 0x80), 24));
    return v_mul(v_of_bits(bare), v_set(0x1p120f));
}

INLINE void decode_scaled(const uint8_t *from, float scale, int is_int8, bf16 *to, int64_t d) {
    vec by = v_set(scale);
    for (int64_t i = 0; i < d; i += 16) v_narrow(to + i, v_mul(is_int8 ? int8_at(from + i) : e4m3_at(from + i), by));
}

INLINE vec nibbles_at(const uint8_t *from, int64_t i, int64_t d) {
    ints bytes = i_bytes(from + i % (d / 2));
    return v_of_ints(i < d / 2 ? i_and(bytes, 15) : i_right(bytes, 4));
}

INLINE void decode_channels(const uint8_t *from, const half *scales, const half *lows, bf16 *to, int64_t d) {
    for (int64_t i = 0; i < d; i += 16)
        v_narrow(to + i, v_fma(nibbles_at(from, i, d), v_widen_half(scales + i), v_widen_half(lows + i)));
}

INLINE float half_at(const half *from) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(*from))); }

INLINE void decode_token(const uint8_t *from, float scale, float low, bf16 *to, int64_t d) {
    for (int64_t i = 0; i < d; i += 16)
        v_narrow(to + i, v_fma(nibbles_at(from, i, d), v_set(scale), v_set(low)));
}

/* `count` tokens of one block and head. */
static void decode(const layer_kv *kv, kv_place at, int64_t count, bf16 (*keys)[MAX_HEAD], bf16 (*values)[MAX_HEAD]) {
    int64_t d = at.d, in_block = at.block * at.kv_heads + at.kv_head;
    for (int64_t i = 0; i < count; i++) {
        int64_t token = (at.block * BLOCK + at.offset + i) * at.kv_heads + at.kv_head;
        const float *key_scales = kv->key_scales, *value_scales = kv->value_scales;
        if (kv->format == KV_INT4) {
            const half *scales = (const half *)kv->key_scales + in_block * d, *token_scales = kv->value_scales;
            decode_channels(kv->keys + token * d / 2, scales, kv->key_lows + in_block * d, keys[i], d);
            float scale = half_at(token_scales + token), low = half_at(kv->value_lows + token);
            decode_token(kv->values + token * d / 2, scale, low, values[i], d);
        } else if (kv->format == KV_INT8) {
            decode_scaled(kv->keys + token * d, key_scales[token], 1, keys[i], d);
            decode_scaled(kv->values + token * d, value_scales[token], 1, values[i], d);
        } else {
            decode_scaled(kv->keys + token * d, key_scales[in_block], 0, keys[i], d);
            decode_scaled(kv->values + token * d, value_scales[in_block], 0, values[i], d);
        }
    }
}

#endif
