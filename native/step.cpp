// Stacked layers one step at a time. The weights were packed before, so a call is two products and the gates for each
// layer, in the order of additions of the sequence calls: bias, inputs, states. So the bits are theirs.
#include "products.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {
namespace {

struct Row {
    const float *z, *h, *c;  // products (blocks, H); states before
    float *to, *c_to;        // states after
};

// Gates i f g o.
void lstm(const Row& row, int64_t H, int64_t j) {
    const int64_t left = H - j;
    const float* z = row.z + j;
    const Vector i = sigmoid(load_some(z, left)), f = sigmoid(load_some(z + H, left));
    const Vector g = tanh(load_some(z + 2 * H, left)), o = sigmoid(load_some(z + 3 * H, left));
    const Vector c = fma(f, load_some(row.c + j, left), i * g);
    store_some(row.c_to + j, c, left);
    store_some(row.to + j, o * tanh(c), left);
}

// Blocks n (inputs only), r, z, n (states only).
void gru(const Row& row, int64_t H, int64_t j) {
    const int64_t left = H - j;
    const float* block = row.z + j;
    const Vector r = sigmoid(load_some(block + H, left)), z = sigmoid(load_some(block + 2 * H, left));
    const Vector n = tanh(fma(r, load_some(block + 3 * H, left), load_some(block, left)));
    store_some(row.to + j, fma(z, load_some(row.h + j, left) - n, n), left);
}

void elman_tanh(const Row& row, int64_t H, int64_t j) {
    store_some(row.to + j, tanh(load_some(row.z + j, H - j)), H - j);
}

void elman_relu(const Row& row, int64_t H, int64_t j) {
    store_some(row.to + j, maximum(Vector{}, load_some(row.z + j, H - j)), H - j);
}

// Input products fill blocks [0, gates), of gates first, first + 1, ...; recurrent products are added from block
// `hidden` on.
struct Cell {
    int64_t gates, blocks, hidden, first, states;
    void (*finish)(const Row& row, int64_t H, int64_t j);
};
const Cell kCells[] = {{1, 1, 0, 0, 1, elman_tanh}, {1, 1, 0, 0, 1, elman_relu}, {4, 4, 0, 0, 2, lstm}, {3, 4, 1, 2, 1, gru}};

struct Layer {
    Panels w_ih, w_hh;
    float* bias;  // (blocks, H)
};

Layer layer_at(const unrolled_stepper& call, const Cell& cell, int64_t index) {
    const int64_t N = cell.gates * call.H, columns = (N + 31) / 32 * 32;
    const auto floats = [&](int64_t inputs) { return columns * (inputs + call.H) + 4 * call.H; };
    float* at = call.packed + (index > 0 ? floats(call.D) + (index - 1) * floats(call.H) : 0);
    const int64_t inputs = index > 0 ? call.H : call.D;
    return {{at, inputs, N}, {at + columns * inputs, call.H, N}, at + columns * (inputs + call.H)};
}

void product(const Product& rows, const Panels& w) {
    if (rows.rows * w.K * w.N < kSmall) return multiply<Plain>(rows, w, 0, w.count());
    const int64_t n = std::min<int64_t>(thread_count(), w.count());
    share(n, [&](int64_t i) { multiply<Plain>(rows, w, i * w.count() / n, (i + 1) * w.count() / n); });
}

// Room for one row's addresses, and for its products.
struct Room {
    const float **a, **init;
    float **c, *z;
};

void step_layer(const Layer& layer, const Cell& cell, const Room& room, Row at, const float* x, int64_t B) {
    const int64_t H = layer.w_hh.K, D = layer.w_ih.K, width = cell.blocks * H;
    for (int64_t r = 0; r < B; ++r) {
        room.a[r] = x + r * D;
        room.init[r] = layer.bias;
        room.c[r] = room.z + r * width;
        std::copy(layer.bias + cell.gates * H, layer.bias + width, room.c[r] + cell.gates * H);
    }
    product({room.a, room.init, room.c, nullptr, B}, layer.w_ih);
    for (int64_t r = 0; r < B; ++r) {
        room.a[r] = at.h + r * H;
        room.init[r] = room.c[r] = room.z + r * width + cell.hidden * H;
    }
    product({room.a, room.init, room.c, nullptr, B}, layer.w_hh);
    for (int64_t r = 0; r < B; ++r) {
        const int64_t n = r * H;
        for (int64_t j = 0; j < H; j += kLanes)
            cell.finish({room.z + r * width, at.h + n, at.c + n, at.to + n, at.c_to + n}, H, j);
    }
}

bool can_be_followed(const unrolled_stepper& c) {
    return c.D > 0 && c.H > 0 && c.layers > 0 && c.cell >= 0 && c.cell < 4 && c.packed;
}

}  // namespace

int step_pack(unrolled_stepper* call) {
    if (!can_be_followed(*call) || !call->weights) return UNROLLED_BAD_CALL;
    const Cell& cell = kCells[call->cell];
    const int64_t H = call->H;
    for (int64_t index = 0; index < call->layers; ++index) {
        const Layer layer = layer_at(*call, cell, index);
        const float* const* w = call->weights + 4 * index;
        Scratch scratch;
        const int64_t D = layer.w_ih.K, N = layer.w_ih.N;
        float* turned = scratch.take<float>(N * D);
        if (!turned) return UNROLLED_NO_MEMORY;
        std::rotate_copy(w[0], w[0] + cell.first * H * D, w[0] + N * D, turned);
        for (int64_t p = 0; p < layer.w_ih.count(); ++p) {
            pack(layer.w_ih, {turned, 1, D}, p, 0, D);
            pack(layer.w_hh, {w[1], 1, H}, p, 0, H);
        }
        for (int64_t block = 0; block < cell.blocks; ++block) {
            const int64_t gate = (block + cell.first) % cell.gates * H;
            for (int64_t h = 0; h < H; ++h)
                layer.bias[block * H + h] = (w[2] && block < cell.gates ? w[2][gate + h] : 0.0f) +
                                            (w[3] && block >= cell.hidden ? w[3][gate + h] : 0.0f);
        }
    }
    call->lanes = kLanes;
    return UNROLLED_OK;
}

int step(const unrolled_stepper* call, int64_t B, const float* x, const float* before, float* after) {
    if (!can_be_followed(*call) || call->lanes != kLanes || B < 0) return UNROLLED_BAD_CALL;
    const Cell& cell = kCells[call->cell];
    Scratch scratch;
    const Room room{scratch.take<const float*>(B), scratch.take<const float*>(B), scratch.take<float*>(B),
                    scratch.take<float>(B * cell.blocks * call->H)};
    if (!scratch.ok()) return UNROLLED_NO_MEMORY;
    const int64_t size = B * call->H, c = cell.states > 1 ? call->layers * size : 0;  // from h to c of the same layer
    for (int64_t index = 0; index < call->layers; ++index) {
        const Row at{nullptr, before + index * size, before + index * size + c, after + index * size, after + index * size + c};
        step_layer(layer_at(*call, cell, index), cell, room, at, x, B);
        x = at.to;
    }
    return UNROLLED_OK;
}

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
