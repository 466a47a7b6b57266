// Memory for the length of one call. A block is kept for the next call of the same thread, because fresh pages
// cost more than the arithmetic on them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <new>

#include "pages.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {

class Scratch {
public:
    Scratch() : mine_(!kept().busy) {
        if (!mine_) return;
        kept().busy = true;
        next_ = kept().data;
        left_ = kept().bytes;
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    ~Scratch() {
        for (int i = 0; i < blocks_; ++i) release(block_[i]);
        if (!mine_) return;
        kept().busy = false;
        if (blocks_ > 0 && wanted_ <= kMost) kept().grow(wanted_);
    }

    // Uninitialised, on a cache line of its own; null, and ok() false from then on, where there is no memory.
    template <class T>
    T* take(int64_t count) {
        const int64_t bytes = (count * static_cast<int64_t>(sizeof(T)) / kLine + 1) * kLine;
        wanted_ += bytes;
        if (bytes > left_ && !add_block(bytes)) return nullptr;
        char* found = next_;
        next_ += bytes;
        left_ -= bytes;
        return reinterpret_cast<T*>(found);
    }

    template <class T>
    T* zeros(int64_t count) {
        T* found = take<T>(count);
        if (found) std::fill_n(found, count, T{});
        return found;
    }

    bool ok() const { return ok_; }

private:
    static constexpr int64_t kLine = 64, kMost = int64_t{1} << 26;
    static constexpr int kBlocks = 48;

    static char* acquire(int64_t bytes) {
        void* block = ::operator new(static_cast<size_t>(bytes), std::align_val_t{kLine}, std::nothrow);
        ask_for_large_pages(block, bytes);
        return static_cast<char*>(block);
    }
    static void release(char* block) { ::operator delete(block, std::align_val_t{kLine}); }

    // Larger and larger, so that there are few.
    bool add_block(int64_t bytes) {
        left_ = std::max(bytes, std::min(wanted_, kMost / 4));
        next_ = ok_ && blocks_ < kBlocks ? acquire(left_) : nullptr;
        ok_ = next_ != nullptr;
        if (ok_) block_[blocks_++] = next_;
        else left_ = 0;
        return ok_;
    }

    struct Kept {
        char* data = nullptr;
        int64_t bytes = 0;
        bool busy = false;
        void grow(int64_t size) {
            release(data);
            data = acquire(size);
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
    int64_t wanted_ = 0, left_ = 0;
    char* next_ = nullptr;
    char* block_[kBlocks];
    int blocks_ = 0;
};

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
