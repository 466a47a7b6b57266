// What every recurrence shares: which rows of the batch are alive at each step, and who computes them.
#pragma once

#include <algorithm>
#include <atomic>
#include <thread>
#include <type_traits>

#include "engine.h"
#include "scratch.h"
#include "tile.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {

// The rows of a batch, longest first, so that those alive at a step are the first active[t].
//
// Rows end at different steps (lengths), or they begin at different steps: then `shared` steps of one common
// beginning are computed once, and row r leaves it at step begin[r].
struct Rows {
    int64_t T, B;
    int64_t shared;   // steps of the common beginning, as the row that begins last needs them
    int64_t total;    // alive rows summed over all steps
    int32_t* order;   // (B,) place in the batch
    int64_t* begin;   // (B,) first step; 0 unless shared
    int64_t* steps;   // (B,) how many
    int64_t* active;  // (T + 2,) alive rows; none at T
    int64_t* offset;  // (T + 1,) alive rows of all steps before
    bool packed;      // the caller's arrays hold only the steps that exist, in our order, one after the other

    bool starts_late() const { return shared > 0; }
    // Where the state (or its gradient) of row r at step t stands among all `total` of them.
    int64_t place(int64_t t, int64_t r) const { return offset[t] + r; }
    // Rows alive at t that were, or will be, alive one step before, or after.
    int64_t before(int64_t t) const { return t == 0 ? 0 : std::min(active[t], active[t - 1]); }
    int64_t after(int64_t t) const { return std::min(active[t], active[t + 1]); }
};

// Order by length: `lengths` and `begins` (B,), either may be null.
inline bool arrange(Rows& rows, int64_t T, int64_t B, const int64_t* lengths, const int64_t* begins,
                    Scratch& scratch) {
    rows = Rows{T, B, 0, 0, scratch.take<int32_t>(B), scratch.take<int64_t>(B), scratch.take<int64_t>(B),
                scratch.zeros<int64_t>(T + 2), scratch.take<int64_t>(T + 1), false};
    int64_t* place = scratch.zeros<int64_t>(T + 2);
    if (!scratch.ok()) return false;
    const auto steps = [&](int64_t b) { return (lengths ? lengths[b] : T) - (begins ? begins[b] : 0); };
    for (int64_t b = 0; b < B; ++b) ++place[T - steps(b) + 1];
    for (int64_t t = 0; t <= T; ++t) place[t + 1] += place[t];
    for (int64_t b = 0; b < B; ++b) {
        const int64_t r = place[T - steps(b)]++;
        rows.order[r] = static_cast<int32_t>(b);
        rows.begin[r] = begins ? begins[b] : 0;
        rows.steps[r] = steps(b);
        rows.shared = std::max(rows.shared, rows.begin[r]);
    }
    for (int64_t t = 0, late = 0, early = B; t < T; ++t) {
        while (late < B && rows.begin[late] <= t) ++late;
        while (early > 0 && rows.begin[early - 1] + rows.steps[early - 1] <= t) --early;
        rows.active[t] = rows.shared ? late : early;
        rows.offset[t] = rows.total;
        rows.total += rows.active[t];
    }
    rows.offset[T] = rows.total;
    return true;
}

// What is wrong with the lengths, if anything is. Those of packed rows must not increase.
inline int check_lengths(int64_t T, int64_t B, const int64_t* lengths, bool packed) {
    if (packed && !lengths) return UNROLLED_BAD_CALL;
    for (int64_t b = 0; lengths && b < B; ++b)
        if (lengths[b] < 0 || lengths[b] > T || (packed && b > 0 && lengths[b] > lengths[b - 1]))
            return UNROLLED_BAD_LENGTH;
    return UNROLLED_OK;
}

// Threads that split one row's units wait for each other after every step. `arrive` counts parts, not threads,
// because one thread may have to compute several parts.
class Barrier {
public:
    explicit Barrier(int64_t parts) : parts_(parts) {}
    void arrive(int64_t parts) {
        const uint32_t round = round_.load(std::memory_order_relaxed);
        if (waiting_.fetch_add(parts, std::memory_order_acq_rel) + parts == parts_) {
            waiting_.store(0, std::memory_order_relaxed);
            round_.store(round + 1, std::memory_order_release);
            return;
        }
        for (int spins = 0; round_.load(std::memory_order_acquire) == round; ++spins)
            if (spins > 2000) std::this_thread::yield();
    }

private:
    const int64_t parts_;
    std::atomic<int64_t> waiting_{0};
    std::atomic<uint32_t> round_{0};
};

constexpr int64_t kCached = 1 << 21;  // floats: more are read from far away at every step

// How one call is divided: `parts` sets of rows, each computed by `splits` threads that share out its panels.
struct Division {
    int64_t parts, splits;
};

// `work`: multiply-adds of one row at one step, as many as there are weights; `together` rows are not parted.
inline Division divide(const Rows& rows, int64_t work, int64_t panels, int64_t together) {
    const int64_t threads = thread_count(), weights = work;
    if (threads == 1 || rows.total * work < 100000) return {1, 1};
    const int64_t most = std::min((rows.B + 3) / 4, (rows.B + together - 1) / together);
    // Weights that fit no cache, or that are read once, are shared out, so that each is read by one thread.
    const bool by_units = weights >= kCached || rows.T == 1;
    const int64_t wanted = by_units ? threads / std::min(threads, panels) : threads;
    const int64_t parts = std::max<int64_t>(1, std::min(wanted, most));
    const bool worth_waiting = by_units || std::min<int64_t>(rows.B, kRows) * work / threads > 50000;
    return {parts, worth_waiting ? std::max<int64_t>(1, std::min(threads / parts, panels)) : 1};
}

// Deals the rows to the parts, some at a time, there and back, so that all get long and short ones.
// `dealt` (B,) gets the rows of part 0, then of part 1, each ascending; `first` (parts + 1,) where each begins.
inline void deal(int64_t B, int64_t parts, int64_t together, int32_t* dealt, int64_t* first) {
    const int64_t some = std::max<int64_t>(1, std::min<int64_t>(kRows, B / (2 * parts)) / together) * together;
    int64_t n = 0;
    for (int64_t part = 0; part < parts; ++part) {
        first[part] = n;
        for (int64_t hand = 0; hand * some < B; ++hand) {
            const int64_t turn = hand % (2 * parts);
            if (turn != part && turn != 2 * parts - 1 - part) continue;
            for (int64_t r = hand * some; r < std::min((hand + 1) * some, B); ++r) dealt[n++] = static_cast<int32_t>(r);
        }
    }
    first[parts] = n;
}

// Calls body(i) for every i in [0, n), each once, on whichever thread is free; body(i, number) also gets a number below
// thread_count() that no other thread has at that time.
template <class Body>
void share(int64_t n, const Body& body) {
    std::atomic<int64_t> next{0}, threads{0};
    parallel(std::min<int64_t>(n, thread_count()), [&](int64_t, int64_t) {
        [[maybe_unused]] const int64_t number = threads.fetch_add(1, std::memory_order_relaxed);
        for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n;) {
            if constexpr (std::is_invocable_v<Body, int64_t, int64_t>) body(i, number);
            else body(i);
        }
    });
}

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
