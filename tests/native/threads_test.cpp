// What engine.h promises of parallel_for, on our own pool and on somebody else's threads.
#include <atomic>
#include <chrono>
#include <set>
#include <string_view>
#include <thread>
#include <vector>

#if !defined(_WIN32)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "control.h"
#include "denormals.h"
#include "engine.h"
#include "expect.h"

using unrolled::parallel;
using unrolled::thread_count;

namespace {

// Every range waits until the pieces of all ranges have arrived: only possible if all run at the same time.
void every_range_runs_at_the_same_time_on_a_thread_of_its_own() {
    for (int64_t n : {1, 2, 3, 7, 64}) {
        for (int round = 0; round < 50; ++round) {
            std::atomic<int64_t> arrived{0};
            std::atomic<int> ranges{0};
            std::vector<std::thread::id> thread_of(n);
            parallel(n, [&](int64_t begin, int64_t end) {
                EXPECT(0 <= begin && begin < end && end <= n);
                for (int64_t i = begin; i < end; ++i) thread_of[i] = std::this_thread::get_id();
                arrived += end - begin;
                ++ranges;
                while (arrived < n) std::this_thread::yield();
            });
            EXPECT(arrived == n);
            EXPECT(ranges <= thread_count());
            EXPECT(static_cast<int>(std::set(thread_of.begin(), thread_of.end()).size()) == ranges);
        }
    }
}

void all_threads_are_used() {
    std::atomic<int> ranges{0};
    parallel(4 * thread_count(), [&](int64_t, int64_t) { ++ranges; });
    EXPECT(ranges == thread_count());
}

void nothing_to_do_calls_nothing() {
    parallel(0, [](int64_t, int64_t) { EXPECT(false); });
}

void a_nested_call_is_one_range() {
    std::atomic<int> inner{0};
    parallel(8, [&](int64_t begin, int64_t end) {
        EXPECT(thread_count() == 1);
        for (int64_t i = begin; i < end; ++i) {
            const auto self = std::this_thread::get_id();
            parallel(5, [&](int64_t from, int64_t to) {
                EXPECT(from == 0 && to == 5 && std::this_thread::get_id() == self);
                ++inner;
            });
        }
    });
    EXPECT(inner == 8);
}

void callers_at_the_same_time_all_get_their_work_done() {
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 6; ++caller) {
        callers.emplace_back([] {
            for (int round = 0; round < 300; ++round) {
                std::vector<int> done(37, 0);
                parallel(37, [&](int64_t begin, int64_t end) {
                    for (int64_t i = begin; i < end; ++i) ++done[i];
                });
                for (int count : done) EXPECT(count == 1);
            }
        });
    }
    for (std::thread& caller : callers) caller.join();
}

float product(float a, float b) {
    volatile float x = a, y = b;
    return x * y;
}

void denormals_are_flushed_inside_and_kept_outside() {
    const auto denormal = [] { return product(1e-30f, 1e-9f); };
    EXPECT(denormal() != 0);
    std::atomic<int> flushed{0}, ranges{0};
    parallel(thread_count(), [&](int64_t, int64_t) {
        ++ranges;
        flushed += denormal() == 0;
    });
    EXPECT(flushed == ranges);
    EXPECT(denormal() != 0);
}

void the_number_of_threads_can_be_chosen() {
    for (int threads : {1, 2, 5, 3}) {
        unrolled_set_threads(threads);
        EXPECT(thread_count() == threads && unrolled_threads() == threads);
        all_threads_are_used();
    }
}

#if !defined(_WIN32)
// `check` runs in a forked child, which must end by itself.
template <class Check>
void in_a_child(const Check& check) {
    const pid_t child = fork();
    if (child == 0) {
        check();
        _exit(0);
    }
    int status = -1;
    for (int tenths = 0; tenths < 300 && waitpid(child, &status, WNOHANG) == 0; ++tenths) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

void a_forked_child_builds_its_own_pool() {
    all_threads_are_used();
    in_a_child([] {
        EXPECT(std::string_view(unrolled_pool()) == "own");
        all_threads_are_used();
    });
    all_threads_are_used();
}

void a_child_forked_after_foreign_threads_works_alone() {
    in_a_child([] {
        EXPECT(std::string_view(unrolled_pool()) == "none" && thread_count() == 1);
        all_threads_are_used();
    });
    all_threads_are_used();
}
#endif

// Threads of another library, as torch offers them: a new one for every range.
int32_t foreign_for(int64_t begin, int64_t end, int64_t grain, void (*f)(int64_t, int64_t, void*), void* context) {
    std::vector<std::thread> team;
    for (int64_t from = begin; from < end; from += grain) {
        team.emplace_back([=] { f(from, from + grain < end ? from + grain : end, context); });
    }
    for (std::thread& member : team) member.join();
    return 0;
}

int32_t foreign_threads(uint32_t* count) {
    *count = 4;
    return 0;
}

void every_promise() {
    every_range_runs_at_the_same_time_on_a_thread_of_its_own();
    all_threads_are_used();
    nothing_to_do_calls_nothing();
    a_nested_call_is_one_range();
    callers_at_the_same_time_all_get_their_work_done();
    denormals_are_flushed_inside_and_kept_outside();
}

}  // namespace

int main() {
    const bool forks = std::getenv("THREADS_TEST_FORKS") != nullptr;  // not under emulation or a sanitizer of threads
    the_number_of_threads_can_be_chosen();
    EXPECT(std::string_view(unrolled_pool()) == "own");
    every_promise();
#if !defined(_WIN32)
    if (forks) a_forked_child_builds_its_own_pool();
#endif
    unrolled_set_threads(0);
    unrolled_set_parallel_for(foreign_for, foreign_threads);
    EXPECT(std::string_view(unrolled_pool()) == "torch" && thread_count() == 4);
    every_promise();
    unrolled_set_threads(2);
    EXPECT(thread_count() == 2);
    every_promise();
#if !defined(_WIN32)
    if (forks) a_child_forked_after_foreign_threads_works_alone();
#endif
    std::puts("threads: all promises kept");
}
