// Random inputs, the same in every run, in memory of exactly their size, so that a sanitizer sees one step too far.
#pragma once

#include <cstdint>
#include <memory>
#include <random>

class Random {
public:
    explicit Random(uint64_t seed) : engine_(seed) {}

    // A whole number in [low, high].
    int64_t whole(int64_t low, int64_t high) { return low + static_cast<int64_t>(engine_() % (high - low + 1)); }
    bool chance(int percent) { return whole(1, 100) <= percent; }
    float real() { return static_cast<float>(whole(-1000000, 1000000)) / 1e6f; }

private:
    std::mt19937_64 engine_;
};

template <class T>
class Array {
public:
    explicit Array(int64_t size, T value = T{}) : size_(size), values_(new T[size]) {
        for (int64_t i = 0; i < size; ++i) values_[i] = value;
    }
    T* data() { return values_.get(); }
    const T* data() const { return values_.get(); }
    T& operator[](int64_t i) { return values_[i]; }
    const T& operator[](int64_t i) const { return values_[i]; }
    int64_t size() const { return size_; }

private:
    int64_t size_;
    std::unique_ptr<T[]> values_;
};

void fuzz_words(Random& random);
void fuzz_gated(Random& random);
void fuzz_kernels(Random& random);
void fuzz_reading(Random& random);
