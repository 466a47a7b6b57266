// z = sigmoid(W_z x + b_z), n = W_n x + b_n, h_t = h_(t-1) + z (n - h_(t-1)): no recurrent product.
#include "gated.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {
namespace {

struct MinGru {
    static constexpr int64_t kGates = 2, kBlocks = 2, kHidden = 2, kFirst = 0, kKept = 2;  // z, n
    static constexpr bool kCarries = true;

    static const float* carried(const GatedCall& call, int64_t t, int64_t r) { return call.before(t, r); }

    static void forward(const Span& s, const RowForward& row) {
        for (int64_t j = s.begin; j < s.end; j += kLanes) {
            const int64_t left = s.end - j;
            float* block = row.z + j;
            const Vector z = sigmoid(load_some(block, left)), before = load_some(row.before + j, left);
            store_some(row.h + j, fma(z, load_some(block + s.H, left) - before, before), left);
            store_some(block, z, left);
        }
    }

    static void backward(const Span& s, const RowBackward& row) {
        const Vector one = fill(1.0f);
        for (int64_t j = s.begin; j < s.end; j += kLanes) {
            const int64_t left = s.end - j;
            const Vector z = load_some(row.z + j, left), n = load_some(row.z + s.H + j, left);
            const Vector d_h = load_some(row.d_h + j, left) + load_some(row.d_output + j, left);
            store_some(row.d_z + j, d_h * (n - load_some(row.before + j, left)) * (z * (one - z)), left);
            store_some(row.d_z + s.H + j, d_h * z, left);
            store_some(row.d_h + j, d_h * (one - z), left);
        }
    }
};

}  // namespace

int mingru_forward(const unrolled_gated* c) { return gated_forward<MinGru>(*c); }
int mingru_backward(const unrolled_gated* c) { return gated_backward<MinGru>(*c); }

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
