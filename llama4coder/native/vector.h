/* What both kinds of vectors share. */
#ifndef VECTOR_H
#define VECTOR_H

#ifdef __AVX512BF16__
#include "avx512.h"
#else
#include "avx2.h"
#endif

INLINE vec v_exp(vec x) { /* 2^n * p(f), relative error below 1e-6 */
    x = v_max(v_min(x, v_set(88.0f)), v_set(-87.0f));
    vec n = v_round(v_mul(x, v_set(1.44269504f)));
    vec f = v_fma(n, v_set(-0.693359375f), x);
    f = v_fma(n, v_set(2.12194440e-4f), f);
    vec p = v_set(1.9875691500e-4f);
    p = v_fma(p, f, v_set(1.3981999507e-3f));
    p = v_fma(p, f, v_set(8.3334519073e-3f));
    p = v_fma(p, f, v_set(4.1665795894e-2f));
    p = v_fma(p, f, v_set(1.6666665459e-1f));
    p = v_fma(p, f, v_set(5.0000001201e-1f));
    p = v_fma(v_mul(p, f), f, v_add(f, v_set(1.0f)));
    return v_times_power_of_2(p, n);
}

INLINE vec v_abs(vec x) { return v_of_bits(i_and(i_bits(x), 0x7fffffff)); }

/* The first `count` of 16; the rest is zero. */
INLINE vec v_widen_first(const bf16 *from, int64_t count) {
    if (count >= 16) return v_widen(from);
    bf16 padded[16] = {0};
    memcpy(padded, from, count * sizeof(bf16));
    return v_widen(padded);
}

INLINE void v_narrow_first(bf16 *to, vec a, int64_t count) {
    if (count >= 16) {
        v_narrow(to, a);
        return;
    }
    bf16 padded[16];
    v_narrow(padded, a);
    memcpy(to, padded, count * sizeof(bf16));
}

INLINE void v_store_first(float *to, vec a, int64_t count) {
    if (count >= 16) {
        v_store(to, a);
        return;
    }
    float padded[16];
    v_store(padded, a);
    memcpy(to, padded, count * sizeof(float));
}

#endif
