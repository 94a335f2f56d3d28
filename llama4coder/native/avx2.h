/* Vectors of 16 floats as two halves on AVX2; bfloat16 is widened on the way to the product. */
#if !defined(__AVX512BF16__) && !defined(VECTOR)
#define VECTOR

#include "bfloat16.h"

/* Inputs that are kept for a second use would push accumulators out of the registers. */
#define LOAD_AGAIN() __asm__ volatile("" ::: "memory")

#define MAX_ROWS 3 /* rows that meet 32 columns at once: 12 accumulators of the 16 registers */

typedef struct {
    __m256 a, b;
} vec; /* 16 floats */

typedef struct {
    __m256i a, b;
} pairs; /* 16 pairs of bf16 */

INLINE vec v_set(float value) { return (vec){_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
INLINE vec v_load(const float *from) { return (vec){_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
INLINE void v_store(float *to, vec x) { _mm256_storeu_ps(to, x.a), _mm256_storeu_ps(to + 8, x.b); }
INLINE vec v_add(vec x, vec y) { return (vec){_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
INLINE vec v_sub(vec x, vec y) { return (vec){_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
INLINE vec v_mul(vec x, vec y) { return (vec){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
INLINE vec v_div(vec x, vec y) { return (vec){_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
INLINE vec v_min(vec x, vec y) { return (vec){_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
INLINE vec v_max(vec x, vec y) { return (vec){_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
INLINE vec v_fma(vec x, vec y, vec z) { return (vec){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
INLINE vec v_round(vec x) { return (vec){_mm256_round_ps(x.a, 8), _mm256_round_ps(x.b, 8)}; }

INLINE __m256 power_of_2(__m256 exponent) {
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(exponent), _mm256_set1_epi32(127)), 23));
}

/* Of whole exponents whose power is a normal number. */
INLINE vec v_times_power_of_2(vec x, vec exponent) {
    return v_mul(x, (vec){power_of_2(exponent.a), power_of_2(exponent.b)});
}

INLINE float v_sum(vec x) {
    __m256 eight = _mm256_add_ps(x.a, x.b);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

INLINE float v_highest(vec x) {
    __m256 eight = _mm256_max_ps(x.a, x.b);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

INLINE __m256 widen(const bf16 *from) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)from)), 16));
}

INLINE vec v_widen(const bf16 *from) { return (vec){widen(from), widen(from + 8)}; }

INLINE __m256i rounded(__m256 x) { /* to bf16 in the low half of each lane; nearest, ties to even */
    __m256i bits = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    return _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
}

INLINE void v_narrow(bf16 *to, vec x) {
    __m256i mixed = _mm256_packus_epi32(rounded(x.a), rounded(x.b));
    _mm256_storeu_si256((__m256i *)to, _mm256_permute4x64_epi64(mixed, 0xd8));
}

/* -inf in the lanes after `last`. */
INLINE vec v_hide_after(vec x, int64_t last) {
    __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), end = _mm256_set1_epi32((int)last);
    __m256 hidden = _mm256_set1_ps(-INFINITY);
    __m256 after_a = _mm256_castsi256_ps(_mm256_cmpgt_epi32(lanes, end));
    __m256 after_b = _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_add_epi32(lanes, _mm256_set1_epi32(8)), end));
    return (vec){_mm256_blendv_ps(x.a, hidden, after_a), _mm256_blendv_ps(x.b, hidden, after_b)};
}

/* -inf in the lanes before `first`. */
INLINE vec v_hide_before(vec x, int64_t first) {
    __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), begin = _mm256_set1_epi32((int)first);
    __m256 hidden = _mm256_set1_ps(-INFINITY);
    __m256 before_a = _mm256_castsi256_ps(_mm256_cmpgt_epi32(begin, lanes));
    __m256 before_b = _mm256_castsi256_ps(_mm256_cmpgt_epi32(begin, _mm256_add_epi32(lanes, _mm256_set1_epi32(8))));
    return (vec){_mm256_blendv_ps(x.a, hidden, before_a), _mm256_blendv_ps(x.b, hidden, before_b)};
}

typedef struct {
    __m256i a, b;
} ints; /* 16 of 32 bits */

INLINE ints i_bytes(const uint8_t *from) {
    return (ints){_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)from)),
                  _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(from + 8)))};
}

INLINE ints i_and(ints x, int mask) {
    __m256i same = _mm256_set1_epi32(mask);
    return (ints){_mm256_and_si256(x.a, same), _mm256_and_si256(x.b, same)};
}

INLINE ints i_or(ints x, ints y) { return (ints){_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
INLINE ints i_left(ints x, int bits) { return (ints){_mm256_slli_epi32(x.a, bits), _mm256_slli_epi32(x.b, bits)}; }
INLINE ints i_right(ints x, int bits) { return (ints){_mm256_srai_epi32(x.a, bits), _mm256_srai_epi32(x.b, bits)}; }
INLINE vec v_of_ints(ints x) { return (vec){_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
INLINE ints i_bits(vec x) { return (ints){_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }
INLINE vec v_of_bits(ints x) { return (vec){_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }
INLINE ints i_nearest(vec x) { return (ints){_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; } /* ties to even */

INLINE void i_store(int32_t *to, ints x) {
    _mm256_storeu_si256((__m256i *)to, x.a), _mm256_storeu_si256((__m256i *)to + 1, x.b);
}

INLINE vec v_widen_half(const half *from) {
    return (vec){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from)),
                 _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from + 1))};
}

INLINE void v_narrow_half(half *to, vec x) { /* ties to even */
    _mm_storeu_si128((__m128i *)to, _mm256_cvtps_ph(x.a, 0)), _mm_storeu_si128((__m128i *)to + 1, _mm256_cvtps_ph(x.b, 0));
}

INLINE pairs p_load(const void *from) {
    return (pairs){_mm256_loadu_si256(from), _mm256_loadu_si256((const __m256i *)from + 1)};
}

INLINE pairs p_repeat(const bf16 *pair) {
    __m256i same = _mm256_set1_epi32(pair_at(pair));
    return (pairs){same, same};
}

INLINE __m256 first_of(__m256i x) { return _mm256_castsi256_ps(_mm256_slli_epi32(x, 16)); }
INLINE __m256 second_of(__m256i x) {
    return _mm256_castsi256_ps(_mm256_and_si256(x, _mm256_set1_epi32((int)0xffff0000)));
}

/* sum + x0 * y0 + x1 * y1 */
INLINE vec v_dot(vec sum, pairs x, pairs y) {
    __m256 a = _mm256_fmadd_ps(first_of(x.a), first_of(y.a), sum.a);
    __m256 b = _mm256_fmadd_ps(first_of(x.b), first_of(y.b), sum.b);
    return (vec){_mm256_fmadd_ps(second_of(x.a), second_of(y.a), a), _mm256_fmadd_ps(second_of(x.b), second_of(y.b), b)};
}

/* Products with quantised weights: 16 outputs' weights of one input, in float32 without a detour over bf16. */
typedef float input;
typedef vec weights;

typedef struct {
    __m256i a, b;
} words; /* 16 times 8 values of 4 bits */

#define INPUTS_AT_ONCE 1 /* that one product of weights takes */
#define NIBBLE_OFFSET 0  /* what is too much in each value of 4 bits */

/* Divided by 16^place, by which w_nibbles gives too much. */
INLINE input input_of(bf16 x, int place) { return to_float(x) / (float)(1 << 4 * place); }

INLINE vec w_dot(vec sum, weights w, const input *x) { return v_fma(w, v_set(*x), sum); }

INLINE words w_load(const void *from) {
    return (words){_mm256_loadu_si256(from), _mm256_loadu_si256((const __m256i *)from + 1)};
}

INLINE __m256 from_int8(const int8_t *from) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)from)));
}

INLINE weights w_bytes(const int8_t *first, const int8_t *second) {
    return (void)second, (vec){from_int8(first), from_int8(first + 8)};
}

INLINE __m256 masked(__m256i x, int mask) { return _mm256_cvtepi32_ps(_mm256_and_si256(x, _mm256_set1_epi32(mask))); }

/* Of values 0, 4, 1, 5, 2, 6, 3, 7 of each word the one at `index`, times 16^(index / 2), which spares the shift. */
INLINE weights w_nibbles(words w, int index) {
    if (index % 2) w = (words){_mm256_srli_epi32(w.a, 16), _mm256_srli_epi32(w.b, 16)};
    return (vec){masked(w.a, 15 << index / 2 * 4), masked(w.b, 15 << index / 2 * 4)};
}

#endif
