/* bfloat16 and the sizes that several files share.
 *
 * Plain C behind plain pointers, so that it compiles in seconds without torch's headers. All matrices are row-major and
 * contiguous; products accumulate in float32 and round once. Every function is parallel over independent outputs, so a
 * result does not depend on the number of threads.
 */
#ifndef BFLOAT16_H
#define BFLOAT16_H

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define BLOCK 16     /* tokens per KV block */
#define MAX_GROUP 16 /* query heads per KV head */
#define MAX_HEAD 256 /* head_dim */
#define INLINE static inline __attribute__((always_inline))

typedef uint16_t bf16;
typedef uint16_t half; /* IEEE float16 */

INLINE float to_float(bf16 value) {
    uint32_t bits = (uint32_t)value << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

INLINE bf16 to_bf16(float value) { /* round to nearest, ties to even */
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bf16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

INLINE int32_t pair_at(const bf16 *from) {
    int32_t pair;
    memcpy(&pair, from, sizeof pair);
    return pair;
}

#endif
