// The input side of a recurrence that reads tokens: rows of a table instead of products, and their gradients.
#pragma once

#include "products.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {

// Counts the prefix tokens that each row begins with (`begins`, (B,)), zeros where rows cannot share them. Marks the
// words that are read after them (`met`, (V,) zeros) unless it is null; then false where a token is not in [0, V).
bool scan(const unrolled_elman& call, int64_t* begins, uint8_t* met);

// table[v] = embedding[v] w_ih^T + bias for every v, or those that are `met`.
bool fill_table(Scratch& scratch, const unrolled_table& call, const uint8_t* met);

// Where each word stands: rows[begin[i], begin[i + 1]) are the rows of dz of word ids[i], in order.
struct Index {
    static constexpr int64_t kAhead = 8;  // entries after the last row, to look at
    int64_t words = 0, V, parts;
    int64_t *ids, *begin;
    int32_t *rows, *counts;  // counts (parts, V): of each word, later where its next row goes

    Index(Scratch& scratch, int64_t V, int64_t n);  // n: rows of dz

    // A counting sort of the tokens of the alive steps, then of the common beginning, which stands last in dz;
    // `beside` is called at the same time. False where a token is not in [0, V).
    template <class Beside>
    bool sort(const unrolled_elman& call, const Rows& all, const Beside& beside) {
        std::atomic<bool> good{true};
        share(parts + 1, [&](int64_t i) {
            if (i == 0) beside();
            else if (!count_part(call, all, i - 1)) good = false;
        });
        if (!good) return false;
        begin_words();
        share(parts, [&](int64_t part) { place_part(call, all, part); });
        return true;
    }

private:
    bool count_part(const unrolled_elman& call, const Rows& all, int64_t part);
    void begin_words();
    void place_part(const unrolled_elman& call, const Rows& all, int64_t part);
};

// The gradients of embedding and w_ih from that of the input products, dz (rows.total + rows.shared, H).
bool embedding_gradient(Scratch& scratch, const unrolled_elman& call, const Index& index, const float* dz);

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
