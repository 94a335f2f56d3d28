/* The last step of sampling: argmax(logits / temperature + noise), with the noise of sampling/noise.py.
 *
 * Plain loops over tiles of 64 tokens, which compilers turn into vectors of whatever width there is.
 */
#include "pool.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define TILE 64            /* tokens */
#define LANES (TILE / 4)   /* Philox blocks */
#define LN2_UP 0.69321647f /* ln 2 and a ten-thousandth, for roundings on the way to a bound */

typedef struct {
    const float *logits;       /* [rows, vocab], of the tokens from `first_token` on */
    const float *lowest;       /* [rows] or NULL: tokens below it are out */
    const float *temperatures; /* [rows], 0: take the largest logit */
    const uint64_t *seeds, *positions; /* [rows] */
    int64_t *tokens;           /* [rows], the result */
    float *values;             /* [rows], what they won with */
    int64_t rows, vocab, first_token;
} draw_args;

typedef struct {
    float value;
    int64_t token;
} best_token;

/* Philox4x32-10 (Salmon et al., SC 2011) of 16 blocks from `first` on: the words of 64 tokens. */
static void philox(uint32_t first, uint64_t position, uint64_t seed, uint32_t words[TILE]) {
    uint32_t c0[LANES], c1[LANES], c2[LANES], c3[LANES], k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (uint32_t lane = 0; lane < LANES; lane++) {
        c0[lane] = first + lane, c1[lane] = (uint32_t)position;
        c2[lane] = (uint32_t)(position >> 32), c3[lane] = 0;
    }
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9, k1 += 0xBB67AE85) {
#pragma omp simd
        for (int lane = 0; lane < LANES; lane++) {
            uint64_t product0 = (uint64_t)c0[lane] * 0xD2511F53, product1 = (uint64_t)c2[lane] * 0xCD9E8D57;
            c0[lane] = (uint32_t)(product1 >> 32) ^ c1[lane] ^ k0, c1[lane] = (uint32_t)product1;
            c2[lane] = (uint32_t)(product0 >> 32) ^ c3[lane] ^ k1, c3[lane] = (uint32_t)product0;
        }
    }
    for (int lane = 0; lane < LANES; lane++) {
        words[4 * lane] = c0[lane], words[4 * lane + 1] = c1[lane];
        words[4 * lane + 2] = c2[lane], words[4 * lane + 3] = c3[lane];
    }
}

/* The noise of a word is at most (32 - floor(log2 word)) ln 2. */
static inline float noise_bound(uint32_t word) {
    float half = (float)(int32_t)(word >> 1); /* signed: what every vector unit converts */
    uint32_t bits;
    memcpy(&bits, &half, sizeof bits);
    return (float)(32 + 126 - (int32_t)(bits >> 23)) * LN2_UP;
}

static inline float noise(uint32_t word) { return -logf(-log1pf(-((float)word + 0.5f) * 0x1p-32f)); }

/* Nearly every token loses by its bound, before any logarithm is taken. */
static void meet_tile(const float scaled[TILE], const uint32_t words[TILE], int64_t first, best_token *best) {
    int num_left = 0;
    float best_value = best->value;
#pragma omp simd reduction(+ : num_left)
    for (int t = 0; t < TILE; t++) num_left += scaled[t] + noise_bound(words[t]) > best_value;
    for (int t = 0; num_left && t < TILE; t++) {
        if (!(scaled[t] + noise_bound(words[t]) > best_value)) continue;
        num_left--;
        float value = scaled[t] + noise(words[t]);
        if (value > best->value) best->value = value, best->token = first + t;
    }
}

static best_token draw(const draw_args *a, int64_t row) {
    const float *logits = a->logits + row * a->vocab;
    float inverse = 1.0f / a->temperatures[row], lowest = a->lowest ? a->lowest[row] : -INFINITY, scaled[TILE];
    best_token best = {-INFINITY, 0};
    uint32_t words[TILE];
    for (int64_t first = 0; first < a->vocab; first += TILE) {
        int64_t left = a->vocab - first, count = left < TILE ? left : TILE;
#pragma omp simd
        for (int64_t t = 0; t < count; t++)
            scaled[t] = logits[first + t] >= lowest ? logits[first + t] * inverse : -INFINITY;
        for (int64_t t = count; t < TILE; t++) scaled[t] = -INFINITY;
        philox((uint32_t)((a->first_token + first) / 4), a->positions[row], a->seeds[row], words);
        meet_tile(scaled, words, first, &best);
    }
    return best;
}

static best_token largest(const draw_args *a, int64_t row) {
    const float *logits = a->logits + row * a->vocab;
    int64_t best = 0;
    for (int64_t first = 0; first < a->vocab; first += TILE) {
        int64_t end = first + TILE < a->vocab ? first + TILE : a->vocab;
        float highest = -INFINITY;
#pragma omp simd reduction(max : highest)
        for (int64_t t = first; t < end; t++) highest = logits[t] > highest ? logits[t] : highest;
        if (!(highest > logits[best])) continue;
        for (best = first; logits[best] != highest;) best++;
    }
    return (best_token){logits[best], best};
}

static void draw_rows(const void *args, int64_t begin, int64_t end) {
    const draw_args *a = args;
    for (int64_t row = begin; row < end; row++) {
        best_token best = a->temperatures[row] > 0 ? draw(a, row) : largest(a, row);
        a->tokens[row] = a->first_token + best.token, a->values[row] = best.value;
    }
}

/* One token per row; see sampling/draw.py. */
void l4c_draw(const draw_args *a) { parallel_for(draw_rows, a, a->rows, 1); }
