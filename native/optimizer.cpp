// Updates of weights, in one pass over memory.
#include "steps.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {
namespace {

void update(const unrolled_rmsprop& call, int64_t begin, int64_t end, const float* gradient) {
    const Vector rho = fill(call.rho), rest = fill(1.0f - call.rho), rate = fill(call.rate);
    for (int64_t i = begin; i < end; i += kLanes) {
        const int64_t left = end - i;
        const Vector g = load_some(gradient + (i - begin), left);
        const Vector v = fma(rest * g, g, rho * load_some(call.square + i, left));
        const Vector w = load_some(call.weight + i, left) - rate * g / root(v + fill(call.epsilon));
        store_some(call.square + i, v, left);
        store_some(call.weight + i, w, left);
    }
}

// Where the gradient is zero the weight stays.
void decay(const unrolled_rmsprop& call, int64_t begin, int64_t end) {
    const Vector rho = fill(call.rho);
    for (int64_t i = begin; i < end; i += kLanes)
        store_some(call.square + i, rho * load_some(call.square + i, end - i), end - i);
}

void update_rows(const unrolled_rmsprop& call, int64_t begin, int64_t end) {
    const int64_t n = call.columns;
    const int64_t* id = std::lower_bound(call.ids, call.ids + call.count, begin);
    for (int64_t row = begin; row < end;) {
        const int64_t next = id < call.ids + call.count ? std::min(*id, end) : end;
        decay(call, row * n, next * n);
        if (next == end) return;
        update(call, next * n, next * n + n, call.gradient + (id - call.ids) * n);
        row = next + 1;
        ++id;
    }
}

int update_weight(const unrolled_rmsprop* call) {
    if (call->size != sizeof *call || call->rows < 0 || call->columns < 0) return UNROLLED_BAD_CALL;
    for (int64_t i = 0; i < call->count; ++i)
        if (call->ids[i] < (i ? call->ids[i - 1] + 1 : 0) || call->ids[i] >= call->rows) return UNROLLED_BAD_IDS;
    const int64_t some = std::max<int64_t>(1, 4096 / std::max<int64_t>(1, call->columns));
    share((call->rows + some - 1) / some, [&](int64_t i) {
        const int64_t begin = i * some, end = std::min(begin + some, call->rows);
        if (call->ids) return update_rows(*call, begin, end);
        update(*call, begin * call->columns, end * call->columns, call->gradient + begin * call->columns);
    });
    return UNROLLED_OK;
}

}  // namespace

int rmsprop(const unrolled_rmsprop* call) {
    for (; call; call = call->next)
        if (const int status = update_weight(call)) return status;
    return UNROLLED_OK;
}

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
