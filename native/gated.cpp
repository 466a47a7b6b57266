// The part of a gated recurrence that does not depend on the cell.
#include "gated.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {
namespace {

bool can_be_followed(const unrolled_gated& c) {
    if (c.T < 0 || c.B < 0 || c.D < 1 || c.H < 1 || c.T * c.B >= INT32_MAX) return false;
    return c.w_ih && ((c.x.data && c.output.data) || c.T * c.B == 0);
}

// Rows of the batch times steps between two additions to the gradients of the weights: their d_z fills some of
// the second cache, and is never less than a block of a product.
int64_t steps_in_hand(const unrolled_gated& c) {
    const int64_t rows = std::max<int64_t>(2 * kDepth, (int64_t{1} << 19) / (kMostBlocks * c.H));
    return std::min(c.T, rows / std::max<int64_t>(1, c.B) + 1);
}

// Steps of `blocks` blocks, `slots` of them, used again and again; or all, one after the other.
Places<float> places(GatedCall& call, float* all, int64_t blocks, int64_t slots) {
    const Rows& rows = call.rows;
    const int64_t width = blocks * call.c.H;
    Places<float> p = compact(call.scratch, rows, all, width, false);
    if (all || !call.scratch.ok()) return p;
    p.data = call.scratch.take<float>(slots * rows.B * width);
    for (int64_t t = 0; t < rows.T; ++t) p.step[t] = t % slots * rows.B * width;
    return p;
}

}  // namespace

int prepare(GatedCall& call, int64_t gates, int64_t kept_blocks, const RowSums& sums) {
    unrolled_gated& c = call.c;
    Scratch& scratch = call.scratch;
    if (!can_be_followed(c)) return UNROLLED_BAD_CALL;
    if (const int status = check_lengths(c.T, c.B, c.lengths, c.packed)) return status;
    if (!arrange(call.rows, c.T, c.B, c.lengths, nullptr, scratch)) return UNROLLED_NO_MEMORY;
    call.rows.packed = c.packed;
    call.pieces = make_pieces(scratch, call.rows, gates * c.H * (c.H + c.D), sums.used() ? 1 : c.H, sums.together);
    call.zeros = scratch.zeros<float>(std::max(c.H, c.D));
    call.bias = scratch.take<float>(kMostBlocks * c.H);
    if (!c.c_n) c.c_n = scratch.take<float>(c.B * c.H);
    if (!scratch.ok()) return UNROLLED_NO_MEMORY;
    int64_t slots = 1;
    for (int64_t i = 0; i < call.pieces.count(); ++i)
        slots = std::max(slots, steps_at_once(call.pieces.piece[i].count));
    call.x = strided<const float>(scratch, call.rows, c.x.data, c.x.time, c.x.row, c.reverse);
    call.output = written(scratch, call.rows, c.output, c.H, c.reverse);
    if (c.kept) ask_for_large_pages(c.kept, 4 * call.rows.total * kept_blocks * c.H);
    call.kept = places(call, c.kept, kept_blocks, slots);
    return scratch.ok() ? UNROLLED_OK : UNROLLED_NO_MEMORY;
}

void finish_forward(const GatedCall& call) {
    const unrolled_gated& c = call.c;
    for (int64_t r = 0; r < c.B; ++r) {
        const int64_t b = call.rows.order[r], steps = call.rows.steps[r];
        if (c.h_n) std::copy_n(call.before(steps, r), c.H, c.h_n + b * c.H);
        clear_end(call.rows, r, c.output, c.H);
    }
}

bool begin_backward(GatedCall& call, GatedBackward& g) {
    const unrolled_gated& c = call.c;
    Scratch& scratch = call.scratch;
    g.steps = g.sums.used() ? c.T : steps_in_hand(c);
    const int64_t most = g.sums.used() ? 0 : g.steps * c.B;
    g.d_output = strided<const float>(scratch, call.rows, c.d_output.data, c.d_output.time, c.d_output.row, c.reverse);
    g.d_x = written(scratch, call.rows, c.d_x, c.D, c.reverse);
    g.d_z = places(call, nullptr, kMostBlocks, (g.sums.used() ? g.sums.steps : g.steps) + 1);
    g.d_h = c.d_h_0 ? c.d_h_0 : scratch.take<float>(c.B * c.H);
    g.d_c = c.d_c_0 ? c.d_c_0 : scratch.take<float>(c.B * c.H);
    for (auto& a : g.a) a = scratch.take<const float*>(most);
    g.x = scratch.take<const float*>(most);
    g.h = scratch.take<const float*>(most);
    g.zeros = scratch.take<const float*>(most);
    g.to = scratch.take<float*>(most);
    g.copies = scratch.take<Copies>(thread_count());
    g.in = {call.x, g.d_x, {}, call.zeros};
    if (!scratch.ok()) return false;
    g.sums.copies_for(scratch, call.pieces);
    for (int64_t i = 0; !g.sums.used() && i < thread_count(); ++i) new (g.copies + i) Copies(scratch, Copies::kTall);
    std::fill_n(g.zeros, most, call.zeros);
    const auto begin = [&](const float* last, float* to) {
        if (last) std::copy_n(last, c.B * c.H, to);
        else std::fill_n(to, c.B * c.H, 0.0f);
    };
    begin(c.d_h_n, g.d_h);
    begin(c.d_c_n, g.d_c);
    return scratch.ok();
}

namespace {

// Tasks that a product of gradients is cut into, each with elements of its own.
struct Cut {
    static constexpr int64_t kTall = 16 * kRows, kWide = 8;
    const Outer& outer;
    int64_t wide() const { return (panels_of(outer.J) + kWide - 1) / kWide; }
    int64_t tasks() const { return (outer.I + kTall - 1) / kTall * wide(); }
};

void add_to_weights(const WeightPart& part, const Copies& copies, int64_t task, int64_t n) {
    const Outer& outer = part.outer;
    const int64_t wide = Cut{outer}.wide(), i = task / wide * Cut::kTall, p = task % wide * Cut::kWide;
    const Part elements{i, std::min(i + Cut::kTall, outer.I), p, std::min(p + Cut::kWide, panels_of(outer.J))};
    for (int64_t k = 0; k < n; k += kDepth)
        add_block(outer, copies, {part.a + k, part.b + k, std::min(kDepth, n - k)}, elements, true);
}

void input_gradients(const GatedBackward& g, int64_t first, int64_t n) {
    multiply<Plain>({g.a[0] + first, g.zeros + first, g.to + first, nullptr, n}, g.w_ih, 0, g.w_ih.count());
}

}  // namespace

void finish_steps(const GatedCall& call, const GatedBackward& g, int64_t n) {
    int64_t tasks = call.c.d_x.data ? (n + kSome - 1) / kSome : 0;
    const int64_t inputs = tasks;
    for (int part = 0; part < g.parts; ++part) tasks += Cut{g.part[part].outer}.tasks();
    std::atomic<int64_t> next{0}, worker{0};
    parallel(std::min<int64_t>(thread_count(), tasks), [&](int64_t, int64_t) {
        const Copies& copies = g.copies[worker++];
        for (int64_t task; (task = next++) < tasks;) {
            if (task < inputs) {
                input_gradients(g, task * kSome, std::min(kSome, n - task * kSome));
                continue;
            }
            int64_t rest = task - inputs;
            const WeightPart* part = g.part;
            for (; rest >= Cut{part->outer}.tasks(); ++part) rest -= Cut{part->outer}.tasks();
            add_to_weights(*part, copies, rest, n);
        }
    });
}

void first_gradients(GatedCall& call, const GatedBackward& g, int64_t hidden, bool carries) {
    const unrolled_gated& c = call.c;
    const float** a = call.scratch.take<const float*>(c.B);
    const float** init = call.scratch.take<const float*>(c.B);
    float** to = call.scratch.take<float*>(c.B);
    if (!call.scratch.ok()) return;
    const int64_t n = c.T > 0 ? call.rows.active[0] : 0;
    for (int64_t r = 0; r < n; ++r) {
        a[r] = g.d_z.at(0, r) + hidden * c.H;
        to[r] = g.d_h_of(call, r);
        init[r] = carries ? to[r] : call.zeros;
    }
    multiply_all<Plain>({a, init, to, nullptr, n}, g.w_hh);
}

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
