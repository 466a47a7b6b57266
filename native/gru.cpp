// r, z = sigmoid(...); n = tanh(W_in x + b_in + r (W_hn h_(t-1) + b_hn)); h_t = n + z (h_(t-1) - n).
#include "gated.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {
namespace {

struct Gru {
    static constexpr int64_t kGates = 3, kBlocks = 4, kHidden = 1, kFirst = 2, kKept = 4;  // n, r, z, W_hn h + b_hn
    static constexpr bool kCarries = true;

    static const float* carried(const GatedCall& call, int64_t t, int64_t r) { return call.before(t, r); }

    static void forward(const Span& s, const RowForward& row) {
        for (int64_t j = s.begin; j < s.end; j += kLanes) {
            const int64_t left = s.end - j;
            float* block = row.z + j;
            const Vector r = sigmoid(load_some(block + s.H, left)), z = sigmoid(load_some(block + 2 * s.H, left));
            const Vector n = tanh(fma(r, load_some(block + 3 * s.H, left), load_some(block, left)));
            store_some(row.h + j, fma(z, load_some(row.before + j, left) - n, n), left);
            store_some(block, n, left);
            store_some(block + s.H, r, left);
            store_some(block + 2 * s.H, z, left);
        }
    }

    static void backward(const Span& s, const RowBackward& row) {
        const Vector one = fill(1.0f);
        for (int64_t j = s.begin; j < s.end; j += kLanes) {
            const int64_t left = s.end - j;
            const float* block = row.z + j;
            const Vector n = load_some(block, left), r = load_some(block + s.H, left);
            const Vector z = load_some(block + 2 * s.H, left), product = load_some(block + 3 * s.H, left);
            const Vector d_h = load_some(row.d_h + j, left) + load_some(row.d_output + j, left);
            const Vector d_n = d_h * (one - z) * (one - n * n);
            float* d_z = row.d_z + j;
            store_some(d_z, d_n, left);
            store_some(d_z + s.H, d_n * product * (r * (one - r)), left);
            store_some(d_z + 2 * s.H, d_h * (load_some(row.before + j, left) - n) * (z * (one - z)), left);
            store_some(d_z + 3 * s.H, d_n * r, left);
            store_some(row.d_h + j, d_h * z, left);
        }
    }
};

}  // namespace

int gru_forward(const unrolled_gated* c) { return gated_forward<Gru>(*c); }
int gru_backward(const unrolled_gated* c) { return gated_backward<Gru>(*c); }

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
