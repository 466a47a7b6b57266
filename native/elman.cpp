// h_t = f(w_ih x_t + bias + w_hh h_(t-1)): forward and backward over the whole time loop.
//
// Each piece of the division walks through all steps with rows of its own, so nothing waits inside the loop
// (unless the units are split too). Rows are addressed one by one: a state is read where it was written, in the
// caller's layout or ours, and a padding step or a finished row is nowhere.
#include <cstring>

#include "tokens.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {
namespace {

struct Tanh : Plain {
    static Vector apply(Vector z, Vector) { return tanh(z); }
};
struct Relu : Plain {
    static Vector apply(Vector z, Vector) { return maximum(Vector{}, z); }
};
// d z from d h and h.
struct TanhSlope {
    static constexpr bool kLooks = true;
    static Vector apply(Vector d, Vector h) { return d * (fill(1.0f) - h * h); }
};
struct ReluSlope {
    static constexpr bool kLooks = true;
    static Vector apply(Vector d, Vector h) { return h <= Vector{} ? Vector{} : d; }
};

// Vectors for (step, row): data + step[t] + row[r], rows in the engine's order.
template <class T>
struct Places {
    T* data = nullptr;
    int64_t* step = nullptr;
    int64_t* row = nullptr;
    T* at(int64_t t, int64_t r) const { return data + step[t] + row[r]; }
};

struct Call {
    unrolled_elman c;
    Scratch scratch;
    Rows rows{};
    Division division{1, 1};
    int32_t* dealt = nullptr;
    int64_t* first = nullptr;
    float* zeros = nullptr;
    Places<const float> x;
    Places<const int32_t> tokens;
    Places<float> states;

    explicit Call(const unrolled_elman& call) : c(call) {}

    template <class T>
    Places<T> places(T* data) {
        return {data, scratch.take<int64_t>(c.T), scratch.take<int64_t>(c.B)};
    }

    // The caller's layout; backwards in time when that is how the call reads.
    template <class T>
    Places<T> strided(T* data, int64_t time, int64_t row) {
        Places<T> p = places(data);
        if (!scratch.ok() || !data) return p;
        for (int64_t t = 0; t < c.T; ++t) p.step[t] = c.reverse ? -t * time : t * time;
        for (int64_t r = 0; r < c.B; ++r)
            p.row[r] = rows.order[r] * row + (c.reverse ? (rows.steps[r] - 1) * time : 0);
        return p;
    }

    // Only the steps that exist, one after the other; or the last two of each row.
    Places<float> packed_steps(float* data, bool last_two) {
        Places<float> p = places(data);
        if (!scratch.ok()) return p;
        for (int64_t t = 0; t < c.T; ++t) p.step[t] = (last_two ? t % 2 * c.B : rows.offset[t]) * c.H;
        for (int64_t r = 0; r < c.B; ++r) p.row[r] = r * c.H;
        return p;
    }

    // What a row starts from.
    const float* first_state(int64_t r, const float* prefix) const {
        if (rows.starts_late()) return prefix + rows.begin[r] * c.H;
        return c.h_0 ? c.h_0 + rows.order[r] * c.H : zeros;
    }
};

bool same_start(const unrolled_elman& c) {
    for (int64_t b = 0; b < c.B; ++b) {
        if (c.lengths && c.lengths[b] != c.T) return false;
        if (c.h_0 && std::memcmp(c.h_0, c.h_0 + b * c.H, c.H * sizeof(float)) != 0) return false;
    }
    return !c.reverse;
}

bool followed(const unrolled_elman& c) {
    if (c.size != sizeof c || c.T < 0 || c.B < 0 || c.H < 1 || c.V < 0 || c.T * c.B >= INT32_MAX) return false;
    if (!c.w_hh || (c.tokens ? !c.table && !c.embedding : !c.x.data || !c.w_ih || c.D < 1)) return false;
    return true;
}

// Everything that forward and backward have in common. `met` (V,) is what the tokens read.
int prepare(Call& call, uint8_t*& met) {
    const unrolled_elman& c = call.c;
    if (!followed(c)) return UNROLLED_BAD_CALL;
    for (int64_t b = 0; c.lengths && b < c.B; ++b)
        if (c.lengths[b] < 0 || c.lengths[b] > c.T) return UNROLLED_BAD_LENGTH;
    int64_t* begins = nullptr;
    if (c.tokens) {
        met = call.scratch.zeros<uint8_t>(c.V);
        begins = call.scratch.take<int64_t>(c.B);
        const bool share_start = c.prefix_token >= 0 && c.prefix_token < c.V && same_start(c);
        if (!call.scratch.ok()) return UNROLLED_NO_MEMORY;
        const Tokens tokens{c.tokens, c.token_time, c.token_row, c.T, c.B, c.V, share_start ? c.prefix_token : -1,
                            c.lengths};
        if (!scan(tokens, begins, met)) return UNROLLED_BAD_TOKEN;
    }
    if (!arrange(call.rows, c.T, c.B, c.lengths, begins, call.scratch)) return UNROLLED_NO_MEMORY;
    if (call.rows.starts_late()) met[c.prefix_token] = 1;
    call.division = divide(call.rows, c.H * (c.H + (c.tokens ? 0 : c.D)), panels_of(c.H));
    call.dealt = call.scratch.take<int32_t>(c.B);
    call.first = call.scratch.take<int64_t>(call.division.parts + 1);
    call.zeros = call.scratch.zeros<float>(std::max(c.H, c.D));
    if (!call.scratch.ok()) return UNROLLED_NO_MEMORY;
    deal(c.B, call.division.parts, call.dealt, call.first);
    call.x = call.strided<const float>(c.x.data, c.x.time, c.x.row);
    call.tokens = call.strided(c.tokens, c.token_time, c.token_row);
    call.states = c.output.data ? call.strided(c.output.data, c.output.time, c.output.row)
                                : call.packed_steps(c.states, false);
    return call.scratch.ok() ? UNROLLED_OK : UNROLLED_NO_MEMORY;
}

// One piece of the division on its way through time.
struct Piece {
    const int32_t* rows;  // in the engine's order
    int64_t count, panel, panel_end, column, column_end;
    bool leads;           // it does for its rows what is done once
    float* prefix;        // states of the common beginning, its own copy
    int64_t alive;
    const float **a, **init, **with;
    float** c;

    void at_step(const Rows& all, int64_t t) {
        while (alive > 0 && rows[alive - 1] >= all.active[t]) --alive;
        while (alive < count && rows[alive] < all.active[t]) ++alive;
    }
    Product product(int64_t n) const { return {a, init, c, with, n}; }
};

// Steps whose input products are made at once, so that few rows still fill the tiles.
int64_t steps_at_once(const Piece& piece) { return std::max<int64_t>(1, 8 * kRows / std::max<int64_t>(1, piece.count)); }

Piece* make_pieces(Call& call) {
    const Division& d = call.division;
    const int64_t panels = panels_of(call.c.H), H = call.c.H;
    Piece* pieces = call.scratch.take<Piece>(d.pieces());
    if (!pieces) return nullptr;
    for (int64_t i = 0; i < d.pieces(); ++i) {
        const int64_t part = i / d.splits, split = i % d.splits;
        Piece& p = pieces[i];
        p = Piece{call.dealt + call.first[part], call.first[part + 1] - call.first[part],
                  split * panels / d.splits, (split + 1) * panels / d.splits, 0, 0, split == 0, nullptr, 0,
                  nullptr, nullptr, nullptr, nullptr};
        p.column = std::min(p.panel * kPanel, H);
        p.column_end = std::min(p.panel_end * kPanel, H);
        const int64_t room = p.count * steps_at_once(p) + 1;
        p.a = call.scratch.take<const float*>(room);
        p.init = call.scratch.take<const float*>(room);
        p.with = call.scratch.take<const float*>(room);
        p.c = call.scratch.take<float*>(room);
    }
    return call.scratch.ok() ? pieces : nullptr;
}

// Where each piece begins, and its own copy of the common beginning.
bool begin_rows(Call& call, Piece* pieces) {
    const unrolled_elman& c = call.c;
    for (int64_t i = 0; i < call.division.pieces(); ++i) {
        Piece& p = pieces[i];
        if (call.rows.starts_late()) {
            if (!p.leads) p.prefix = pieces[i - 1].prefix;
            else p.prefix = i == 0 && c.prefix ? c.prefix : call.scratch.take<float>((c.T + 1) * c.H);
            if (!p.prefix) return false;
            std::copy_n(c.h_0 ? c.h_0 : call.zeros, c.H, p.prefix);
        }
        for (int64_t j = 0; j < p.count; ++j) p.a[j] = call.first_state(p.rows[j], p.prefix);
    }
    return true;
}

// Walks all pieces through steps first, first + stride, ..., together where they wait for each other.
template <class Step>
void walk(const Call& call, Piece* pieces, int64_t first, int64_t stride, const Step& step) {
    Barrier barrier(call.division.pieces());
    parallel(call.division.pieces(), [&](int64_t begin, int64_t end) {
        for (int64_t t = first; t >= 0 && t < call.c.T; t += stride) {
            for (int64_t i = begin; i < end; ++i) {
                pieces[i].at_step(call.rows, t);
                step(pieces[i], t);
            }
            if (call.division.splits > 1) barrier.arrive(end - begin);
        }
    });
}

// The input products of the next steps, put where their states will be.
void input_products(const Call& call, Piece piece, const Panels& w, int64_t t) {
    const int64_t end = std::min(t + steps_at_once(piece), call.c.T);
    int64_t n = 0;
    const float** x = piece.with;  // free until the backward pass
    for (; t < end; ++t) {
        piece.at_step(call.rows, t);
        for (int64_t i = 0; i < piece.alive; ++i, ++n) {
            x[n] = call.x.at(t, piece.rows[i]);
            piece.c[n] = call.states.at(t, piece.rows[i]);
            piece.init[n] = call.c.bias ? call.c.bias : call.zeros;
        }
    }
    multiply<Plain>({x, piece.init, piece.c, nullptr, n}, w, piece.panel, piece.panel_end);
}

template <class F>
void forward_step(const Call& call, Piece& piece, const Panels& w_ih, const Panels& w_hh, int64_t t) {
    const unrolled_elman& c = call.c;
    if (!c.tokens && t % steps_at_once(piece) == 0) input_products(call, piece, w_ih, t);
    int64_t n = piece.alive;
    for (int64_t i = 0; i < n; ++i) {
        const int64_t r = piece.rows[i];
        piece.c[i] = call.states.at(t, r);
        piece.init[i] = c.tokens ? c.table + *call.tokens.at(t, r) * c.H : piece.c[i];
    }
    const float* state = nullptr;
    if (t < call.rows.shared) {  // the common beginning is one more row
        state = piece.a[n];
        piece.a[n] = piece.prefix + t * c.H;
        piece.c[n] = piece.prefix + (t + 1) * c.H;
        piece.init[n++] = c.table + c.prefix_token * c.H;
    }
    multiply<F>(piece.product(n), w_hh, piece.panel, piece.panel_end);
    if (t < call.rows.shared) piece.a[--n] = state;
    for (int64_t i = 0; i < n; ++i) piece.a[i] = piece.c[i];
}

// Last states, and what the output holds where no step was computed.
void finish_rows(const Call& call, const Piece& piece) {
    const unrolled_elman& c = call.c;
    for (int64_t i = 0; i < piece.count && piece.leads; ++i) {
        const int64_t r = piece.rows[i], b = call.rows.order[r];
        if (c.h_n) std::copy_n(piece.a[i], c.H, c.h_n + b * c.H);
        if (!c.output.data) continue;
        float* row = c.output.data + b * c.output.row;
        for (int64_t t = 0; t < call.rows.begin[r]; ++t)
            std::copy_n(piece.prefix + (t + 1) * c.H, c.H, row + t * c.output.time);
        for (int64_t t = call.rows.begin[r] + call.rows.steps[r]; t < c.T; ++t)
            std::fill_n(row + t * c.output.time, c.H, 0.0f);
    }
}

template <class F>
int forward(Call& call) {
    const unrolled_elman& c = call.c;
    Panels w_ih{};
    const Panels w_hh = packed(call.scratch, c.w_hh, c.H, c.H, 1, c.H);
    if (!c.tokens) w_ih = packed(call.scratch, c.w_ih, c.D, c.H, 1, c.D);
    Piece* pieces = make_pieces(call);
    if (!pieces || !begin_rows(call, pieces)) return UNROLLED_NO_MEMORY;
    walk(call, pieces, 0, 1, [&](Piece& piece, int64_t t) { forward_step<F>(call, piece, w_ih, w_hh, t); });
    parallel(call.division.pieces(), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) finish_rows(call, pieces[i]);
    });
    return UNROLLED_OK;
}

// The backward pass. dz (total + shared, H): the common beginning's steps come last; previous: the state that
// each row of dz was computed from; start (B, H) in the engine's order: gradients of the first states.
struct Gradients {
    Places<float> dz;
    Places<const float> d_output;
    const float** previous;
    float* start;
};

template <class Slope>
void backward_step(const Call& call, Piece& piece, const Gradients& g, const Panels& w, int64_t t) {
    const unrolled_elman& c = call.c;
    const Rows& rows = call.rows;
    int64_t n = 0;
    for (int64_t i = 0; i < piece.alive; ++i) {
        const int64_t r = piece.rows[i];
        const float* d = c.d_output.data ? g.d_output.at(t, r) : call.zeros;
        const float* h = call.states.at(t, r);
        float* dz = g.dz.at(t, r);
        if (piece.leads)
            g.previous[rows.place(t, r)] =
                r < rows.before(t) ? call.states.at(t - 1, r) : call.first_state(r, c.prefix);
        if (r < rows.after(t)) {
            piece.a[n] = g.dz.at(t + 1, r);
            piece.init[n] = d;
            piece.with[n] = h;
            piece.c[n++] = dz;
            continue;
        }
        const float* last = c.d_h_n ? c.d_h_n + rows.order[r] * c.H : call.zeros;
        for (int64_t j = piece.column; j < piece.column_end; j += kLanes) {
            const int64_t left = piece.column_end - j;
            const Vector sum = load_some(d + j, left) + load_some(last + j, left);
            store_some(dz + j, Slope::apply(sum, load_some(h + j, left)), left);
        }
    }
    multiply<Slope>(piece.product(n), w, piece.panel, piece.panel_end);
}

// Gradients of what the rows started from.
void first_gradients(Call& call, const Gradients& g, const Panels& w) {
    const unrolled_elman& c = call.c;
    const float** a = call.scratch.take<const float*>(c.B);
    const float** init = call.scratch.take<const float*>(c.B);
    float** to = call.scratch.take<float*>(c.B);
    if (!call.scratch.ok()) return;
    int64_t n = 0;
    for (int64_t r = 0; r < c.B; ++r) {
        if (call.rows.steps[r] > 0) {
            a[n] = g.dz.at(call.rows.begin[r], r);
            init[n] = call.zeros;
            to[n++] = g.start + r * c.H;
        } else {
            std::copy_n(c.d_h_n ? c.d_h_n + call.rows.order[r] * c.H : call.zeros, c.H, g.start + r * c.H);
        }
    }
    multiply_all<Plain>({a, init, to, nullptr, n}, w);
}

// The gradient through the common beginning: that of its states is the sum over the rows that left it there.
template <class Slope>
void backward_shared(const Call& call, const Gradients& g, const Panels& w, float* sum) {
    const unrolled_elman& c = call.c;
    const Rows& rows = call.rows;
    float* dz = g.dz.data + rows.total * c.H;
    for (int64_t t = rows.shared - 1, r = c.B - 1; t >= 0; --t) {
        std::fill_n(sum, c.H, 0.0f);
        const auto add = [&](const float* from) {
            for (int64_t h = 0; h < c.H; ++h) sum[h] += from[h];
        };
        for (; r >= 0 && rows.begin[r] == t + 1; --r) add(g.start + r * c.H);
        for (int64_t late = c.B - 1; c.d_output.data && late > r; --late) add(g.d_output.at(t, late));
        const float* a = t + 1 < rows.shared ? dz + (t + 1) * c.H : call.zeros;
        const float *init = sum, *with = c.prefix + (t + 1) * c.H;
        float* to = dz + t * c.H;
        multiply<Slope>({&a, &init, &to, &with, 1}, w, 0, w.count());
        g.previous[rows.total + t] = c.prefix + t * c.H;
    }
}

// d_x = dz w_ih, zero where nothing was read; d_w_ih from all x.
bool input_gradients(Call& call, const Gradients& g) {
    const unrolled_elman& c = call.c;
    const Rows& rows = call.rows;
    const float** x = call.scratch.take<const float*>(rows.total);
    const float** a = call.scratch.take<const float*>(rows.total);
    const float** init = call.scratch.take<const float*>(rows.total);
    float** to = call.scratch.take<float*>(rows.total);
    const Panels w = packed(call.scratch, c.w_ih, c.H, c.D, c.D, 1);
    const Places<float> d_x = call.strided(c.d_x.data, c.d_x.time, c.d_x.row);
    if (!call.scratch.ok()) return false;
    share(c.T, [&](int64_t t) {
        for (int64_t r = 0; r < rows.active[t]; ++r) {
            const int64_t i = rows.place(t, r);
            x[i] = call.x.at(t, r);
            a[i] = g.dz.at(t, r);
            init[i] = call.zeros;
            if (c.d_x.data) to[i] = d_x.at(t, r);
        }
        for (int64_t b = 0; c.d_x.data && c.lengths && b < c.B; ++b)
            if (t >= c.lengths[b]) std::fill_n(c.d_x.data + t * c.d_x.time + b * c.d_x.row, c.D, 0.0f);
    });
    if (c.d_x.data) multiply_all<Plain>({a, init, to, nullptr, rows.total}, w);
    return !c.d_w_ih || outer(call.scratch, g.dz.data, x, rows.total, c.H, c.D, c.d_w_ih, nullptr);
}

template <class Slope>
int backward(Call& call) {
    const unrolled_elman& c = call.c;
    const int64_t n = call.rows.total + call.rows.shared;
    const Gradients g{call.packed_steps(call.scratch.take<float>(n * c.H), false),
                      call.strided<const float>(c.d_output.data, c.d_output.time, c.d_output.row),
                      call.scratch.take<const float*>(n), call.scratch.take<float>(c.B * c.H)};
    const Panels w = packed(call.scratch, c.w_hh, c.H, c.H, c.H, 1);
    float* sum = call.scratch.take<float>(c.H);
    Piece* pieces = make_pieces(call);
    if (!pieces) return UNROLLED_NO_MEMORY;
    walk(call, pieces, c.T - 1, -1, [&](Piece& piece, int64_t t) { backward_step<Slope>(call, piece, g, w, t); });
    if (c.d_h_0 || call.rows.starts_late()) first_gradients(call, g, w);
    for (int64_t r = 0; c.d_h_0 && r < c.B; ++r)
        std::copy_n(g.start + r * c.H, c.H, c.d_h_0 + call.rows.order[r] * c.H);
    if (call.rows.starts_late()) backward_shared<Slope>(call, g, w, sum);
    if (!outer(call.scratch, g.dz.data, g.previous, n, c.H, c.H, c.d_w_hh, c.d_bias)) return UNROLLED_NO_MEMORY;
    const bool done = c.tokens ? embedding_gradient(call.scratch, c, call.rows, g.dz.data) : input_gradients(call, g);
    return done && call.scratch.ok() ? UNROLLED_OK : UNROLLED_NO_MEMORY;
}

}  // namespace

int elman_forward(const unrolled_elman* c) {
    Call call(*c);
    uint8_t* met = nullptr;
    if (const int status = prepare(call, met)) return status;
    if (c->tokens && c->embedding) {
        if (!c->table) call.c.table = call.scratch.take<float>(c->V * c->H);
        const unrolled_table table{sizeof table, c->V, c->D, c->H, c->embedding, c->w_ih, c->bias, call.c.table};
        if (!call.scratch.ok() || !fill_table(call.scratch, table, met)) return UNROLLED_NO_MEMORY;
    }
    if (!c->output.data && !c->states)
        call.states = call.packed_steps(call.scratch.take<float>(2 * c->B * c->H), true);
    return c->activation == UNROLLED_RELU ? forward<Relu>(call) : forward<Tanh>(call);
}

int elman_backward(const unrolled_elman* c) {
    Call call(*c);
    uint8_t* met = nullptr;
    if (const int status = prepare(call, met)) return status;
    if (call.rows.starts_late() && (!c->prefix || c->d_h_0)) return UNROLLED_BAD_CALL;
    return c->activation == UNROLLED_RELU ? backward<ReluSlope>(call) : backward<TanhSlope>(call);
}

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
