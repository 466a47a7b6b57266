// h_t = f(w_ih x_t + bias + w_hh h_(t-1)): forward and backward over the whole time loop.
//
// Each thread walks through all steps with rows of its own, so nothing waits inside the loop (unless units are
// split too). Rows are addressed one by one: a state is read where it was written, in the caller's layout or
// ours, and padding or a finished row is nowhere.
#include "sums.h"
#include "tokens.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {
namespace {

struct Call {
    unrolled_elman c;
    Scratch scratch;
    Rows rows{};
    uint8_t* met = nullptr;  // (V,) the words that are read; forward only
    float* zeros = nullptr;
    Places<const float> x;
    Places<const int32_t> tokens;
    Places<float> states;

    explicit Call(const unrolled_elman& call) : c(call) {}

    bool reads_tokens() const { return c.table || c.embedding; }
    int64_t work() const { return c.H * (c.H + (reads_tokens() ? 0 : c.D)); }

    // What a row starts from.
    const float* first_state(int64_t r, const float* prefix) const {
        if (rows.starts_late()) return prefix + rows.begin[r] * c.H;
        return c.h_0 ? c.h_0 + rows.order[r] * c.H : zeros;
    }
};

bool can_be_followed(const Call& call) {
    const unrolled_elman& c = call.c;
    if (c.size != sizeof c || c.T < 0 || c.B < 0 || c.H < 1 || c.V < 0 || c.T * c.B >= INT32_MAX) return false;
    const bool input = call.reads_tokens() ? c.tokens != nullptr : c.x.data && c.w_ih && c.D > 0;
    return c.w_hh && !(c.packed && call.reads_tokens()) && (input || c.T * c.B == 0);
}

// Everything that forward and backward have in common.
int prepare(Call& call, bool forward) {
    const unrolled_elman& c = call.c;
    Scratch& scratch = call.scratch;
    if (!can_be_followed(call)) return UNROLLED_BAD_CALL;
    if (const int status = check_lengths(c.T, c.B, c.lengths, c.packed)) return status;
    int64_t* begins = nullptr;
    if (call.reads_tokens()) {
        if (forward) call.met = scratch.zeros<uint8_t>(c.V);
        begins = scratch.take<int64_t>(c.B);
        if (!scratch.ok()) return UNROLLED_NO_MEMORY;
        if (!scan(c, begins, call.met)) return UNROLLED_BAD_TOKEN;
    }
    call.zeros = scratch.zeros<float>(std::max(c.H, c.D));
    if (!arrange(call.rows, c.T, c.B, c.lengths, begins, scratch)) return UNROLLED_NO_MEMORY;
    call.rows.packed = c.packed;
    if (call.rows.starts_late() && forward) call.met[c.prefix_token] = 1;
    call.x = strided<const float>(scratch, call.rows, c.x.data, c.x.time, c.x.row, c.reverse);
    call.tokens = strided(scratch, call.rows, c.tokens, c.token_time, c.token_row, c.reverse);
    call.states = c.output.data
                      ? written(scratch, call.rows, c.output, c.H, c.reverse)
                      : compact(scratch, call.rows, c.states, c.H);
    return scratch.ok() ? UNROLLED_OK : UNROLLED_NO_MEMORY;
}

struct Forward {
    Panels w_ih, w_hh;
    float** prefix;  // for each piece: states of the common beginning, which every part computes for itself
};

// Where each piece begins. False where memory is short.
bool begin_rows(Call& call, const Pieces& pieces, Forward& f) {
    const unrolled_elman& c = call.c;
    f.prefix = call.scratch.take<float*>(pieces.count());
    for (int64_t i = 0; call.scratch.ok() && i < pieces.count(); ++i) {
        Piece& p = pieces.piece[i];
        if (call.rows.starts_late()) {
            if (!p.leads) f.prefix[i] = f.prefix[i - 1];
            else f.prefix[i] = i == 0 && c.prefix ? c.prefix : call.scratch.take<float>((c.T + 1) * c.H);
            if (f.prefix[i]) std::copy_n(c.h_0 ? c.h_0 : call.zeros, c.H, f.prefix[i]);
        }
        for (int64_t j = 0; j < p.count; ++j) p.a[j] = call.first_state(p.rows[j], f.prefix[i]);
    }
    return call.scratch.ok();
}

// The input products of the next steps, put where their states will be.
void input_products(const Call& call, Piece piece, const Panels& w, int64_t t) {
    const int64_t end = std::min(t + steps_at_once(piece.count), call.c.T);
    int64_t n = 0;
    for (; t < end; ++t) {
        piece.come_to(call.rows, t);
        for (int64_t i = 0; i < piece.alive; ++i, ++n) {
            piece.with[n] = call.x.at(t, piece.rows[i]);  // free until the backward pass
            piece.c[n] = call.states.at(t, piece.rows[i]);
            piece.init[n] = call.c.bias ? call.c.bias : call.zeros;
        }
    }
    multiply<Plain>({piece.with, piece.init, piece.c, nullptr, n}, w, piece.panel, piece.panel_end);
}

template <class Activation>
void forward_step(const Call& call, const Forward& f, Piece& piece, float* prefix, int64_t t) {
    const unrolled_elman& c = call.c;
    const bool words = call.reads_tokens(), fused = !words && one_product(f.w_ih, f.w_hh, piece.count);
    if (!words && !fused && t % steps_at_once(piece.count) == 0) input_products(call, piece, f.w_ih, t);
    int64_t n = piece.alive, soon = call.rows.after(t);
    for (int64_t i = 0; i < n; ++i) {
        const int64_t r = piece.rows[i];
        piece.c[i] = call.states.at(t, r);
        if (fused) piece.with[i] = call.x.at(t, r);
        piece.init[i] = words ? c.table + *call.tokens.at(t, r) * c.H : !fused ? piece.c[i] : c.bias ? c.bias : call.zeros;
        if (r >= soon) continue;
        if (words) prefetch(c.table + *call.tokens.at(t + 1, r) * c.H, c.H);
        else prefetch(call.x.at(t + 1, r), c.D);
        prefetch_to_write(call.states.at(t + 1, r), c.H);
    }
    const float* kept = nullptr;
    if (t < call.rows.shared) {  // the common beginning is one more row
        kept = piece.a[n];
        piece.a[n] = prefix + t * c.H;
        piece.c[n] = prefix + (t + 1) * c.H;
        piece.init[n++] = c.table + c.prefix_token * c.H;
    }
    Product product = piece.product(n);
    if (fused) product.first_a = piece.with, product.first_w = &f.w_ih;
    multiply<Activation>(product, f.w_hh, piece.panel, piece.panel_end);
    if (t < call.rows.shared) piece.a[--n] = kept;
    std::copy_n(piece.c, n, piece.a);
}

// Last states, and what the output holds where no step was computed.
void finish_rows(const Call& call, const Piece& piece, const float* prefix) {
    const unrolled_elman& c = call.c;
    for (int64_t i = 0; i < piece.count && piece.leads; ++i) {
        const int64_t r = piece.rows[i], b = call.rows.order[r];
        if (c.h_n) std::copy_n(piece.a[i], c.H, c.h_n + b * c.H);
        if (!c.output.data) continue;
        float* row = c.output.data + b * c.output.row;
        for (int64_t t = 0; t < call.rows.begin[r]; ++t)
            std::copy_n(prefix + (t + 1) * c.H, c.H, row + t * c.output.time);
        clear_end(call.rows, r, c.output, c.H);
    }
}

template <class Activation>
int forward(Call& call) {
    const unrolled_elman& c = call.c;
    const Pieces pieces = make_pieces(call.scratch, call.rows, call.work(), c.H, 1);
    if (!call.scratch.ok()) return UNROLLED_NO_MEMORY;
    Forward f{{}, packed(call.scratch, c.H, c.H, {c.w_hh, 1, c.H}, c.T == 1), nullptr};
    if (!call.reads_tokens()) f.w_ih = packed(call.scratch, c.D, c.H, {c.w_ih, 1, c.D}, pieces.all_at_once(c.T));
    if (!call.scratch.ok()) return UNROLLED_NO_MEMORY;
    if (!c.output.data && !c.states) {  // the state before, and those that hold input products
        int64_t last = 2;
        for (int64_t i = 0; i < pieces.count() && !call.reads_tokens(); ++i)
            last = std::max(last, steps_at_once(pieces.piece[i].count) + 1);
        call.states = compact(call.scratch, call.rows, call.scratch.take<float>(last * c.B * c.H), c.H, last);
    }
    if (!begin_rows(call, pieces, f)) return UNROLLED_NO_MEMORY;
    walk(
        pieces, call.rows, 0, c.T, 1,
        [&](Piece& p, int64_t i, int64_t t) { forward_step<Activation>(call, f, p, f.prefix[i], t); },
        [&](Piece& p, int64_t i) { finish_rows(call, p, f.prefix[i]); });
    return UNROLLED_OK;
}

// dz (total + shared, H): the common beginning's steps come last; previous: the state that each row of dz was
// computed from; start (B, H) in the engine's order: gradients of the first states.
struct Backward {
    Panels w_hh;
    Places<float> dz;
    Places<const float> d_output;
    const float** previous;
    float* start;
    Inputs in;
    RowSums sums;
    Piece room;  // for a product of all rows
};

template <class Slope>
void backward_step(const Call& call, const Backward& g, Piece& piece, int64_t t) {
    const unrolled_elman& c = call.c;
    const Rows& rows = call.rows;
    const int64_t column = piece.panel * kPanel, end = std::min(piece.panel_end * kPanel, c.H);
    int64_t n = 0;
    for (int64_t i = 0; i < piece.alive; ++i) {
        const int64_t r = piece.rows[i];
        const float* d = c.d_output.data ? g.d_output.at(t, r) : call.zeros;
        const float* h = call.states.at(t, r);
        float* dz = g.dz.at(t, r);
        const bool early = r < rows.before(t);
        const float* before = early ? call.states.at(t - 1, r) : call.first_state(r, c.prefix);
        if (early) prefetch(before, c.H);
        if (piece.leads) g.previous[rows.place(t, r)] = before;
        if (r < rows.after(t)) {
            piece.a[n] = g.dz.at(t + 1, r);
            piece.init[n] = d;
            piece.with[n] = h;
            piece.c[n++] = dz;
            continue;
        }
        const float* last = c.d_h_n ? c.d_h_n + rows.order[r] * c.H : call.zeros;
        for (int64_t j = column; j < end; j += kLanes) {
            const Vector sum = load_some(d + j, end - j) + load_some(last + j, end - j);
            store_some(dz + j, Slope::apply(sum, load_some(h + j, end - j)), end - j);
        }
    }
    multiply<Slope>(piece.product(n), g.w_hh, piece.panel, piece.panel_end);
}

// Gradients of what the rows started from.
void first_gradients(const Call& call, const Backward& g) {
    const unrolled_elman& c = call.c;
    int64_t n = 0;
    for (int64_t r = 0; r < c.B; ++r) {
        if (call.rows.steps[r] > 0) {
            g.room.a[n] = g.dz.at(call.rows.begin[r], r);
            g.room.init[n] = call.zeros;
            g.room.c[n++] = g.start + r * c.H;
        } else {
            std::copy_n(c.d_h_n ? c.d_h_n + call.rows.order[r] * c.H : call.zeros, c.H, g.start + r * c.H);
        }
    }
    multiply_all<Plain>(g.room.product(n), g.w_hh);
    for (int64_t r = 0; c.d_h_0 && r < c.B; ++r)
        std::copy_n(g.start + r * c.H, c.H, c.d_h_0 + call.rows.order[r] * c.H);
}

// The gradient through the common beginning: that of its states is the sum over the rows that left it there.
template <class Slope>
void backward_shared(const Call& call, const Backward& g) {
    const unrolled_elman& c = call.c;
    const Rows& rows = call.rows;
    float* dz = g.dz.data + rows.total * c.H;
    for (int64_t t = rows.shared - 1, r = c.B - 1; t >= 0; --t) {
        float* sum = dz + t * c.H;  // becomes dz
        std::fill_n(sum, c.H, 0.0f);
        const auto add = [&](const float* from) {
            for (int64_t h = 0; h < c.H; ++h) sum[h] += from[h];
        };
        for (; r >= 0 && rows.begin[r] == t + 1; --r) add(g.start + r * c.H);
        for (int64_t late = c.B - 1; c.d_output.data && late > r; --late) add(g.d_output.at(t, late));
        const float* a = t + 1 < rows.shared ? dz + (t + 1) * c.H : call.zeros;
        const float *init = sum, *with = c.prefix + (t + 1) * c.H;
        multiply<Slope>({&a, &init, &sum, &with, 1}, g.w_hh, 0, g.w_hh.count());
        g.previous[rows.total + t] = c.prefix + t * c.H;
    }
}

bool input_gradients(Call& call, const Backward& g) {
    const unrolled_elman& c = call.c;
    if (c.d_x.data && g.sums.used()) clear_ends(call.rows, c.d_x, c.D);
    if (g.sums.used()) return true;
    if (c.d_x.data && !multiply_steps(call.scratch, call.rows, g.dz, g.in.w, c.d_x, c.reverse)) return false;
    if (!c.d_w_ih) return true;
    const float** x = call.scratch.take<const float*>(call.rows.total);
    if (!x) return false;
    for (int64_t t = 0; t < c.T; ++t)
        for (int64_t r = 0; r < call.rows.active[t]; ++r) x[call.rows.place(t, r)] = call.x.at(t, r);
    return outer_all(call.scratch, {c.H, c.D, c.d_w_ih, nullptr}, g.dz.data, x, call.rows.total);
}

bool weight_gradients(Call& call, const Backward& g) {
    const unrolled_elman& c = call.c;
    const int64_t total = call.rows.total, shared = call.rows.shared;
    if (!g.sums.used())
        return outer_all(call.scratch, {c.H, c.H, c.d_w_hh, c.d_bias}, g.dz.data, g.previous, total + shared);
    const RowSums& s = g.sums;
    const Outer last{c.H, c.H, s.outer(s.count).c, s.bias + s.count * c.H};
    if (!outer_all(call.scratch, last, g.dz.data + total * c.H, g.previous + total, shared)) return false;
    s.add_up(s.c, c.H, 0, c.H, c.H, c.d_w_hh);
    s.add_up(s.bias, c.H, 0, c.H, 1, c.d_bias);
    if (!call.reads_tokens()) s.add_up(s.c_x, c.H, 0, c.H, s.D, c.d_w_ih);
    return true;
}

template <class Slope>
int backward(Call& call) {
    const unrolled_elman& c = call.c;
    Scratch& scratch = call.scratch;
    const Rows& rows = call.rows;
    const int64_t n = rows.total + rows.shared;
    Backward g{packed(scratch, c.H, c.H, {c.w_hh, c.H, 1}, c.T == 1),
               compact(scratch, rows, scratch.take<float>(n * c.H), c.H),
               strided<const float>(scratch, rows, c.d_output.data, c.d_output.time, c.d_output.row, c.reverse),
               scratch.take<const float*>(n), scratch.take<float>(c.B * c.H), {}, {}, Piece(scratch, c.B)};
    const int64_t D = call.reads_tokens() ? 0 : c.D;
    g.sums = {c.H, c.H, D, 0, c.H, c.H};
    g.sums.make(scratch, c.T, c.B);
    if (D > 0 && c.d_x.data) g.in.w = packed(scratch, c.H, D, {c.w_ih, D, 1}, rows.total <= kSome);
    g.in.x = call.x, g.in.zeros = call.zeros;
    g.in.d_x = written(scratch, rows, c.d_x, D, c.reverse);
    const bool by_word = call.reads_tokens() && (c.d_embedding || c.d_w_ih);
    Index index(scratch, by_word ? c.V : 0, n);
    const Pieces pieces = make_pieces(scratch, rows, call.work(), c.H, g.sums.together);
    if (scratch.ok()) g.sums.copies_for(scratch, pieces);
    if (!scratch.ok()) return UNROLLED_NO_MEMORY;
    const auto before = [&](int64_t t, int64_t r) { return g.previous[rows.place(t, r)]; };
    walk(
        pieces, rows, c.T - 1, -1, -1,
        [&](Piece& piece, int64_t i, int64_t t) {
            backward_step<Slope>(call, g, piece, t);
            g.sums.add(rows, piece, i, t, g.dz, before, g.in);
        },
        [](Piece&, int64_t) {});
    const auto beginning = [&] {
        if (!c.d_h_0 && !rows.starts_late()) return;
        first_gradients(call, g);
        backward_shared<Slope>(call, g);
    };
    if (!by_word) beginning();
    else if (!index.sort(c, rows, beginning)) return UNROLLED_BAD_TOKEN;
    bool done = weight_gradients(call, g);
    if (by_word) done = done && embedding_gradient(scratch, c, index, g.dz.data);
    if (!call.reads_tokens()) done = done && input_gradients(call, g);
    return done && scratch.ok() ? UNROLLED_OK : UNROLLED_NO_MEMORY;
}

}  // namespace

int elman_forward(const unrolled_elman* c) {
    Call call(*c);
    if (const int status = prepare(call, true)) return status;
    if (c->embedding) {
        if (!c->table) call.c.table = call.scratch.take<float>(c->V * c->H);
        const unrolled_table table{sizeof table, c->V, c->D, c->H, c->embedding, c->w_ih, c->bias, call.c.table};
        if (!call.scratch.ok() || !fill_table(call.scratch, table, call.met)) return UNROLLED_NO_MEMORY;
    }
    return c->activation == UNROLLED_RELU ? forward<Relu>(call) : forward<Tanh>(call);
}

int elman_backward(const unrolled_elman* c) {
    Call call(*c);
    if (const int status = prepare(call, false)) return status;
    if (call.rows.starts_late() && (!c->prefix || c->d_h_0)) return UNROLLED_BAD_CALL;
    if (call.reads_tokens() && (c->d_embedding || c->d_w_ih) && !(c->embedding && c->w_ih)) return UNROLLED_BAD_CALL;
    if (!c->d_w_hh || !(c->output.data || c->states || c->T * c->B == 0)) return UNROLLED_BAD_CALL;
    return c->activation == UNROLLED_RELU ? backward<ReluSlope>(call) : backward<TanhSlope>(call);
}

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
