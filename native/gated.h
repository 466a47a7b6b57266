// What the LSTM and the GRU share: the whole time loop, forward and backward, around what happens in one unit.
//
// A row of the batch has at each step blocks of H numbers side by side. The input products of the gates fill the
// blocks from the first on, the recurrent products are added to those from Cell::kHidden on, and both are matrix
// products over as many blocks as the weights have. (The GRU's new state needs the two apart, so its blocks are
// n, r, z, W_hn h: input products of gates n r z, then recurrent products of gates r z n.)
//
// A Cell has: kGates blocks of weights; kHidden; kFirst, the gate of the first block; kKept, the blocks that the
// backward pass reads; kCarries, whether a state's gradient has a path beside the products; and the mathematics
// of units [begin, end) of one row: forward(span, ...), backward(span, ...).
#pragma once

#include "walk.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {

constexpr int64_t kBlocks = 4;  // that have a gradient

struct Span {
    int64_t H, begin, end;
};

struct RowForward {
    float* z;             // (kKept, H): products in, what is kept out
    const float* before;  // (H) h_(t-1)
    float *state, *h;     // (H) c, updated in place; h_t
};

struct RowBackward {
    const float *z, *before;  // what was kept; the state that Cell carries (c, h) one step before
    const float* d_output;    // (H)
    float *d_h, *d_c;         // (H) in: of the states at t; out: what reaches t - 1 beside the products
    float* d_z;               // (kBlocks, H) out
};

struct GatedCall {
    unrolled_gated c;
    Scratch scratch;
    Rows rows{};
    Pieces pieces{};
    Places<const float> x;
    Places<float> output, kept;
    float *zeros = nullptr, *bias = nullptr;

    explicit GatedCall(const unrolled_gated& call) : c(call) {}

    const float* start(const float* states, int64_t r) const { return states ? states + rows.order[r] * c.H : zeros; }
    const float* before(int64_t t, int64_t r) const { return t > 0 ? output.at(t - 1, r) : start(c.h_0, r); }

    float* c_of(int64_t r) const { return c.c_n + rows.order[r] * c.H; }

    // The units that a piece computes. Where they are split they are whole panels of every gate.
    Span span(const Piece& piece) const {
        if (pieces.division.splits == 1) return {c.H, 0, c.H};
        return {c.H, piece.panel * kPanel, piece.panel_end * kPanel};
    }
    void multiply_gates(const Piece& piece, const Product& product, const Panels& w) const {
        if (pieces.division.splits == 1) return multiply<Plain>(product, w, 0, w.count());
        for (int64_t gate = 0; gate < w.count(); gate += c.H / kPanel)
            multiply<Plain>(product, w, gate + piece.panel, gate + piece.panel_end);
    }
};

int prepare(GatedCall& call, int64_t gates, int64_t kept_blocks);

// Walks all pieces through steps first, first + stride, ..., before `end`. Those that split units wait for each
// other after every step.
template <class Step>
void walk_steps(const GatedCall& call, int64_t first, int64_t end, int64_t stride, const Step& step) {
    Barrier barrier(call.pieces.count());
    parallel(call.pieces.count(), [&](int64_t i0, int64_t i1) {
        for (int64_t t = first; t != end; t += stride) {
            for (int64_t i = i0; i < i1; ++i) {
                call.pieces.piece[i].come_to(call.rows, t);
                step(call.pieces.piece[i], t);
            }
            if (call.pieces.division.splits > 1) barrier.arrive(i1 - i0);
        }
    });
}

// Gate g of the result is gate (g + first) % gates of w (gates, size).
const float* rotated(Scratch& scratch, const float* w, int64_t gates, int64_t size, int64_t first);

void finish_forward(const GatedCall& call);

template <class Cell>
void add_biases(GatedCall& call) {
    const int64_t H = call.c.H;
    for (int64_t block = 0; block < kBlocks; ++block) {
        const int64_t gate = (block + Cell::kFirst) % Cell::kGates * H;
        for (int64_t h = 0; h < H; ++h) {
            const float input = call.c.b_ih && block < Cell::kGates ? call.c.b_ih[gate + h] : 0.0f;
            const float hidden = call.c.b_hh && block >= Cell::kHidden ? call.c.b_hh[gate + h] : 0.0f;
            call.bias[block * H + h] = input + hidden;
        }
    }
}

// The input products of the next steps, and the biases of what has none.
template <class Cell>
void input_products(const GatedCall& call, Piece piece, const Panels& w, int64_t t) {
    const int64_t end = std::min(t + steps_at_once(piece.count), call.c.T), H = call.c.H;
    const Span s = call.span(piece);
    int64_t n = 0;
    for (; t < end; ++t) {
        piece.come_to(call.rows, t);
        for (int64_t i = 0; i < piece.alive; ++i, ++n) {
            piece.with[n] = call.x.at(t, piece.rows[i]);
            piece.init[n] = call.bias;
            piece.c[n] = call.kept.at(t, piece.rows[i]);
            for (int64_t block = Cell::kGates; block < kBlocks; ++block)
                std::copy(call.bias + block * H + s.begin, call.bias + block * H + s.end,
                          piece.c[n] + block * H + s.begin);
        }
    }
    call.multiply_gates(piece, {piece.with, piece.init, piece.c, nullptr, n}, w);
}

template <class Cell>
void forward_step(const GatedCall& call, Piece& piece, const Panels& w_ih, const Panels& w_hh, int64_t t) {
    if (t % steps_at_once(piece.count) == 0) input_products<Cell>(call, piece, w_ih, t);
    const int64_t H = call.c.H, n = piece.alive;
    for (int64_t i = 0; i < n; ++i) piece.init[i] = piece.c[i] = call.kept.at(t, piece.rows[i]) + Cell::kHidden * H;
    call.multiply_gates(piece, piece.product(n), w_hh);
    for (int64_t i = 0; i < n; ++i) {
        const int64_t r = piece.rows[i];
        float* h = call.output.at(t, r);
        Cell::forward(call.span(piece), {call.kept.at(t, r), piece.a[i], call.c_of(r), h});
        piece.a[i] = h;
    }
}

template <class Cell>
int gated_forward(const unrolled_gated& c) {
    GatedCall call(c);
    Scratch& scratch = call.scratch;
    if (const int status = prepare(call, Cell::kGates, Cell::kKept)) return status;
    const float* w = rotated(scratch, c.w_ih, Cell::kGates, c.H * c.D, Cell::kFirst);
    if (!w) return UNROLLED_NO_MEMORY;
    const Panels w_ih = packed(scratch, w, c.D, Cell::kGates * c.H, 1, c.D);
    const Panels w_hh = packed(scratch, c.w_hh, c.H, Cell::kGates * c.H, 1, c.H);
    if (!scratch.ok()) return UNROLLED_NO_MEMORY;
    add_biases<Cell>(call);
    for (int64_t r = 0; r < c.B; ++r) std::copy_n(call.start(c.c_0, r), c.H, call.c_of(r));
    for (int64_t i = 0; i < call.pieces.count(); ++i)
        for (int64_t j = 0; j < call.pieces.piece[i].count; ++j)
            call.pieces.piece[i].a[j] = call.start(c.h_0, call.pieces.piece[i].rows[j]);
    walk_steps(call, 0, c.T, 1, [&](Piece& piece, int64_t t) { forward_step<Cell>(call, piece, w_ih, w_hh, t); });
    finish_forward(call);
    return UNROLLED_OK;
}

// One product of weight gradients: rows [gate, gate + gates) of a weight's gradient, from blocks of d_z.
struct WeightPart {
    Outer outer;
    const float* const* a;  // rows of d_z, from that block on
    const float* const* b;  // inputs, or states before
};

// The backward pass takes some steps, then adds their share to the gradients of the weights while d_z is near.
struct GatedBackward {
    int64_t steps;             // at once
    Panels w_ih, w_hh;
    Places<const float> d_output;
    Places<float> d_x, d_z;
    float *d_h, *d_c;          // (B, H)
    const float **a[kBlocks];  // of the steps in hand: rows of d_z from each block on,
    const float **x, **h;      // inputs, states before,
    const float** zeros;       // nothing,
    float** to;                // gradients of inputs
    WeightPart part[3];
    int parts;
    Copies* copies;

    float* d_h_of(const GatedCall& call, int64_t r) const { return d_h + call.rows.order[r] * call.c.H; }
};

bool begin_backward(GatedCall& call, GatedBackward& g);
inline void clear(const Outer& outer) {
    std::fill_n(outer.c, outer.I * outer.J, 0.0f);
    std::fill_n(outer.sums, outer.I, 0.0f);
}
void finish_steps(const GatedCall& call, const GatedBackward& g, int64_t n);
void first_gradients(GatedCall& call, const GatedBackward& g, int64_t hidden, bool carries);
void clear_ends(const GatedCall& call);

template <class Cell>
void set_parts(const GatedCall& call, GatedBackward& g) {
    const unrolled_gated& c = call.c;
    const int64_t late = Cell::kFirst, early = Cell::kGates - late, H = c.H, first = late * H;  // gates after turning
    g.parts = 0;
    g.part[0] = {{early * H, c.D, c.d_w_ih + first * c.D, c.d_b_ih + first}, g.a[0], g.x};
    g.part[1] = {{Cell::kGates * H, H, c.d_w_hh, c.d_b_hh}, g.a[Cell::kHidden], g.h};
    g.parts = 2;
    if (late) g.part[g.parts++] = {{first, c.D, c.d_w_ih, c.d_b_ih}, g.a[early], g.x};
}

template <class Cell>
void backward_step(const GatedCall& call, const GatedBackward& g, Piece& piece, int64_t t, int64_t first) {
    const unrolled_gated& c = call.c;
    const Rows& rows = call.rows;
    int64_t n = 0;
    for (; n < piece.alive && piece.rows[n] < rows.after(t); ++n) {
        piece.a[n] = g.d_z.at(t + 1, piece.rows[n]) + Cell::kHidden * c.H;
        piece.c[n] = g.d_h_of(call, piece.rows[n]);
        piece.init[n] = Cell::kCarries ? piece.c[n] : call.zeros;
    }
    const bool split = call.pieces.division.splits > 1;
    multiply<Plain>(piece.product(n), g.w_hh, split ? piece.panel : 0, split ? piece.panel_end : g.w_hh.count());
    for (int64_t i = 0; i < piece.alive; ++i) {
        const int64_t r = piece.rows[i], k = rows.place(t, r) - first, row = rows.order[r] * c.H;
        float* d_z = g.d_z.at(t, r);
        Cell::backward(call.span(piece),
                       {call.kept.at(t, r), Cell::carried(call, t, r),
                        c.d_output.data ? g.d_output.at(t, r) : call.zeros, g.d_h + row, g.d_c + row, d_z});
        if (!piece.leads) continue;
        for (int64_t block = 0; block < kBlocks; ++block) g.a[block][k] = d_z + block * c.H;
        g.x[k] = call.x.at(t, r);
        g.h[k] = call.before(t, r);
        if (c.d_x.data) g.to[k] = g.d_x.at(t, r);
    }
}

template <class Cell>
int gated_backward(const unrolled_gated& c) {
    GatedCall call(c);
    GatedBackward g{};
    const bool complete = c.d_w_ih && c.d_w_hh && c.d_b_ih && c.d_b_hh && (c.kept || c.T * c.B == 0);
    if (!complete) return UNROLLED_BAD_CALL;
    if (const int status = prepare(call, Cell::kGates, Cell::kKept)) return status;
    const float* w = rotated(call.scratch, c.w_ih, Cell::kGates, c.H * c.D, Cell::kFirst);
    if (!w || !begin_backward(call, g)) return UNROLLED_NO_MEMORY;
    g.w_ih = packed(call.scratch, w, Cell::kGates * c.H, c.D, c.D, 1);
    g.w_hh = packed(call.scratch, c.w_hh, Cell::kGates * c.H, c.H, c.H, 1);
    if (!call.scratch.ok()) return UNROLLED_NO_MEMORY;
    set_parts<Cell>(call, g);
    for (int part = 0; part < g.parts; ++part) clear(g.part[part].outer);
    for (int64_t end = c.T; end > 0;) {
        const int64_t begin = std::max<int64_t>(0, end - g.steps), first = call.rows.offset[begin];
        walk_steps(call, end - 1, begin - 1, -1,
                   [&](Piece& piece, int64_t t) { backward_step<Cell>(call, g, piece, t, first); });
        finish_steps(call, g, call.rows.offset[end] - first);
        end = begin;
    }
    if (c.d_h_0) first_gradients(call, g, Cell::kHidden, Cell::kCarries);
    clear_ends(call);
    return call.scratch.ok() ? UNROLLED_OK : UNROLLED_NO_MEMORY;
}

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
