// parallel_for: torch's when torch is in the process, else a small pool of our own; never both.
//
// torch's (OpenMP) starts one team and gives every member one range, so the promise of engine.h holds there
// too. A forked child has neither team nor workers: our pool is built anew at the next call, while after
// torch the child stays on one thread, because OpenMP's own state does not survive the fork either.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if !defined(_WIN32)
#include <pthread.h>
#endif

#include "control.h"
#include "denormals.h"
#include "engine.h"

namespace unrolled {
namespace {

thread_local bool in_range = false;  // this thread is inside a range: a nested call runs as one range

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

// Where other programs keep a core busy, the range that it was given comes late, and everybody waits for it. Then the
// calls of this thread work alone for a while, twice as long each time. Only a row of late calls says so: the first one
// after a pause is late by itself, since it wakes the team. No result depends on it.
struct Crowd {
    static constexpr int kMany = 8;  // late calls in a row; after a pause the last two of them are enough
    Clock::duration pause{};
    Clock::time_point until{};
    int late = 0;
    bool alone = false;  // during one call: changes in begin_call only

    void waited(Clock::duration own, Clock::duration all) {
        pause -= pause / 16;
        if (all < 3 * own + microseconds(400)) {
            late = 0;
            return;
        }
        if (++late < kMany) return;
        late = kMany - 2;
        pause = std::clamp<Clock::duration>(2 * pause, microseconds(10000), microseconds(640000));
        until = Clock::now() + pause;
    }
};

thread_local Crowd crowd;

struct Job {
    int64_t n;
    int64_t chunk;
    RangeFunction f;
    void* context;
    Clock::time_point own_end{};  // of the caller's range, which is the first
};

void run_range(Job& job, int64_t begin, int64_t end) {
    const FlushDenormals flush;
    const bool outer = in_range;
    in_range = true;
    job.f(begin, end, job.context);
    in_range = outer;
    if (begin == 0) job.own_end = Clock::now();
}

void relax() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

// Waits for `ready` a moment longer than the gap between two calls of a training step; false if it never came.
template <class Ready>
bool spin(const Ready& ready) {
    const auto deadline = Clock::now() + microseconds(50);
    do {
        for (int i = 0; i < 64; ++i) {
            if (ready()) return true;
            relax();
        }
    } while (Clock::now() < deadline);
    return false;
}

// The caller and `threads - 1` workers. Runs one job at a time; the holder of `busy` is the only caller.
class Pool {
public:
    explicit Pool(int threads) : wanted(threads) {
        try {
            for (int index = 1; index < threads; ++index) workers_.emplace_back([this, index] { work(index); });
        } catch (const std::system_error&) {
            // The system gives no more threads: those that started do the work.
        }
    }

    ~Pool() {
        stop_ = true;
        announce();
        for (std::thread& worker : workers_) worker.join();
    }

    const int wanted;
    int threads() const { return static_cast<int>(workers_.size()) + 1; }

    void run(Job& job) {
        job_ = job;
        pending_ = threads() - 1;
        announce();
        run_range(job, 0, std::min(job.chunk, job.n));
        const auto done = [this] { return pending_ == 0; };
        if (!spin(done)) sleep(finished_, done);
    }

private:
    // Sleepers are counted before they look a last time, and the others look for sleepers after their change:
    // with sequential consistency one of the two always sees the other, and nobody awake costs a lock.
    template <class Ready>
    void sleep(std::condition_variable& bell, const Ready& ready) {
        std::unique_lock<std::mutex> lock(mutex_);
        ++sleepers_;
        bell.wait(lock, ready);
        --sleepers_;
    }

    void ring(std::condition_variable& bell) {
        if (sleepers_ == 0) return;
        { const std::lock_guard<std::mutex> lock(mutex_); }
        bell.notify_all();
    }

    void announce() {
        ++round_;
        ring(wake_);
    }

    void work(int index) {
        for (uint64_t seen = 0;; ++seen) {
            const auto called = [&] { return round_ != seen; };
            if (!spin(called)) sleep(wake_, called);
            if (stop_) return;
            const int64_t begin = std::min(index * job_.chunk, job_.n);
            const int64_t end = std::min(begin + job_.chunk, job_.n);
            if (begin < end) run_range(job_, begin, end);
            if (--pending_ == 0) ring(finished_);
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_, finished_;
    std::atomic<uint64_t> round_{0};  // jobs announced so far
    std::atomic<int> pending_{0};     // workers that have not finished this round
    std::atomic<int> sleepers_{0};
    bool stop_ = false;
    Job job_{};
    std::vector<std::thread> workers_;
};

std::mutex busy;                // held while our pool runs, starts or ends
Pool* pool = nullptr;           // never destroyed at exit: its sleeping workers end with the process
std::atomic<int> limit{0};      // most threads to use; 0: as many as the machine or torch offers
std::atomic<bool> alone{false};  // a forked child of a process that used torch's threads
std::atomic<unrolled_parallel_for> torch_for{nullptr};
std::atomic<unrolled_get_num_threads> torch_threads{nullptr};

void end_pool() {
    delete pool;
    pool = nullptr;
}

void before_fork() { busy.lock(); }
void after_fork_in_parent() { busy.unlock(); }
void after_fork_in_child() {
    pool = nullptr;  // its threads do not exist here, so it can be neither used nor joined
    if (torch_for.exchange(nullptr)) alone = true;
    busy.unlock();
}

void watch_forks() {
#if !defined(_WIN32)
    static std::once_flag once;
    std::call_once(once, [] { pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child); });
#endif
}

int own_threads() {
    const int wanted = limit.load();
    return wanted > 0 ? wanted : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void torch_range(int64_t begin, int64_t end, void* job) { run_range(*static_cast<Job*>(job), begin, end); }

int offered_threads() {
    if (in_range || alone) return 1;
    if (!torch_for.load()) return own_threads();
    uint32_t offered = 1;
    torch_threads.load()(&offered);
    const int wanted = limit.load();
    return std::max(1, wanted > 0 ? std::min(wanted, static_cast<int>(offered)) : static_cast<int>(offered));
}

}  // namespace

void begin_call() { crowd.alone = crowd.pause.count() > 0 && Clock::now() < crowd.until; }

int thread_count() { return crowd.alone ? 1 : offered_threads(); }

void parallel_for(int64_t n, RangeFunction f, void* context) {
    if (n <= 0) return;
    const int64_t threads = std::min<int64_t>(thread_count(), n);
    Job job{n, (n + threads - 1) / threads, f, context};
    if (threads == 1) return run_range(job, 0, n);
    const auto start = Clock::now();
    if (const auto run = torch_for.load()) {
        // Its status tells of exceptions thrown by the ranges, and ours throw none.
        (void)run(0, n, job.chunk, torch_range, &job);
        return crowd.waited(job.own_end - start, Clock::now() - start);
    }
    std::unique_lock<std::mutex> lock(busy, std::try_to_lock);
    // Another Python thread has the workers, or torch arrived this instant: this call does its work alone.
    if (!lock || torch_for.load()) {
        if (lock) lock.unlock();
        return run_range(job, 0, n);
    }
    watch_forks();
    if (pool && pool->wanted != own_threads()) end_pool();
    if (!pool) pool = new Pool(own_threads());
    const int64_t started = std::min<int64_t>(pool->threads(), n);
    job.chunk = (n + started - 1) / started;
    pool->run(job);
    crowd.waited(job.own_end - start, Clock::now() - start);
}

}  // namespace unrolled

void unrolled_set_parallel_for(unrolled_parallel_for run, unrolled_get_num_threads threads) {
    using namespace unrolled;
    const std::lock_guard<std::mutex> lock(busy);  // waits for a running call
    watch_forks();
    end_pool();
    torch_threads = threads;
    torch_for = threads ? run : nullptr;
}

void unrolled_set_threads(int32_t threads) { unrolled::limit = std::max(0, threads); }

int32_t unrolled_threads(void) { return unrolled::offered_threads(); }

const char* unrolled_pool(void) {
    if (unrolled::alone) return "none";
    return unrolled::torch_for.load() ? "torch" : "own";
}
