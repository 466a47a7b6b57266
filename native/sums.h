// The gradient of small weights, taken while the steps that it is made of are still in the cache.
//
// The rows of the batch, `together` by `together`, add up a gradient of their own, `steps` at a time, and these are
// added up in the end. The cut depends on the batch alone, so the bits do not depend on the threads.
#pragma once

#include "walk.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {

struct Inputs {
    Places<const float> x;
    Places<float> d_x;  // made here where it is wanted,
    Panels w;           // from dz by these
    const float* zeros;
};

// dz (I): its columns from `hidden` on belong to w_hh (I_h, H), and I_x columns from the first on to w_ih (I_x, D).
struct RowSums {
    static constexpr int64_t kBlock = 128, kSmallest = 64, kLargest = 1 << 15;  // the last in floats
    int64_t I, H, D, hidden, I_h, I_x;
    int64_t together = 1, steps = 1, count = 0;
    float *c = nullptr, *bias = nullptr, *c_x = nullptr;  // one more than `count` of each, for what else there is
    Copies* copies = nullptr;                             // for each piece

    // Whether the weights are small enough; else nothing here may be used.
    bool used() const { return count > 0; }

    void make(Scratch& scratch, int64_t T, int64_t B) {
        // Large sums are few, so that they stay in the cache.
        together = std::max<int64_t>(1, std::min<int64_t>(kBlock / 2, B / (I > kSmallest ? 8 : 16)));
        steps = (I > kSmallest ? kBlock / 2 : kBlock) / together;
        if (I_h * H + I_x * D > kLargest || T < steps) return;
        count = (B + together - 1) / together;
        c = scratch.zeros<float>((count + 1) * I_h * H);
        bias = scratch.zeros<float>((count + 1) * I);
        c_x = scratch.zeros<float>((count + 1) * I_x * D);
    }

    void copies_for(Scratch& scratch, const Pieces& pieces) {
        copies = scratch.take<Copies>(used() ? pieces.count() : 0);
        for (int64_t i = 0; scratch.ok() && used() && i < pieces.count(); ++i) new (copies + i) Copies(scratch, I);
    }

    Outer outer(int64_t i) const { return {I_h, H, c + i * I_h * H, nullptr}; }

    // Adds steps [t, t + steps) of the rows of piece number i, once the walk has come down to t, and makes their
    // input gradients. before(t, r): the state before.
    template <class Before>
    void add(const Rows& rows, const Piece& piece, int64_t i, int64_t t, const Places<float>& dz, const Before& before,
             const Inputs& in) const {
        if (!used() || t % steps != 0) return;
        const float *a[kBlock], *a_h[kBlock], *b[kBlock], *b_x[kBlock], *zeros[kBlock];
        float* to[kBlock];
        const int64_t end = std::min(t + steps, rows.T);
        for (int64_t j = 0; j < piece.count; j += together) {
            const int64_t first = piece.rows[j], last = first + std::min(together, piece.count - j);
            int64_t n = 0;
            for (int64_t u = t; u < end; ++u)
                for (int64_t r = first; r < std::min(last, rows.active[u]); ++r, ++n) {
                    a[n] = dz.at(u, r);
                    a_h[n] = a[n] + hidden;
                    b[n] = before(u, r);
                    if (in.x.data) b_x[n] = in.x.at(u, r);
                    if (!in.d_x.data) continue;
                    zeros[n] = in.zeros;
                    to[n] = in.d_x.at(u, r);
                }
            if (n == 0) continue;
            const int64_t sum = first / together;
            const Copies& room = copies[i];
            const bool same = hidden == 0 && I_h == I_x;
            add_block(outer(sum), room, {a_h, b, n}, {0, I_h, 0, panels_of(H)}, true);
            if (D) add_block({I_x, D, c_x + sum * I_x * D, nullptr}, room, {a, b_x, n}, {0, I_x, 0, panels_of(D)}, true, same);
            add_columns({I, 0, nullptr, bias + sum * I}, {a, nullptr, n}, {0, I, 0, 0}, true);
            if (in.d_x.data) multiply<Plain>({a, zeros, to, nullptr, n}, in.w, 0, in.w.count());
        }
    }

    // All sums of columns [i0, i1) of one of the three, each `across` wide, to rows of a gradient.
    void add_up(const float* from, int64_t all, int64_t i0, int64_t i1, int64_t across, float* to) const {
        for (int64_t i = i0 * across; to && i < i1 * across; i += kLanes) {
            Vector sum{};
            for (int64_t k = 0; k <= count; ++k) sum += load_some(from + k * all * across + i, i1 * across - i);
            store_some(to + i - i0 * across, sum, i1 * across - i);
        }
    }
};

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
