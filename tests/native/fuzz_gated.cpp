// The LSTM and the GRU against plain loops in double precision, on random shapes, strides, lengths and missing
// arguments. Gradients are compared with differences of the loss along random directions.
#include <algorithm>
#include <cmath>
#include <vector>

#include "expect.h"
#include "random.h"
#include "unrolled.h"

namespace {

using Doubles = std::vector<double>;
constexpr float kUntouched = 12345;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// Everything that the loss depends on, in memory of exactly its size.
struct Values {
    Array<float> x, w_ih, w_hh, b_ih, b_hh, h_0, c_0;
    Values(int64_t T, int64_t B, int64_t D, int64_t H, int64_t gates)
        : x(T * B * D), w_ih(gates * H * D), w_hh(gates * H * H), b_ih(gates * H), b_hh(gates * H), h_0(B * H),
          c_0(B * H) {}
    std::vector<Array<float>*> all() { return {&x, &w_ih, &w_hh, &b_ih, &b_hh, &h_0, &c_0}; }
};

struct Case {
    explicit Case(Random& random)
        : lstm(random.chance(50)), reverse(random.chance(40)), has_lengths(random.chance(60)), T(random.chance(25) ? random.whole(30, 90) : random.whole(1, 12)),
          B(random.whole(1, 20)), D(random.whole(1, 37)), H(random.chance(15) ? 64 : random.whole(1, 50)),
          gates(lstm ? 4 : 3), row(H + random.whole(0, 3)), time(B * row + random.whole(0, 3)), lengths(B, T),
          in(T, B, D, H, gates), output((T - 1) * time + (B - 1) * row + H, kUntouched), kept(T * B * (lstm ? 5 : 4) * H),
          h_n(B * H), c_n(B * H), d_output(T * B * H), d_h_n(B * H), d_c_n(B * H) {
        const float bound = 1 / std::sqrt(static_cast<float>(H));
        for (Array<float>* values : in.all())
            for (int64_t i = 0; i < values->size(); ++i) (*values)[i] = random.real() * (values == &in.x ? 1 : bound);
        for (Array<float>* values : {&d_output, &d_h_n, &d_c_n})
            for (int64_t i = 0; i < values->size(); ++i) (*values)[i] = random.real();
        for (int64_t b = 0; b < B && has_lengths; ++b) lengths[b] = random.whole(0, T);
    }

    unrolled_gated call() {
        unrolled_gated call{};
        call.size = sizeof call;
        call.T = T, call.B = B, call.D = D, call.H = H;
        call.reverse = reverse;
        call.x = {in.x.data(), B * D, D};
        call.w_ih = in.w_ih.data(), call.w_hh = in.w_hh.data();
        call.b_ih = in.b_ih.data(), call.b_hh = in.b_hh.data();
        call.h_0 = in.h_0.data(), call.c_0 = lstm ? in.c_0.data() : nullptr;
        call.lengths = has_lengths ? lengths.data() : nullptr;
        call.output = {output.data(), time, row};
        call.kept = kept.data();
        return call;
    }

    bool lstm, reverse, has_lengths;
    int64_t T, B, D, H, gates, row, time;
    Array<int64_t> lengths;
    Values in;
    Array<float> output, kept, h_n, c_n, d_output, d_h_n, d_c_n;
};

// The loss whose gradients are d_output, d_h_n and d_c_n, at the inputs plus `step` times a direction.
struct Reference {
    Reference(Case& c, Values* direction, double step) : c(c), direction(direction), step(step), output(c.T * c.B * c.H) {
        for (int64_t b = 0; b < c.B; ++b) row(b);
    }

    double at(Array<float> Values::*which, int64_t i) const {
        return (c.in.*which)[i] + (direction ? step * (direction->*which)[i] : 0);
    }

    double product(int64_t gate, int64_t j, int64_t t, int64_t b, const Doubles& h, bool input) const {
        const int64_t k = gate * c.H + j;
        double sum = input ? at(&Values::b_ih, k) : at(&Values::b_hh, k);
        for (int64_t i = 0; input && i < c.D; ++i)
            sum += at(&Values::w_ih, k * c.D + i) * at(&Values::x, (t * c.B + b) * c.D + i);
        for (int64_t i = 0; !input && i < c.H; ++i) sum += at(&Values::w_hh, k * c.H + i) * h[i];
        return sum;
    }

    void row(int64_t b) {
        Doubles h(c.H), memory(c.H);
        for (int64_t j = 0; j < c.H; ++j) h[j] = at(&Values::h_0, b * c.H + j), memory[j] = at(&Values::c_0, b * c.H + j);
        for (int64_t s = 0; s < c.lengths[b]; ++s) {
            const int64_t t = c.reverse ? c.lengths[b] - 1 - s : s;
            const Doubles before = h;
            for (int64_t j = 0; j < c.H; ++j) {
                double a[4], g[4];
                for (int64_t gate = 0; gate < c.gates; ++gate) {
                    a[gate] = product(gate, j, t, b, before, true);
                    g[gate] = product(gate, j, t, b, before, false);
                }
                if (c.lstm) {
                    memory[j] = sigmoid(a[1] + g[1]) * memory[j] + sigmoid(a[0] + g[0]) * std::tanh(a[2] + g[2]);
                    h[j] = sigmoid(a[3] + g[3]) * std::tanh(memory[j]);
                } else {
                    const double z = sigmoid(a[1] + g[1]), n = std::tanh(a[2] + sigmoid(a[0] + g[0]) * g[2]);
                    h[j] = (1 - z) * n + z * before[j];
                }
                const int64_t place = (t * c.B + b) * c.H + j;
                output[place] = h[j];
                loss += h[j] * c.d_output[place];
            }
        }
        for (int64_t j = 0; j < c.H; ++j) {
            loss += h[j] * c.d_h_n[b * c.H + j] + (c.lstm ? memory[j] * c.d_c_n[b * c.H + j] : 0);
            if (!direction) EXPECT(std::abs(c.h_n[b * c.H + j] - h[j]) < 1e-4);
            if (!direction && c.lstm) EXPECT(std::abs(c.c_n[b * c.H + j] - memory[j]) < 1e-4);
        }
    }

    Case& c;
    Values* direction;
    double step, loss = 0;
    Doubles output;
};

void expect_output(Case& c) {
    const Reference expected(c, nullptr, 0);
    int64_t touched = 0;
    for (int64_t t = 0; t < c.T; ++t)
        for (int64_t b = 0; b < c.B; ++b)
            for (int64_t j = 0; j < c.H; ++j, ++touched)
                EXPECT(std::abs(c.output[t * c.time + b * c.row + j] - expected.output[(t * c.B + b) * c.H + j]) < 1e-4);
    for (int64_t i = 0; i < c.output.size(); ++i) touched -= c.output[i] != kUntouched;
    EXPECT(touched == 0);
}

void expect_gradients(Random& random, Case& c) {
    Values found(c.T, c.B, c.D, c.H, c.gates);
    for (Array<float>* values : found.all())
        for (int64_t i = 0; i < values->size(); ++i) (*values)[i] = kUntouched;
    unrolled_gated call = c.call();
    call.d_output = {c.d_output.data(), c.B * c.H, c.H};
    call.d_h_n = c.d_h_n.data(), call.d_c_n = c.lstm ? c.d_c_n.data() : nullptr;
    call.d_x = {found.x.data(), c.B * c.D, c.D};
    call.d_w_ih = found.w_ih.data(), call.d_w_hh = found.w_hh.data();
    call.d_b_ih = found.b_ih.data(), call.d_b_hh = found.b_hh.data();
    call.d_h_0 = found.h_0.data(), call.d_c_0 = found.c_0.data();
    EXPECT((c.lstm ? unrolled_lstm_backward : unrolled_gru_backward)(&call) == UNROLLED_OK);
    for (size_t which = 0; which < (c.lstm ? 7 : 6); ++which) {  // one kind of gradient at a time
        Values direction(c.T, c.B, c.D, c.H, c.gates);
        Array<float>& along = *direction.all()[which];
        const Array<float>& gradient = *found.all()[which];
        double slope = 0, size = 1e-3;
        for (int64_t i = 0; i < along.size(); ++i) {
            along[i] = random.real();
            slope += along[i] * gradient[i];
            size += std::abs(along[i] * gradient[i]);
        }
        const double step = 1e-5, expected = (Reference(c, &direction, step).loss - Reference(c, &direction, -step).loss) / (2 * step);
        EXPECT(std::abs(slope - expected) <= 1e-4 * size);
    }
}

}  // namespace

void fuzz_gated(Random& random) {
    Case c(random);
    unrolled_gated call = c.call();
    call.h_n = c.h_n.data(), call.c_n = c.lstm ? c.c_n.data() : nullptr;
    if (random.chance(30)) call.kept = nullptr;
    EXPECT((c.lstm ? unrolled_lstm_forward : unrolled_gru_forward)(&call) == UNROLLED_OK);
    expect_output(c);
    if (call.kept) expect_gradients(random, c);
    c.lengths[0] = c.T + 1;
    call.lengths = c.lengths.data();
    EXPECT((c.lstm ? unrolled_lstm_forward : unrolled_gru_forward)(&call) == UNROLLED_BAD_LENGTH);
    call.w_hh = nullptr;
    EXPECT((c.lstm ? unrolled_lstm_forward : unrolled_gru_forward)(&call) == UNROLLED_BAD_CALL);
}
