// Memory for the length of one call. A block is kept for the next call of the same thread, because fresh pages
// cost more than the arithmetic on them.
#pragma once

#include <cstdint>
#include <new>

namespace unrolled {
namespace UNROLLED_ISA_NAME {

class Scratch {
public:
    Scratch() : mine_(!kept().busy) {
        if (mine_) kept().busy = true;
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    ~Scratch() {
        for (int i = 0; i < more_count_; ++i) release(more_[i]);
        if (!mine_) return;
        Kept& block = kept();
        block.busy = false;
        if (wanted_ > block.bytes && wanted_ <= kMost) block.grow(wanted_);
    }

    // Uninitialised, on a cache line of its own; null, and ok() false from then on, where there is no memory.
    template <class T>
    T* take(int64_t count) {
        const int64_t bytes = (count * static_cast<int64_t>(sizeof(T)) / kLine + 1) * kLine;
        wanted_ += bytes;
        if (mine_ && wanted_ <= kept().bytes) return reinterpret_cast<T*>(kept().data + wanted_ - bytes);
        void* found = more_count_ < kChunks ? acquire(bytes) : nullptr;
        if (found) more_[more_count_++] = found;
        ok_ = ok_ && found;
        return static_cast<T*>(found);
    }

    template <class T>
    T* zeros(int64_t count) {
        T* found = take<T>(count);
        if (found)
            for (int64_t i = 0; i < count; ++i) found[i] = T{};
        return found;
    }

    bool ok() const { return ok_; }

private:
    static constexpr int64_t kLine = 64, kMost = int64_t{1} << 26;
    static constexpr int kChunks = 64;

    static void* acquire(int64_t bytes) {
        return ::operator new(static_cast<size_t>(bytes), std::align_val_t{kLine}, std::nothrow);
    }
    static void release(void* block) { ::operator delete(block, std::align_val_t{kLine}); }

    struct Kept {
        char* data = nullptr;
        int64_t bytes = 0;
        bool busy = false;
        void grow(int64_t size) {
            release(data);
            data = static_cast<char*>(acquire(size));
            bytes = data ? size : 0;
        }
        ~Kept() { release(data); }
    };

    static Kept& kept() {
        static thread_local Kept block;
        return block;
    }

    const bool mine_;
    bool ok_ = true;
    int64_t wanted_ = 0;
    void* more_[kChunks];
    int more_count_ = 0;
};

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
