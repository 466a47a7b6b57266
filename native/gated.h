// What the LSTM and the GRU share: the whole time loop, forward and backward, around what happens in one unit.
//
// A row of the batch has at each step blocks of H numbers side by side. The input products of the gates fill the
// blocks from the first on, the recurrent products are added to those from Cell::kHidden on, and both are matrix
// products over as many blocks as the weights have. (The GRU's new state needs the two apart, so its blocks are
// n, r, z, W_hn h: input products of gates n r z, then recurrent products of gates r z n.)
//
// A Cell has: kGates blocks of weights; kBlocks; kHidden (kBlocks: there are no recurrent products); kFirst, the gate of
// the first block; kKept, the blocks that the backward pass reads; kCarries, whether a state's gradient has a path beside the products; and the mathematics
// of units [begin, end) of one row: forward(span, ...), backward(span, ...).
#pragma once

#include "sums.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {

constexpr int64_t kMostBlocks = 4;  // that have a gradient

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
    float* d_z;               // (Cell::kBlocks, H) out
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
    bool split() const { return pieces.division.splits > 1; }
    Span span(const Piece& piece) const {
        if (!split()) return {c.H, 0, c.H};
        return {c.H, piece.panel * kPanel, std::min(piece.panel_end * kPanel, c.H)};
    }
    // w: of all `gates` together, or where units are split one after the other.
    void multiply_gates(const Piece& piece, Product product, const Panels& w, int64_t gates) const {
        if (!split()) return multiply<Plain>(product, w, 0, w.count());
        for (int64_t gate = 0; gate < gates; ++gate, product.shift += c.H)
            multiply<Plain>(product, w.number(gate), piece.panel, piece.panel_end);
    }
};

// `sums`: of the backward pass.
int prepare(GatedCall& call, int64_t gates, int64_t kept_blocks, const RowSums& sums = {});

void finish_forward(const GatedCall& call);

// Blocks [block, block + blocks) of a forward step, and the weights of what is added up there; either may be none.
struct GatePart {
    int64_t block, blocks;
    Panels x, h;
};

template <class Cell>
void add_biases(GatedCall& call) {
    const int64_t H = call.c.H;
    for (int64_t block = 0; block < Cell::kBlocks; ++block) {
        const int64_t gate = (block + Cell::kFirst) % Cell::kGates * H;
        for (int64_t h = 0; h < H; ++h) {
            const float input = call.c.b_ih && block < Cell::kGates ? call.c.b_ih[gate + h] : 0.0f;
            const float hidden = call.c.b_hh && block >= Cell::kHidden ? call.c.b_hh[gate + h] : 0.0f;
            call.bias[block * H + h] = input + hidden;
        }
    }
}

// The blocks fall into three parts: those that inputs alone add to, then both, then states alone.
template <class Cell>
int make_parts(GatedCall& call, GatePart (&parts)[3]) {
    const unrolled_gated& c = call.c;
    int n = 0;
    const int64_t edges[] = {0, std::min(Cell::kHidden, Cell::kGates), Cell::kGates, Cell::kBlocks};
    for (int i = 0; i < 3; ++i) {
        const int64_t block = edges[i], blocks = edges[i + 1] - block, gate = (block + Cell::kFirst) % Cell::kGates;
        if (blocks == 0) continue;
        const int64_t count = call.split() ? blocks : 1, N = blocks / count * c.H;
        GatePart part{block, blocks, {nullptr, 0, 0}, {nullptr, 0, 0}};
        if (block < Cell::kGates)
            part.x = packed(call.scratch, c.D, N, {c.w_ih + gate * c.H * c.D, 1, c.D}, call.pieces.all_at_once(c.T), count);
        if (block >= Cell::kHidden)
            part.h = packed(call.scratch, c.H, N, {c.w_hh + (block - Cell::kHidden) * c.H * c.H, 1, c.H}, c.T == 1, count);
        parts[n++] = part;
    }
    return n;
}

// The input products of the next steps.
inline void input_products(const GatedCall& call, Piece piece, const GatePart* part, int parts, int64_t t) {
    const int64_t end = std::min(t + steps_at_once(piece.count), call.c.T);
    int64_t n = 0;
    for (; t < end; ++t) {
        piece.come_to(call.rows, t);
        for (int64_t i = 0; i < piece.alive; ++i, ++n) {
            piece.with[n] = call.x.at(t, piece.rows[i]);
            piece.init[n] = call.bias;
            piece.c[n] = call.kept.at(t, piece.rows[i]);
        }
    }
    for (int i = 0; i < parts; ++i)
        if (part[i].x.K)
            call.multiply_gates(piece, {piece.with, piece.init, piece.c, nullptr, n, part[i].block * call.c.H}, part[i].x,
                                part[i].blocks);
}

// Where a step's products begin: at the biases, unless its input products were made before.
template <class Cell>
void forward_step(const GatedCall& call, Piece& piece, const GatePart* part, int parts, int64_t t) {
    const GatePart& both = part[parts / 2];
    const bool fused = !call.split() && one_product(both.x, both.h, piece.count);
    if (!fused && t % steps_at_once(piece.count) == 0) input_products(call, piece, part, parts, t);
    const int64_t n = piece.alive;
    for (int64_t i = 0; i < n; ++i) {
        const int64_t r = piece.rows[i];
        piece.c[i] = call.kept.at(t, r);
        piece.init[i] = call.bias;
        piece.with[i] = fused ? call.x.at(t, r) : piece.c[i];
    }
    for (int i = 0; i < parts; ++i) {
        const GatePart& p = part[i];
        if (!p.h.K && !fused) continue;
        Product product{p.h.K ? piece.a : piece.with, piece.init, piece.c, nullptr, n, p.block * call.c.H};
        if (p.h.K && p.x.K && fused) product.first_a = piece.with, product.first_w = &p.x;
        if (p.x.K && !fused) product.init = piece.with;
        call.multiply_gates(piece, product, p.h.K ? p.h : p.x, p.blocks);
    }
    for (int64_t i = 0; i < n; ++i) {
        float* h = call.output.at(t, piece.rows[i]);
        Cell::forward(call.span(piece), {piece.c[i], piece.a[i], call.c_of(piece.rows[i]), h});
        piece.a[i] = h;
    }
}

template <class Cell>
int gated_forward(const unrolled_gated& c) {
    GatedCall call(c);
    Scratch& scratch = call.scratch;
    if (!c.w_hh && Cell::kHidden < Cell::kBlocks) return UNROLLED_BAD_CALL;
    if (const int status = prepare(call, Cell::kGates, Cell::kKept)) return status;
    GatePart part[3];
    const int parts = make_parts<Cell>(call, part);
    if (!scratch.ok()) return UNROLLED_NO_MEMORY;
    add_biases<Cell>(call);
    for (int64_t r = 0; r < c.B; ++r) std::copy_n(call.start(c.c_0, r), c.H, call.c_of(r));
    for (int64_t i = 0; i < call.pieces.count(); ++i)
        for (int64_t j = 0; j < call.pieces.piece[i].count; ++j)
            call.pieces.piece[i].a[j] = call.start(c.h_0, call.pieces.piece[i].rows[j]);
    walk(
        call.pieces, call.rows, 0, c.T, 1,
        [&](Piece& piece, int64_t, int64_t t) { forward_step<Cell>(call, piece, part, parts, t); },
        [](Piece&, int64_t) {});
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
    const float **a[kMostBlocks];  // of the steps in hand: rows of d_z from each block on,
    const float **x, **h;      // inputs, states before,
    const float** zeros;       // nothing,
    float** to;                // gradients of inputs
    WeightPart part[3];
    int parts;
    Copies* copies;
    RowSums sums;              // instead, where the weights are small: then every thread needs only what it made itself
    Inputs in;

    float* d_h_of(const GatedCall& call, int64_t r) const { return d_h + call.rows.order[r] * call.c.H; }
};

bool begin_backward(GatedCall& call, GatedBackward& g);
inline void clear(const Outer& outer) {
    std::fill_n(outer.c, outer.I * outer.J, 0.0f);
    std::fill_n(outer.sums, outer.I, 0.0f);
}
void finish_steps(const GatedCall& call, const GatedBackward& g, int64_t n);
void first_gradients(GatedCall& call, const GatedBackward& g, int64_t hidden, bool carries);

template <class Cell>
void set_parts(const GatedCall& call, GatedBackward& g) {
    const unrolled_gated& c = call.c;
    const int64_t late = Cell::kFirst, early = Cell::kGates - late, H = c.H, first = late * H;  // gates after turning
    g.parts = 0;
    g.part[0] = {{early * H, c.D, c.d_w_ih + first * c.D, c.d_b_ih + first}, g.a[0], g.x};
    g.parts = 1;
    if (Cell::kHidden < Cell::kBlocks) g.part[g.parts++] = {{Cell::kGates * H, H, c.d_w_hh, c.d_b_hh}, g.a[Cell::kHidden % kMostBlocks], g.h};
    if (late) g.part[g.parts++] = {{first, c.D, c.d_w_ih, c.d_b_ih}, g.a[early], g.x};
}

template <class Cell>
void add_up(const GatedCall& call, const RowSums& s) {
    const unrolled_gated& c = call.c;
    const int64_t H = c.H, all = Cell::kGates * H, late = Cell::kFirst * H, early = all - late;  // as in set_parts
    if (s.I_h) s.add_up(s.c, all, 0, all, H, c.d_w_hh);
    s.add_up(s.c_x, all, 0, early, c.D, c.d_w_ih + late * c.D);
    s.add_up(s.c_x, all, early, all, c.D, c.d_w_ih);
    if (s.I_h) s.add_up(s.bias, s.I, s.hidden, s.hidden + all, 1, c.d_b_hh);
    s.add_up(s.bias, s.I, 0, early, 1, c.d_b_ih + late);
    s.add_up(s.bias, s.I, early, all, 1, c.d_b_ih);
}

template <class Cell>
void backward_step(const GatedCall& call, const GatedBackward& g, Piece& piece, int64_t t, int64_t first) {
    const unrolled_gated& c = call.c;
    const Rows& rows = call.rows;
    int64_t n = 0;
    for (; n < piece.alive && g.w_hh.K && piece.rows[n] < rows.after(t); ++n) {
        piece.a[n] = g.d_z.at(t + 1, piece.rows[n]) + Cell::kHidden * c.H;
        piece.c[n] = g.d_h_of(call, piece.rows[n]);
        piece.init[n] = Cell::kCarries ? piece.c[n] : call.zeros;
    }
    if (g.w_hh.K)
        multiply<Plain>(piece.product(n), g.w_hh, call.split() ? piece.panel : 0, call.split() ? piece.panel_end : g.w_hh.count());
    for (int64_t i = 0; i < piece.alive; ++i) {
        const int64_t r = piece.rows[i], k = rows.place(t, r) - first, row = rows.order[r] * c.H;
        float* d_z = g.d_z.at(t, r);
        Cell::backward(call.span(piece),
                       {call.kept.at(t, r), Cell::carried(call, t, r),
                        c.d_output.data ? g.d_output.at(t, r) : call.zeros, g.d_h + row, g.d_c + row, d_z});
        if (!piece.leads || g.sums.used()) continue;
        for (int64_t block = 0; block < Cell::kBlocks; ++block) g.a[block][k] = d_z + block * c.H;
        g.x[k] = call.x.at(t, r);
        g.h[k] = call.before(t, r);
        if (c.d_x.data) g.to[k] = g.d_x.at(t, r);
    }
}

template <class Cell>
int gated_backward(const unrolled_gated& c) {
    GatedCall call(c);
    GatedBackward g{};
    const bool recurs = Cell::kHidden < Cell::kBlocks, complete = c.d_w_ih && c.d_b_ih && (c.kept || c.T * c.B == 0);
    if (!complete || (recurs && !(c.w_hh && c.d_w_hh && c.d_b_hh))) return UNROLLED_BAD_CALL;
    g.sums = {Cell::kBlocks * c.H, c.H, c.D, Cell::kHidden * c.H, recurs * Cell::kGates * c.H, Cell::kGates * c.H};
    g.sums.make(call.scratch, c.T, c.B);
    if (!call.scratch.ok()) return UNROLLED_NO_MEMORY;
    if (const int status = prepare(call, Cell::kGates, Cell::kKept, g.sums)) return status;
    if (!begin_backward(call, g)) return UNROLLED_NO_MEMORY;
    const int64_t all = Cell::kGates * c.H;
    g.in.w = g.w_ih = packed(call.scratch, all, c.D, {c.w_ih, c.D, 1, Cell::kFirst * c.H}, call.rows.total <= kSome);
    if (recurs) g.w_hh = packed(call.scratch, all, c.H, {c.w_hh, c.H, 1}, c.T == 1);
    if (!call.scratch.ok()) return UNROLLED_NO_MEMORY;
    set_parts<Cell>(call, g);
    for (int part = 0; part < g.parts; ++part) clear(g.part[part].outer);
    const auto before = [&](int64_t t, int64_t r) { return call.before(t, r); };
    for (int64_t end = c.T; end > 0;) {
        const int64_t begin = std::max<int64_t>(0, end - g.steps), first = call.rows.offset[begin];
        walk(
            call.pieces, call.rows, end - 1, begin - 1, -1,
            [&](Piece& piece, int64_t i, int64_t t) {
                backward_step<Cell>(call, g, piece, t, first);
                g.sums.add(call.rows, piece, i, t, g.d_z, before, g.in);
            },
            [](Piece&, int64_t) {});
        if (!g.sums.used()) finish_steps(call, g, call.rows.offset[end] - first);
        end = begin;
    }
    if (g.sums.used()) add_up<Cell>(call, g.sums);
    if (c.d_h_0 && recurs) first_gradients(call, g, Cell::kHidden, Cell::kCarries);
    if (c.d_x.data) clear_ends(call.rows, c.d_x, c.D);
    return call.scratch.ok() ? UNROLLED_OK : UNROLLED_NO_MEMORY;
}

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
