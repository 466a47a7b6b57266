// One call on its way through time: which thread computes which rows and units, and where vectors stand.
#pragma once

#include "products.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {

// Vectors for (step, row): data + step[t] + row[r], rows in the engine's order; where a row is read from its end,
// step[end[r] - t].
template <class T>
struct Places {
    T* data = nullptr;
    int64_t* step = nullptr;
    int64_t* row = nullptr;
    int64_t* end = nullptr;
    T* at(int64_t t, int64_t r) const { return data + step[end ? end[r] - t : t] + row[r]; }
};

// The caller's layout, or only its steps that exist; backwards in time when that is how the call reads.
template <class T>
Places<T> strided(Scratch& scratch, const Rows& rows, T* data, int64_t time, int64_t row, bool reverse) {
    if (!data) return {};
    Places<T> p{data, scratch.take<int64_t>(rows.T), scratch.take<int64_t>(rows.B)};
    if (reverse) p.end = scratch.take<int64_t>(rows.B);
    if (!scratch.ok()) return p;
    for (int64_t t = 0; t < rows.T; ++t) p.step[t] = rows.packed ? rows.offset[t] * row : t * time;
    for (int64_t r = 0; r < rows.B; ++r) {
        p.row[r] = rows.order[r] * row;
        if (reverse) p.end[r] = rows.steps[r] - 1;
    }
    return p;
}

// The same for what a call is about to write: the first to write it, mostly.
inline Places<float> written(Scratch& scratch, const Rows& rows, const unrolled_steps& to, int64_t width, bool reverse) {
    const int64_t steps = rows.packed ? 0 : rows.T - 1, last = rows.packed ? rows.total : rows.B;
    if (rows.total > 0) ask_for_large_pages(to.data, 4 * (steps * to.time + (last - 1) * to.row + width));
    return strided(scratch, rows, to.data, to.time, to.row, reverse);
}

// Zeros where row r, or any row, has no step any more.
inline void clear_end(const Rows& rows, int64_t r, const unrolled_steps& to, int64_t width) {
    for (int64_t t = rows.begin[r] + rows.steps[r]; t < rows.T && !rows.packed; ++t)
        std::fill_n(to.data + t * to.time + rows.order[r] * to.row, width, 0.0f);
}
inline void clear_ends(const Rows& rows, const unrolled_steps& to, int64_t width) {
    for (int64_t r = 0; r < rows.B; ++r) clear_end(rows, r, to, width);
}

// Our own layout, vectors of H: only the steps that exist, one after the other; or only the `last` ones of each row.
inline Places<float> compact(Scratch& scratch, const Rows& rows, float* data, int64_t H, int64_t last = 0) {
    const Places<float> p{data, scratch.take<int64_t>(rows.T), scratch.take<int64_t>(rows.B)};
    if (!scratch.ok()) return p;
    for (int64_t t = 0; t < rows.T; ++t) p.step[t] = (last ? t % last * rows.B : rows.offset[t]) * H;
    for (int64_t r = 0; r < rows.B; ++r) p.row[r] = r * H;
    return p;
}

// Steps whose input products are made at once, so that few rows still fill the tiles.
inline int64_t steps_at_once(int64_t rows) { return std::max<int64_t>(1, 8 * kRows / std::max<int64_t>(1, rows)); }

// to = a W for every step of every row, zero where there is no step. False where memory is short.
inline bool multiply_steps(Scratch& scratch, const Rows& rows, const Places<float>& a, const Panels& w,
                           const unrolled_steps& to, bool reverse) {
    const Places<float> c = written(scratch, rows, to, w.N, reverse);
    const float* zeros = scratch.zeros<float>(w.N);
    const float** from = scratch.take<const float*>(rows.total);
    const float** init = scratch.take<const float*>(rows.total);
    float** at = scratch.take<float*>(rows.total);
    if (!scratch.ok()) return false;
    share(rows.T, [&](int64_t t) {
        for (int64_t r = 0; r < rows.active[t]; ++r) {
            const int64_t i = rows.place(t, r);
            from[i] = a.at(t, r);
            init[i] = zeros;
            at[i] = c.at(t, r);
        }
        for (int64_t r = rows.active[t]; r < rows.B && !rows.packed; ++r)
            std::fill_n(to.data + t * to.time + rows.order[r] * to.row, w.N, 0.0f);
    });
    multiply_all<Plain>({from, init, at, nullptr, rows.total}, w);
    return true;
}

// The rows of one thread, and its share of their panels; `a`, `init`, `c`, `with` are room for a Product.
struct Piece {
    const int32_t* rows;  // in the engine's order, ascending
    int64_t count, panel, panel_end;
    bool leads;           // it does for its rows what is done once
    int64_t alive;        // of its rows, at the step it has come to
    const float **a, **init, **with;
    float** c;

    Piece(Scratch& scratch, int64_t room)
        : rows(nullptr), count(0), panel(0), panel_end(0), leads(true), alive(0), a(scratch.take<const float*>(room)),
          init(scratch.take<const float*>(room)), with(scratch.take<const float*>(room)), c(scratch.take<float*>(room)) {}

    void come_to(const Rows& all, int64_t t) {
        while (alive > 0 && rows[alive - 1] >= all.active[t]) --alive;
        while (alive < count && rows[alive] < all.active[t]) ++alive;
    }
    Product product(int64_t n) const { return {a, init, c, with, n}; }
};

struct Pieces {
    Division division;
    Piece* piece;
    int64_t count() const { return division.parts * division.splits; }
    // Whether input products of all steps are made at once, so that each weight is used once by a piece.
    bool all_at_once(int64_t T) const {
        int64_t most = 0;
        for (int64_t i = 0; i < count(); ++i) most = std::max(most, piece[i].count);
        return T <= steps_at_once(most);
    }
};

// `work`: multiply-adds of a row at one step. Rows stay together in their order `together` by `together`.
inline Pieces make_pieces(Scratch& scratch, const Rows& rows, int64_t work, int64_t units, int64_t together) {
    const int64_t panels = panels_of(units);
    Pieces pieces{divide(rows, work, panels, together), nullptr};
    const int64_t splits = pieces.division.splits;
    pieces.piece = scratch.take<Piece>(pieces.count());
    int32_t* dealt = scratch.take<int32_t>(rows.B);
    int64_t* first = scratch.take<int64_t>(pieces.division.parts + 1);
    if (!scratch.ok()) return pieces;
    deal(rows.B, pieces.division.parts, together, dealt, first);
    for (int64_t i = 0; i < pieces.count(); ++i) {
        const int64_t part = i / splits, split = i % splits;
        const int64_t count = first[part + 1] - first[part];
        Piece& p = *new (pieces.piece + i) Piece(scratch, count * steps_at_once(count) + 1);
        p.rows = dealt + first[part];
        p.count = count;
        p.panel = split * panels / splits;
        p.panel_end = (split + 1) * panels / splits;
        p.leads = split == 0;
    }
    return pieces;
}

// Walks all pieces through steps first, first + stride, ..., before `last`: step(piece, its number, t), then
// finish(piece, its number). Those that split units wait for each other after every step.
template <class Step, class Finish>
void walk(const Pieces& pieces, const Rows& rows, int64_t first, int64_t last, int64_t stride, const Step& step,
          const Finish& finish) {
    Barrier barrier(pieces.count());
    parallel(pieces.count(), [&](int64_t begin, int64_t end) {
        for (int64_t t = first; t != last; t += stride) {
            for (int64_t i = begin; i < end; ++i) {
                pieces.piece[i].come_to(rows, t);
                step(pieces.piece[i], i, t);
            }
            if (pieces.division.splits > 1) barrier.arrive(end - begin);
        }
        for (int64_t i = begin; i < end; ++i) finish(pieces.piece[i], i);
    });
}

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
