/* The engine's public ABI: one descriptor per entry point, plain C, every array owned by the caller.

   T time, B batch, D input, H hidden, V words. float32 throughout. A matrix is (rows, columns) and contiguous;
   an unrolled_steps is a (T, B, n) array whose last axis is contiguous. A null pointer leaves an argument out.
   Every entry returns an unrolled_status. Results do not depend on the number of threads, and those of one row
   do not depend on the rest of the batch: not in a single bit. */
#pragma once

#include <stdint.h>

#include "control.h"

#ifdef __cplusplus
extern "C" {
#endif

enum unrolled_status {
    UNROLLED_OK = 0,
    UNROLLED_BAD_TOKEN = 1,  /* a token is not in [0, V) */
    UNROLLED_BAD_CALL = 2,   /* the descriptor cannot be followed: wrong size, missing array */
    UNROLLED_NO_MEMORY = 3,
    UNROLLED_BAD_LENGTH = 4, /* a length is not in [0, T] */
    UNROLLED_BAD_IDS = 5     /* ids are not ascending rows of the weight */
};

enum unrolled_activation { UNROLLED_TANH = 0, UNROLLED_RELU = 1 };

typedef struct {
    float* data;
    int64_t time, row; /* distance between steps, and between rows of the batch, in floats */
} unrolled_steps;

/* h_t = f(w_ih x_t + bias + w_hh h_(t-1)), t < lengths[b]: forward, and its gradient.

   The input is either x, or tokens: rows of `table` (V, H), which holds w_ih E + bias, or is scratch that the
   call fills for the words it meets when `embedding` is given.

   Rows that begin with `prefix_token` share that beginning, which is computed once, when all have the same h_0
   and none is cut short by its length. The backward call must get the same answer to that question as the
   forward call: it does when both get the same tokens, prefix_token, lengths and h_0. */
typedef struct {
    int64_t size; /* sizeof(unrolled_elman) */
    int64_t T, B, D, H, V;
    int32_t activation, reverse, prefix_token; /* prefix_token -1: nothing is shared */
    int32_t packed; /* as below; with x only */

    unrolled_steps x;         /* (T, B, D) */
    const int32_t* tokens;    /* (T, B) */
    int64_t token_time, token_row;
    const float* embedding;   /* (V, D) */
    float* table;             /* (V, H) */
    const float *w_ih, *w_hh; /* (H, D), (H, H) */
    const float* bias;        /* (H) */
    const float* h_0;         /* (B, H); null: zeros */
    const int64_t* lengths;   /* (B), each in [0, T]; null: T */

    /* Forward. The states go to `output`, or to `states` in an order of the engine's own, or nowhere. */
    unrolled_steps output; /* (T, B, H), zero past the end of a row */
    float* states;         /* (T * B, H) */
    float* prefix;         /* (T + 1, H), states of the shared beginning */
    float* h_n;            /* (B, H); read by no backward call */

    /* Backward: gradients in, gradients out; what is null is zero, or not wanted. */
    unrolled_steps d_output; /* (T, B, H) */
    const float* d_h_n;      /* (B, H) */
    unrolled_steps d_x;      /* (T, B, D) */
    float *d_w_ih, *d_w_hh, *d_bias, *d_h_0; /* d_w_hh always; d_h_0 only where nothing is shared */
    float* d_embedding;      /* (V, D); with word_ids: (words, D), only the rows of the words met */
    int64_t* word_ids;       /* (min(V, T * B)), ascending */
    int64_t* words;          /* (1) how many */
} unrolled_elman;

/* The LSTM (G = 4; gates i, f, g, o) and the GRU (G = 3; gates r, z, n, the reset gate applied after the recurrent
   product), with torch's weights: forward, and its gradient. `kept` is what the backward call reads. The minGRU (G = 2;
   gates z, n) has neither w_hh nor b_hh. */
typedef struct {
    int64_t size;
    int64_t T, B, D, H;
    int32_t reverse;
    int32_t packed; /* x, output, d_output, d_x hold of each step only the rows that have it, longest first */

    unrolled_steps x;         /* (T, B, D) */
    const float *w_ih, *w_hh; /* (G H, D), (G H, H) */
    const float *b_ih, *b_hh; /* (G H); null: zeros */
    const float *h_0, *c_0;   /* (B, H); null: zeros. c: LSTM only, here and below */
    const int64_t* lengths;   /* (B), each in [0, T]; null: T */

    /* Forward. */
    unrolled_steps output; /* (T, B, H), zero past the end of a row */
    float* kept;           /* (T * B, 5 H), GRU 4 H, minGRU 2 H, in an order of the engine's own; null where no gradient is wanted */
    float *h_n, *c_n;      /* (B, H); read by no backward call */

    /* Backward: gradients in, gradients out. Of the first, null is zero; of d_x, d_h_0, d_c_0 it is not wanted. */
    unrolled_steps d_output;     /* (T, B, H) */
    const float *d_h_n, *d_c_n;  /* (B, H) */
    unrolled_steps d_x;          /* (T, B, D) */
    float *d_w_ih, *d_w_hh, *d_b_ih, *d_b_hh, *d_h_0, *d_c_0;
} unrolled_gated;

/* h_t = a_t h_(t-1) + b_t for N numbers side by side, and its gradient. (T, N) each, h_0 and d_h_0 (N); all but `b`
   are read by the backward call too. */
typedef struct {
    int64_t size;
    int64_t T, N;
    const float *a, *b, *h_0;
    float* h;
    const float* d_h;
    float *d_a, *d_b, *d_h_0;
} unrolled_scan;

/* table = embedding w_ih^T + bias, (V, H). */
typedef struct {
    int64_t size;
    int64_t V, D, H;
    const float *embedding, *w_ih, *bias; /* (V, D), (H, D), (H) */
    float* table;                         /* (V, H) */
} unrolled_table;

/* square = rho square + (1 - rho) g^2; weight -= rate g / sqrt(square + epsilon), for a weight (rows, columns).
   With ids, g is zero but in rows ids[i], ascending, where it is gradient[i]. */
typedef struct unrolled_rmsprop {
    int64_t size;
    int64_t rows, columns, count; /* count: of ids */
    float *weight, *square;
    const float* gradient;
    const int64_t* ids;
    float rate, rho, epsilon;
    const struct unrolled_rmsprop* next; /* one more weight to update in this call, or null */
} unrolled_rmsprop;

/* Stacked layers of one cell, one step at a time, for streaming: the weights are packed once. A state is (S, layers, B,
   H), S being 2 for the LSTM (h, then c) and 1 for the others. */
enum unrolled_cell { UNROLLED_CELL_TANH = 0, UNROLLED_CELL_RELU = 1, UNROLLED_CELL_LSTM = 2, UNROLLED_CELL_GRU = 3 };

typedef struct {
    int64_t size;
    int64_t D, H, layers;
    int32_t cell;                /* an unrolled_cell; G = 1, 1, 4, 3 */
    int32_t lanes;               /* set by unrolled_step_pack: floats of a vector. unrolled_step refuses others. */
    const float* const* weights; /* of each layer w_ih (G H, D; after the first layer G H, H), w_hh (G H, H), b_ih, b_hh
                                    (G H; null: zeros). Read by unrolled_step_pack only. */
    float* packed;               /* for each layer (G H rounded up to 32) (D or H, + H) + 4 H */
} unrolled_stepper;

UNROLLED_API int unrolled_step_pack(unrolled_stepper* call);
/* x (B, D); before and after: states, not the same memory. */
UNROLLED_API int unrolled_step(const unrolled_stepper* call, int64_t B, const float* x, const float* before, float* after);

/* Tokens in steps: token i of a text belongs to step i / step, and x of a step is the sum of its tokens' rows and of the
   rows of the listed pairs (token i - 1, token i), which belong to the step of token i.

   A row is 4 + 4 K + D bytes: a float scale, K float weights, D signed bytes; its numbers are scale times the bytes. */
typedef struct {
    int64_t size;
    int64_t words, pairs, D, K, step, texts, T; /* T: steps of the longest text at least */
    int64_t capacity;        /* of slots: a power of two, at least 2 pairs */
    const int32_t* ids;      /* of all texts */
    const int64_t* offsets;  /* (texts + 1) */
    const uint32_t* keys;    /* (pairs) first * words + second; row words + i is that of keys[i] */
    uint64_t* slots;         /* (capacity) zeros before unrolled_index_pairs */
    const uint8_t* rows;     /* (words + pairs, 4 + 4 K + D) */
    float* x;                /* (texts, T, D) out; steps past a text's end are not written */
    float* weight;           /* (texts, K) out: the sum of the weights of all its rows */
} unrolled_reading;

/* Which slot a pair's key asks for first. */
static inline uint64_t unrolled_pair_slot(uint32_t key) { return (key * UINT64_C(0x9E3779B97F4A7C15)) >> 40; }

UNROLLED_API int unrolled_index_pairs(const unrolled_reading* call);
UNROLLED_API int unrolled_read_steps(const unrolled_reading* call);

/* Mean and maximum over the first lengths[b] steps (null: T) of each row; zeros where there are none. */
typedef struct {
    int64_t size;
    int64_t T, B, D;
    unrolled_steps x;
    const int64_t* lengths;
    float *mean, *max; /* (B, D), either may be null */
} unrolled_pooling;

UNROLLED_API int unrolled_pool_steps(const unrolled_pooling* call);

UNROLLED_API int unrolled_elman_forward(const unrolled_elman* call);
UNROLLED_API int unrolled_elman_backward(const unrolled_elman* call);
UNROLLED_API int unrolled_lstm_forward(const unrolled_gated* call);
UNROLLED_API int unrolled_lstm_backward(const unrolled_gated* call);
UNROLLED_API int unrolled_gru_forward(const unrolled_gated* call);
UNROLLED_API int unrolled_gru_backward(const unrolled_gated* call);
UNROLLED_API int unrolled_mingru_forward(const unrolled_gated* call);
UNROLLED_API int unrolled_mingru_backward(const unrolled_gated* call);
UNROLLED_API int unrolled_scan_forward(const unrolled_scan* call);
UNROLLED_API int unrolled_scan_backward(const unrolled_scan* call);
UNROLLED_API int unrolled_input_table(const unrolled_table* call);
UNROLLED_API int unrolled_rmsprop_update(const unrolled_rmsprop* call);

#ifdef __cplusplus
}
#endif
