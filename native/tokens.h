// The input side of a recurrence that reads tokens: rows of a table instead of products, and their gradients.
#pragma once

#include "products.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {

struct Tokens {
    const int32_t* data;  // (T, B)
    int64_t time, row, T, B, V;
    int32_t prefix;            // -1: no row begins late
    const int64_t* lengths;    // (B,) or null
    int32_t at(int64_t t, int64_t b) const { return data[t * time + b * row]; }
};

// Counts for each row the prefix tokens that it begins with (`begins`, (B,)) and marks the words that the rest
// reads (`met`, (V,) zeros). False where a token is outside [0, V).
bool scan(const Tokens& tokens, int64_t* begins, uint8_t* met);

// table[v] = embedding[v] w_ih^T + bias for every v, or those that are `met`.
bool fill_table(Scratch& scratch, const unrolled_table& call, const uint8_t* met);

// The gradients of embedding and w_ih from that of the input products: dz (rows.total + rows.shared, H), the
// steps of the common beginning last.
bool embedding_gradient(Scratch& scratch, const unrolled_elman& call, const Rows& rows, const float* dz);

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
