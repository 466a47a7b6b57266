// The gradient of small weights, taken while the steps that it is made of are still in the cache.
//
// The rows of the batch, `together` by `together`, add up a gradient of their own, `steps` at a time, and these are
// added up in the end. The cut depends on the batch alone, so the bits do not depend on the threads.
#pragma once

#include "walk.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {

struct RowSums {
    static constexpr int64_t kBlock = 128, kSmallest = 64;
    int64_t I, H, D;  // c (I, H) = dz^T previous, bias (I) = dz summed, c_x (I, D) = dz^T x unless D is 0
    int64_t together = 1, steps = 1, count = 0;
    float *c = nullptr, *bias = nullptr, *c_x = nullptr;  // one more than `count` of each, for what else there is
    Copies* copies = nullptr;                             // for each piece

    // Whether the weights are small enough; else nothing here may be used.
    bool used() const { return count > 0; }

    static RowSums make(Scratch& scratch, int64_t B, int64_t I, int64_t H, int64_t D) {
        RowSums s{I, H, D};
        if (H > kSmallest || D > kSmallest || I > 4 * kSmallest) return s;
        s.together = std::max<int64_t>(1, std::min<int64_t>(kRows, B / 16));
        s.steps = kBlock / s.together;
        s.count = (B + s.together - 1) / s.together;
        s.c = scratch.zeros<float>((s.count + 1) * I * H);
        s.bias = scratch.zeros<float>((s.count + 1) * I);
        s.c_x = scratch.zeros<float>((s.count + 1) * I * D);
        return s;
    }

    void copies_for(Scratch& scratch, const Pieces& pieces) {
        copies = scratch.take<Copies>(used() ? pieces.count() : 0);
        for (int64_t i = 0; scratch.ok() && used() && i < pieces.count(); ++i) new (copies + i) Copies(scratch, I);
    }

    Outer outer(int64_t i) const { return {I, H, c + i * I * H, bias + i * I}; }

    // Adds steps [t, t + steps) of the rows of piece number i, once the walk has come down to t.
    void add(const Rows& rows, const Piece& piece, int64_t i, int64_t t, const Places<float>& dz,
             const float* const* previous, const Places<const float>& x) const {
        if (!used() || t % steps != 0) return;
        const float *a[kBlock], *b[kBlock], *b_x[kBlock];
        const int64_t end = std::min(t + steps, rows.T);
        for (int64_t j = 0; j < piece.count; j += together) {
            const int64_t first = piece.rows[j], last = first + std::min(together, piece.count - j);
            int64_t n = 0;
            for (int64_t u = t; u < end; ++u)
                for (int64_t r = first; r < std::min(last, rows.active[u]); ++r, ++n) {
                    a[n] = dz.at(u, r);
                    b[n] = previous[rows.place(u, r)];
                    if (D) b_x[n] = x.at(u, r);
                }
            if (n == 0) continue;
            const int64_t sum = first / together;
            add_block(outer(sum), copies[i], {a, b, n}, {0, I, 0, panels_of(H)}, true);
            if (D) add_block({I, D, c_x + sum * I * D, nullptr}, copies[i], {a, b_x, n}, {0, I, 0, panels_of(D)}, true);
        }
    }

    void finish(float* w_hh, float* b, float* w_ih) const {
        add_up(c, I * H, w_hh);
        add_up(bias, I, b);
        add_up(c_x, I * D, w_ih);
    }

private:
    void add_up(const float* from, int64_t size, float* to) const {
        for (int64_t i = 0; to && i < size; i += kLanes) {
            Vector sum{};
            for (int64_t k = 0; k <= count; ++k) sum += load_some(from + k * size + i, size - i);
            store_some(to + i, sum, size - i);
        }
    }
};

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
