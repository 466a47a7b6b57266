// The kernels against plain loops in double precision, on random shapes, strides, lengths and missing arguments.
#include <algorithm>
#include <cmath>
#include <vector>

#include "expect.h"
#include "random.h"
#include "unrolled.h"

namespace {

using Doubles = std::vector<double>;
constexpr float kUntouched = 12345;

Array<float> reals(Random& random, int64_t size, float scale) {
    Array<float> values(size);
    for (int64_t i = 0; i < size; ++i) values[i] = scale * random.real();
    return values;
}

void expect_close(const float* found, const Doubles& expected) {
    double largest = 1;
    for (double value : expected) largest = std::max(largest, std::abs(value));
    for (size_t i = 0; i < expected.size(); ++i) EXPECT(std::abs(found[i] - expected[i]) <= 1e-4 * largest);
}

// A (T, B, n) array with the strides of either order, and gaps that nobody may write.
struct Steps {
    Steps(Random& random, int64_t T, int64_t B, int64_t n, float value)
        : by_time(random.chance(50)),
          row(by_time ? n + random.whole(0, 3) : T * (n + 2) + random.whole(0, 3)),
          time(by_time ? B * row + random.whole(0, 3) : n + 2),
          width(n),
          values(T * B == 0 ? 0 : (T - 1) * time + (B - 1) * row + n, value) {}
    float& at(int64_t t, int64_t b, int64_t i) { return values[t * time + b * row + i]; }
    unrolled_steps steps() { return {values.data(), time, row}; }

    bool by_time;
    int64_t row, time, width;
    Array<float> values;
};

struct Case {
    explicit Case(Random& random)
        : wide(random.chance(10)), T(random.chance(4) ? 0 : random.whole(1, wide ? 4 : 12)),
          B(random.chance(4) ? 0 : random.whole(1, wide ? 5 : 20)), D(random.whole(1, 37)),
          H(wide ? random.whole(200, 330) : random.whole(1, 70)), V(random.whole(1, 30)), by_token(random.chance(50)), with_table(by_token && random.chance(30)),
          reverse(random.chance(25)), relu(random.chance(25)), keeps(static_cast<int>(random.whole(0, 2))),
          prefix_token(by_token && random.chance(70) ? static_cast<int32_t>(random.whole(0, 1)) : -1),
          x(random, T, B, D, 0), tokens(T * B), lengths(B, T), embedding(reals(random, V * D, 1)), table(V * H),
          w_ih(reals(random, H * D, 0.5f)), w_hh(reals(random, H * H, wide ? 0.1f : 0.3f)), bias(reals(random, H, 0.5f)),
          h_0(reals(random, B * H, 0.5f)), output(random, T, B, H, kUntouched), states(T * B * H),
          prefix((T + 1) * H), h_n(B * H) {
        for (int64_t t = 0; t < T; ++t)
            for (int64_t b = 0; b < B; ++b)
                for (int64_t i = 0; i < D; ++i) x.at(t, b, i) = random.real();
        for (int64_t b = 0; b < B; ++b) {
            if (random.chance(50)) lengths[b] = random.whole(0, T);
            // Most rows begin with a run of zeros, as padding in front does.
            const int64_t zeros = random.chance(70) ? random.whole(0, T) : 0;
            for (int64_t t = zeros; t < T; ++t) tokens[t * B + b] = static_cast<int32_t>(random.whole(0, V - 1));
        }
        if (random.chance(50)) lengths = Array<int64_t>(B, T);
        has_lengths = random.chance(60);
        has_bias = random.chance(70);
        has_h_0 = random.chance(50);
        if (random.chance(50))
            for (int64_t i = H; i < B * H; ++i) h_0[i] = h_0[i % H];  // rows that may share their beginning
    }

    int64_t length(int64_t b) const { return has_lengths ? lengths[b] : T; }
    // The input of row b at time t, and how often it is met.
    double input(int64_t t, int64_t b, int64_t i) {
        return by_token ? embedding[tokens[t * B + b] * D + i] : x.at(t, b, i);
    }

    unrolled_elman call() {
        unrolled_elman call{};
        call.size = sizeof call;
        call.T = T, call.B = B, call.D = D, call.H = H, call.V = V;
        call.activation = relu ? UNROLLED_RELU : UNROLLED_TANH;
        call.reverse = reverse;
        call.prefix_token = prefix_token;
        if (by_token) {
            call.tokens = tokens.data();
            call.token_time = B;
            call.token_row = 1;
            call.table = table.data();
            if (!with_table) call.embedding = embedding.data();
        } else {
            call.x = x.steps();
        }
        if (!with_table) {
            call.w_ih = w_ih.data();
            call.bias = has_bias ? bias.data() : nullptr;
        }
        call.w_hh = w_hh.data();
        call.h_0 = has_h_0 ? h_0.data() : nullptr;
        call.lengths = has_lengths ? lengths.data() : nullptr;
        if (keeps == 0) call.output = output.steps();
        if (keeps == 1) call.states = states.data();
        call.prefix = prefix.data();
        call.h_n = h_n.data();
        return call;
    }

    bool wide;  // few rows of many units: threads share the units of a row, and wait for each other
    int64_t T, B, D, H, V;
    bool by_token, with_table, reverse, relu;
    int keeps;  // 0: the output, 1: states, 2: the last state alone
    int32_t prefix_token;
    bool has_lengths = false, has_bias = false, has_h_0 = false;
    Steps x;
    Array<int32_t> tokens;
    Array<int64_t> lengths;
    Array<float> embedding, table, w_ih, w_hh, bias, h_0;
    Steps output;
    Array<float> states, prefix, h_n;
};

// The states before and after every step, as the equations say: h(b, s) after s steps of row b.
struct Reference {
    explicit Reference(Case& c) : c(c), values((c.T + 1) * c.B * c.H) {
        for (int64_t b = 0; b < c.B; ++b) {
            for (int64_t j = 0; j < c.H; ++j) h(b, 0, j) = c.has_h_0 ? c.h_0[b * c.H + j] : 0;
            for (int64_t s = 0; s < c.length(b); ++s)
                for (int64_t j = 0; j < c.H; ++j) h(b, s + 1, j) = activation(before(b, s, j));
        }
    }
    double& h(int64_t b, int64_t s, int64_t j) { return values[(b * (c.T + 1) + s) * c.H + j]; }
    int64_t time(int64_t b, int64_t s) const { return c.reverse ? c.length(b) - 1 - s : s; }
    double before(int64_t b, int64_t s, int64_t j) {
        double sum = c.has_bias ? c.bias[j] : 0;
        for (int64_t i = 0; i < c.D; ++i) sum += c.w_ih[j * c.D + i] * c.input(time(b, s), b, i);
        for (int64_t k = 0; k < c.H; ++k) sum += c.w_hh[j * c.H + k] * h(b, s, k);
        return sum;
    }
    double activation(double sum) {
        if (!c.relu) return std::tanh(sum);
        at_the_kink = at_the_kink || std::abs(sum) < 1e-5;
        return std::max(sum, 0.0);
    }

    Case& c;
    Doubles values;
    bool at_the_kink = false;  // a gradient that rounding decides
};

void expect_states(Case& c, Reference& expected) {
    Doubles last(c.B * c.H);
    for (int64_t b = 0; b < c.B; ++b)
        for (int64_t j = 0; j < c.H; ++j) last[b * c.H + j] = expected.h(b, c.length(b), j);
    expect_close(c.h_n.data(), last);
    if (c.keeps != 0) return;
    int64_t touched = 0;
    for (int64_t b = 0; b < c.B; ++b)
        for (int64_t s = 0; s < c.T; ++s)
            for (int64_t j = 0; j < c.H; ++j) {
                const int64_t t = s < c.length(b) ? expected.time(b, s) : s;
                const double value = s < c.length(b) ? expected.h(b, s + 1, j) : 0;
                EXPECT(std::abs(c.output.at(t, b, j) - value) <= 1e-4 * std::max(1.0, std::abs(value)));
                ++touched;
            }
    for (int64_t i = 0; i < c.output.values.size(); ++i) touched -= c.output.values[i] != kUntouched;
    EXPECT(touched == 0);
}

// The gradients that a caller may ask for, each in memory of exactly its size.
struct Gradients {
    Gradients(Random& random, Case& c)
        : output(random, c.T, c.B, c.H, 0), h_n(reals(random, c.B * c.H, 1)), x(random, c.T, c.B, c.D, kUntouched),
          w_ih(c.H * c.D), w_hh(c.H * c.H), bias(c.H), h_0(c.B * c.H), sparse(random.chance(50)),
          embedding(sparse ? std::min(c.V, c.T * c.B) * c.D : c.V * c.D),
          word_ids(std::min(c.V, c.T * c.B)), words(1, -1) {
        for (float* value = output.values.data(); value != output.values.data() + output.values.size(); ++value)
            *value = random.real();
        if (!random.chance(70)) has_output = false;
    }
    void ask(const Case& c, unrolled_elman& call) {
        if (has_output) call.d_output = output.steps();
        call.d_h_n = h_n.data();
        call.d_w_hh = w_hh.data();
        if (c.prefix_token < 0) call.d_h_0 = h_0.data();  // else the beginning may be shared, and its gradient is not kept
        if (c.with_table) return;
        call.d_w_ih = w_ih.data();
        call.d_bias = bias.data();
        if (!c.by_token) call.d_x = x.steps();
        if (!c.by_token) return;
        call.d_embedding = embedding.data();
        if (!sparse) return;
        call.word_ids = word_ids.data();
        call.words = words.data();
    }

    Steps output;
    Array<float> h_n;
    Steps x;
    Array<float> w_ih, w_hh, bias, h_0;
    bool sparse, has_output = true;
    Array<float> embedding;
    Array<int64_t> word_ids, words;
};

struct ExpectedGradients {
    ExpectedGradients(Case& c, Reference& r, Gradients& g)
        : x(c.T * c.B * c.D), embedding(c.V * c.D), w_ih(c.H * c.D), w_hh(c.H * c.H), bias(c.H), h_0(c.B * c.H) {
        for (int64_t b = 0; b < c.B; ++b) {
            Doubles dh(c.H);
            for (int64_t j = 0; j < c.H; ++j) dh[j] = g.h_n[b * c.H + j];
            for (int64_t s = c.length(b) - 1; s >= 0; --s) dh = step(c, r, g, b, s, dh);
            for (int64_t j = 0; j < c.H; ++j) h_0[b * c.H + j] = dh[j];
        }
    }

    Doubles step(Case& c, Reference& r, Gradients& g, int64_t b, int64_t s, Doubles dh) {
        const int64_t t = r.time(b, s);
        Doubles earlier(c.H);
        for (int64_t j = 0; j < c.H; ++j) {
            if (g.has_output) dh[j] += g.output.at(t, b, j);
            const double h = r.h(b, s + 1, j), dp = dh[j] * (c.relu ? h > 0 : 1 - h * h);
            bias[j] += dp;
            for (int64_t k = 0; k < c.H; ++k) {
                w_hh[j * c.H + k] += dp * r.h(b, s, k);
                earlier[k] += dp * c.w_hh[j * c.H + k];
            }
            for (int64_t i = 0; i < c.D; ++i) {
                w_ih[j * c.D + i] += dp * c.input(t, b, i);
                x[(t * c.B + b) * c.D + i] += dp * c.w_ih[j * c.D + i];
                if (c.by_token) embedding[c.tokens[t * c.B + b] * c.D + i] += dp * c.w_ih[j * c.D + i];
            }
        }
        return earlier;
    }

    Doubles x, embedding, w_ih, w_hh, bias, h_0;
};

void expect_rows_of_words(const Case& c, const Gradients& g, const ExpectedGradients& expected) {
    EXPECT(0 <= g.words[0] && g.words[0] <= g.word_ids.size());
    Array<float> all(c.V * c.D, 0.f);
    for (int64_t i = 0; i < g.words[0]; ++i) {
        EXPECT(0 <= g.word_ids[i] && g.word_ids[i] < c.V && (i == 0 || g.word_ids[i - 1] < g.word_ids[i]));
        for (int64_t d = 0; d < c.D; ++d) all[g.word_ids[i] * c.D + d] = g.embedding[i * c.D + d];
    }
    expect_close(all.data(), expected.embedding);
}

void expect_gradients(Case& c, Reference& reference, Gradients& g) {
    const ExpectedGradients expected(c, reference, g);
    expect_close(g.w_hh.data(), expected.w_hh);
    if (c.prefix_token < 0) expect_close(g.h_0.data(), expected.h_0);
    if (c.with_table) return;
    expect_close(g.w_ih.data(), expected.w_ih);
    expect_close(g.bias.data(), expected.bias);
    if (!c.by_token) {
        for (int64_t i = 0; i < c.T * c.B * c.D; ++i)
            EXPECT(std::abs(g.x.at(i / (c.B * c.D), i / c.D % c.B, i % c.D) - expected.x[i]) <= 1e-3);
    } else if (g.sparse) {
        expect_rows_of_words(c, g, expected);
    } else {
        expect_close(g.embedding.data(), expected.embedding);
    }
}

void recurrence_agrees(Random& random) {
    Case c(random);
    if (c.with_table) {
        const float* bias = c.has_bias ? c.bias.data() : nullptr;
        const unrolled_table table{sizeof(unrolled_table), c.V, c.D, c.H, c.embedding.data(), c.w_ih.data(), bias,
                                   c.table.data()};
        EXPECT(unrolled_input_table(&table) == UNROLLED_OK);
    }
    Reference reference(c);
    unrolled_elman call = c.call();
    EXPECT(unrolled_elman_forward(&call) == UNROLLED_OK);
    expect_states(c, reference);
    if (c.keeps == 2) return;
    Gradients gradients(random, c);
    gradients.ask(c, call);
    call.h_n = nullptr;
    EXPECT(unrolled_elman_backward(&call) == UNROLLED_OK);
    if (!reference.at_the_kink) expect_gradients(c, reference, gradients);
}

void the_update_agrees(Random& random) {
    const int64_t rows = random.whole(1, 40), columns = random.whole(1, 40), count = random.whole(0, rows);
    const bool by_id = random.chance(50);
    Array<float> weight = reals(random, rows * columns, 1), square = reals(random, rows * columns, 1);
    const Array<float> gradient = reals(random, (by_id ? count : rows) * columns, 1);
    Array<int64_t> ids(count);
    for (int64_t i = 0; i < count; ++i) ids[i] = rows - count + i;
    Doubles w(rows * columns), v(rows * columns);
    for (int64_t i = 0; i < rows * columns; ++i) {
        square[i] = std::abs(square[i]);
        const int64_t from = by_id ? i - (rows - count) * columns : i;
        const double g = from >= 0 ? gradient[from] : 0;
        v[i] = 0.9 * square[i] + 0.1 * g * g;
        w[i] = weight[i] - 0.01 * g / std::sqrt(v[i] + 1e-7);
    }
    const unrolled_rmsprop call{sizeof(unrolled_rmsprop), rows, columns, by_id ? count : 0, weight.data(), square.data(),
                                gradient.data(), by_id ? ids.data() : nullptr, 0.01f, 0.9f, 1e-7f, nullptr};
    EXPECT(unrolled_rmsprop_update(&call) == UNROLLED_OK);
    expect_close(weight.data(), w);
    expect_close(square.data(), v);
}

void wrong_calls_are_refused(Random& random) {
    EXPECT(unrolled_elman_forward(nullptr) == UNROLLED_BAD_CALL);
    Case c(random);
    unrolled_elman call = c.call();
    call.size -= 8;
    EXPECT(unrolled_elman_forward(&call) == UNROLLED_BAD_CALL && unrolled_elman_backward(&call) == UNROLLED_BAD_CALL);
    call = c.call();
    call.w_hh = nullptr;
    EXPECT(unrolled_elman_forward(&call) == UNROLLED_BAD_CALL);
    if (c.T * c.B == 0) return;
    c.lengths[random.whole(0, c.B - 1)] = random.chance(50) ? -1 : c.T + 1;
    call = c.call();
    call.lengths = c.lengths.data();
    EXPECT(unrolled_elman_forward(&call) == UNROLLED_BAD_LENGTH);
    if (!c.by_token) return;
    c.lengths = Array<int64_t>(c.B, c.T);
    c.tokens[random.whole(0, c.T * c.B - 1)] = static_cast<int32_t>(random.chance(50) ? -1 : c.V);
    call = c.call();
    EXPECT(unrolled_elman_forward(&call) == UNROLLED_BAD_TOKEN);
}

}  // namespace

void fuzz_kernels(Random& random) {
    recurrence_agrees(random);
    the_update_agrees(random);
    wrong_calls_are_refused(random);
}
