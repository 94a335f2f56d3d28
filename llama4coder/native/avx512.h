/* Vectors of 16 floats on AVX-512 with bfloat16 products. `avx2.h` has the same words. */
#if defined(__AVX512BF16__) && !defined(VECTOR)
#define VECTOR

#include "bfloat16.h"

#define LOAD_AGAIN() (void)0 /* see avx2.h; here are registers enough */
#define MAX_ROWS 12 /* rows that meet 32 columns at once: 24 accumulators of the 32 registers */

typedef __m512 vec;     /* 16 floats */
typedef __m512bh pairs; /* 16 pairs of bf16 */

INLINE vec v_set(float value) { return _mm512_set1_ps(value); }
INLINE vec v_load(const float *from) { return _mm512_loadu_ps(from); }
INLINE void v_store(float *to, vec a) { _mm512_storeu_ps(to, a); }
INLINE vec v_add(vec a, vec b) { return _mm512_add_ps(a, b); }
INLINE vec v_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
INLINE vec v_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
INLINE vec v_div(vec a, vec b) { return _mm512_div_ps(a, b); }
INLINE vec v_min(vec a, vec b) { return _mm512_min_ps(a, b); }
INLINE vec v_max(vec a, vec b) { return _mm512_max_ps(a, b); }
INLINE vec v_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vec v_round(vec a) { return _mm512_roundscale_ps(a, 0); }
INLINE vec v_times_power_of_2(vec a, vec exponent) { return _mm512_scalef_ps(a, exponent); } /* of whole exponents */
INLINE float v_sum(vec a) { return _mm512_reduce_add_ps(a); }
INLINE float v_highest(vec a) { return _mm512_reduce_max_ps(a); }

INLINE vec v_widen(const bf16 *from) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from)), 16));
}

INLINE void v_narrow(bf16 *to, vec a) { _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(a)); }

/* -inf in the lanes after `last`. */
INLINE vec v_hide_after(vec a, int64_t last) {
    __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __mmask16 seen = _mm512_cmple_epi32_mask(lanes, _mm512_set1_epi32((int)last));
    return _mm512_mask_mov_ps(_mm512_set1_ps(-INFINITY), seen, a);
}

/* -inf in the lanes before `first`. */
INLINE vec v_hide_before(vec a, int64_t first) {
    __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __mmask16 seen = _mm512_cmpge_epi32_mask(lanes, _mm512_set1_epi32((int)first));
    return _mm512_mask_mov_ps(_mm512_set1_ps(-INFINITY), seen, a);
}

typedef __m512i ints; /* 16 of 32 bits */

INLINE ints i_bytes(const uint8_t *from) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)from)); }
INLINE ints i_and(ints a, int mask) { return _mm512_and_si512(a, _mm512_set1_epi32(mask)); }
INLINE ints i_or(ints a, ints b) { return _mm512_or_si512(a, b); }
INLINE ints i_left(ints a, int bits) { return _mm512_slli_epi32(a, bits); }
INLINE ints i_right(ints a, int bits) { return _mm512_srai_epi32(a, bits); }
INLINE vec v_of_ints(ints a) { return _mm512_cvtepi32_ps(a); }
INLINE ints i_bits(vec a) { return _mm512_castps_si512(a); }
INLINE vec v_of_bits(ints a) { return _mm512_castsi512_ps(a); }
INLINE ints i_nearest(vec a) { return _mm512_cvtps_epi32(a); } /* ties to even */
INLINE void i_store(int32_t *to, ints a) { _mm512_storeu_si512(to, a); }
INLINE vec v_widen_half(const half *from) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from)); }
INLINE void v_narrow_half(half *to, vec a) { _mm256_storeu_si256((__m256i *)to, _mm512_cvtps_ph(a, 0)); } /* ties to even */

INLINE pairs p_load(const void *from) { return (pairs)_mm512_loadu_si512(from); }
INLINE pairs p_repeat(const bf16 *pair) { return (pairs)_mm512_set1_epi32(pair_at(pair)); }
INLINE vec v_dot(vec sum, pairs a, pairs b) { return _mm512_dpbf16_ps(sum, a, b); } /* sum + a0 * b0 + a1 * b1 */

/* Products with quantised weights: 16 outputs' weights of two inputs, all in bf16. */
typedef bf16 input;
typedef pairs weights;
typedef __m512i words; /* 16 times 8 values of 4 bits */

#define INPUTS_AT_ONCE 2 /* that one product of weights takes */
#define NIBBLE_OFFSET 16 /* what is too much in each value of 4 bits */

INLINE input input_of(bf16 x, int place) { return (void)place, x; }
INLINE vec w_dot(vec sum, weights w, const input *x) { return v_dot(sum, w, p_repeat(x)); }
INLINE words w_load(const void *from) { return _mm512_loadu_si512(from); }

INLINE __m512i float_bits_of_int8(const int8_t *from) {
    return (__m512i)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from)));
}

/* Weights of one input and of the next. In float32 the lower half of so small a number is zero. */
INLINE weights w_bytes(const int8_t *first, const int8_t *second) {
    return (pairs)_mm512_or_si512(_mm512_srli_epi32(float_bits_of_int8(first), 16), float_bits_of_int8(second));
}

/* Values `index` and `index` + 4 of each word, where a bf16 from 16 to 32 has its first four digits. */
INLINE weights w_nibbles(words w, int index) {
    __m512i moved = index ? _mm512_srli_epi32(w, 4 * index - 3) : _mm512_slli_epi32(w, 3);
    __m512i sixteen = _mm512_set1_epi32(0x41804180), digits = _mm512_set1_epi32(0x00780078);
    return (pairs)_mm512_or_si512(_mm512_and_si512(moved, digits), sixteen);
}

#endif
