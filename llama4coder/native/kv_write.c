/* Putting a step's keys and values where later ones find them, in every format but the dense one. */
#include "attention.h"
#include "pool.h"

static float highest_of(const bf16 *from, int64_t d) {
    vec highest = v_set(0);
    for (int64_t i = 0; i < d; i += 16) highest = v_max(highest, v_abs(v_widen(from + i)));
    return v_highest(highest);
}

static void store_bytes(uint8_t *to, ints x) {
    int32_t wide[16];
    i_store(wide, x);
    for (int i = 0; i < 16; i++) to[i] = (uint8_t)wide[i];
}

static void put_int8(const bf16 *from, uint8_t *to, float *scale, int64_t d) {
    *scale = highest_of(from, d) / 127;
    vec inverse = v_set(*scale > 0 ? 1 / *scale : 0);
    for (int64_t i = 0; i < d; i += 16) {
        vec steps = v_min(v_max(v_mul(v_widen(from + i), inverse), v_set(-127)), v_set(127));
        store_bytes(to + i, i_nearest(steps));
    }
}

static void put_tokens(const void *args, int64_t begin, int64_t end) {
    const attention_args *a = args;
    const step *s = a->step;
    for (int64_t t = begin; t < end; t++) {
        if (s->slots[t] < 0) continue;
        for (int64_t h = 0; h < s->kv_heads; h++) {
            int64_t from = (t * s->kv_heads + h) * s->d, to = s->slots[t] * s->kv_heads + h;
            put_int8(a->fresh.keys + from, a->kv->keys + to * s->d, (float *)a->kv->key_scales + to, s->d);
            put_int8(a->fresh.values + from, a->kv->values + to * s->d, (float *)a->kv->value_scales + to, s->d);
        }
    }
}

static uint8_t to_e4m3(float value) { /* of at most 448; ties to even */
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t sign = bits >> 24 & 0x80, bare = bits & 0x7fffffff;
    if (bare < 0x3c800000) return (uint8_t)(sign | (uint32_t)rintf(fabsf(value) * 512)); /* below 2^-6: in steps of 2^-9 */
    return (uint8_t)(sign | (((bare + 0x7ffff + (bare >> 20 & 1)) >> 20) - (120 << 3)));
}

/* One head of a block, `tokens` of it given apart. */
static void seal_fp8(const bf16 *const tokens[BLOCK], uint8_t *to, float *scale, int64_t stride, int64_t d) {
    float highest = 0;
    for (int64_t t = 0; t < BLOCK; t++) highest = fmaxf(highest, highest_of(tokens[t], d));
    *scale = highest / 448;
    float inverse = *scale > 0 ? 1 / *scale : 0;
    for (int64_t t = 0; t < BLOCK; t++)
        for (int64_t i = 0; i < d; i++)
            to[t * stride + i] = to_e4m3(fminf(fmaxf(to_float(tokens[t][i]) * inverse, -448), 448));
}

INLINE ints steps_between(vec x, vec low, vec inverse) {
    return i_nearest(v_min(v_max(v_mul(v_sub(x, low), inverse), v_set(0)), v_set(15)));
}

INLINE vec inverse_of(vec scale) { /* zero of zero */
    float from[16], to[16];
    v_store(from, scale);
    for (int i = 0; i < 16; i++) to[i] = from[i] > 0 ? 1 / from[i] : 0;
    return v_load(to);
}

static void seal_channels(const bf16 *const tokens[BLOCK], uint8_t *to, half *scales, half *lows, int64_t stride,
                          int64_t d) {
    vec inverse[MAX_HEAD / 16], low[MAX_HEAD / 16];
    for (int64_t i = 0; i < d; i += 16) {
        vec lowest = v_widen(tokens[0] + i), highest = lowest;
        for (int64_t t = 1; t < BLOCK; t++) {
            lowest = v_min(lowest, v_widen(tokens[t] + i));
            highest = v_max(highest, v_widen(tokens[t] + i));
        }
        v_narrow_half(lows + i, lowest);
        low[i / 16] = v_widen_half(lows + i);
        v_narrow_half(scales + i, v_div(v_sub(highest, low[i / 16]), v_set(15)));
        inverse[i / 16] = inverse_of(v_widen_half(scales + i));
    }
    for (int64_t t = 0; t < BLOCK; t++)
        for (int64_t i = 0, j = d / 2; i < d / 2; i += 16, j += 16) {
            ints first = steps_between(v_widen(tokens[t] + i), low[i / 16], inverse[i / 16]);
            ints second = steps_between(v_widen(tokens[t] + j), low[j / 16], inverse[j / 16]);
            store_bytes(to + t * stride + i, i_or(first, i_left(second, 4)));
        }
}

static void seal_token(const bf16 *token, uint8_t *to, half *scale, half *low, int64_t d) {
    vec lowest = v_widen(token), highest = lowest;
    for (int64_t i = 16; i < d; i += 16) {
        lowest = v_min(lowest, v_widen(token + i));
        highest = v_max(highest, v_widen(token + i));
    }
    half rounded[16];
    v_narrow_half(rounded, v_set(-v_highest(v_sub(v_set(0), lowest))));
    *low = rounded[0];
    vec base = v_set(half_at(low));
    v_narrow_half(rounded, v_div(v_sub(v_set(v_highest(highest)), base), v_set(15)));
    *scale = rounded[0];
    vec inverse = inverse_of(v_set(half_at(scale)));
    for (int64_t i = 0, j = d / 2; i < d / 2; i += 16, j += 16) {
        ints first = steps_between(v_widen(token + i), base, inverse);
        ints second = steps_between(v_widen(token + j), base, inverse);
        store_bytes(to + i, i_or(first, i_left(second, 4)));
    }
}

static void seal_block(const attention_args *a, const step_row *row, int64_t kv_head, int64_t begin, int64_t block) {
    const step *s = a->step;
    const layer_kv *kv = a->kv;
    const bf16 *keys[BLOCK], *values[BLOCK];
    for (int64_t t = 0; t < BLOCK; t++) {
        token_kv at = window_token(a, row, kv_head, begin + t);
        keys[t] = at.keys, values[t] = at.values;
    }
    int64_t token = block * BLOCK * s->kv_heads + kv_head, stride = s->kv_heads, in_block = block * s->kv_heads + kv_head;
    if (kv->format == KV_FP8) {
        seal_fp8(keys, kv->keys + token * s->d, (float *)kv->key_scales + in_block, stride * s->d, s->d);
        seal_fp8(values, kv->values + token * s->d, (float *)kv->value_scales + in_block, stride * s->d, s->d);
        return;
    }
    half *scales = (half *)kv->key_scales + in_block * s->d, *token_scales = kv->value_scales;
    seal_channels(keys, kv->keys + token * s->d / 2, scales, kv->key_lows + in_block * s->d, stride * s->d / 2, s->d);
    for (int64_t t = 0; t < BLOCK; t++, token += stride)
        seal_token(values[t], kv->values + token * s->d / 2, token_scales + token, kv->value_lows + token, s->d);
}

/* Of one row and head all blocks that the step's tokens complete. */
static void seal_rows(const void *args, int64_t begin, int64_t end) {
    const attention_args *a = args;
    const step *s = a->step;
    for (int64_t i = begin; i < end; i++) {
        const step_row *row = s->rows + i / s->kv_heads;
        for (int64_t b = row->start / BLOCK; b < (row->start + row->count) / BLOCK; b++)
            if (b % s->shard.count == s->shard.index) {
                int64_t block = s->tables[i / s->kv_heads * s->table_width + b / s->shard.count];
                seal_block(a, row, i % s->kv_heads, b * BLOCK, block);
            }
    }
}

static void keep_tails(const void *args, int64_t begin, int64_t end) {
    const attention_args *a = args;
    int64_t size = a->step->kv_heads * a->step->d, tail_tokens = a->kv->tail_tokens;
    for (int64_t i = begin; i < end; i++) {
        const step_row *row = a->step->rows + i;
        for (int64_t t = row->count > tail_tokens ? row->count - tail_tokens : 0; t < row->count; t++) {
            int64_t from = (row->first + t) * size, to = (row->tail * tail_tokens + (row->start + t) % tail_tokens) * size;
            memcpy(a->kv->tail.keys + to, a->fresh.keys + from, size * sizeof(bf16));
            memcpy(a->kv->tail.values + to, a->fresh.values + from, size * sizeof(bf16));
        }
    }
}
