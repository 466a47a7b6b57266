// i, f, o = sigmoid(...), g = tanh(...); c_t = f c_(t-1) + i g; h_t = o tanh(c_t).
#include "gated.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {
namespace {

struct Lstm {
    static constexpr int64_t kGates = 4, kBlocks = 4, kHidden = 0, kFirst = 0, kKept = 5;  // kept: i, f, g, o, c
    static constexpr bool kCarries = false;

    static const float* carried(const GatedCall& call, int64_t t, int64_t r) {
        return t > 0 ? call.kept.at(t - 1, r) + 4 * call.c.H : call.start(call.c.c_0, r);
    }

    static void forward(const Span& s, const RowForward& row) {
        for (int64_t j = s.begin; j < s.end; j += kLanes) {
            const int64_t left = s.end - j;
            float* z = row.z + j;
            const Vector i = sigmoid(load_some(z, left)), f = sigmoid(load_some(z + s.H, left));
            const Vector g = tanh(load_some(z + 2 * s.H, left)), o = sigmoid(load_some(z + 3 * s.H, left));
            const Vector c = fma(f, load_some(row.state + j, left), i * g);
            store_some(row.h + j, o * tanh(c), left);
            store_some(row.state + j, c, left);
            store_some(z, i, left);
            store_some(z + s.H, f, left);
            store_some(z + 2 * s.H, g, left);
            store_some(z + 3 * s.H, o, left);
            store_some(z + 4 * s.H, c, left);
        }
    }

    static void backward(const Span& s, const RowBackward& row) {
        const Vector one = fill(1.0f);
        for (int64_t j = s.begin; j < s.end; j += kLanes) {
            const int64_t left = s.end - j;
            const float* z = row.z + j;
            const Vector i = load_some(z, left), f = load_some(z + s.H, left), g = load_some(z + 2 * s.H, left);
            const Vector o = load_some(z + 3 * s.H, left), y = tanh(load_some(z + 4 * s.H, left));
            const Vector d_h = load_some(row.d_h + j, left) + load_some(row.d_output + j, left);
            const Vector d_c = fma(d_h * o, one - y * y, load_some(row.d_c + j, left));
            const Vector before = load_some(row.before + j, left);
            float* d_z = row.d_z + j;
            store_some(d_z, d_c * g * (i * (one - i)), left);
            store_some(d_z + s.H, d_c * before * (f * (one - f)), left);
            store_some(d_z + 2 * s.H, d_c * i * (one - g * g), left);
            store_some(d_z + 3 * s.H, d_h * y * (o * (one - o)), left);
            store_some(row.d_c + j, d_c * f, left);
        }
    }
};

}  // namespace

int lstm_forward(const unrolled_gated* c) { return gated_forward<Lstm>(*c); }
int lstm_backward(const unrolled_gated* c) { return gated_backward<Lstm>(*c); }

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
