// Every entry point of the engine on random inputs: engine_test [rounds] [seed]. What it computes is compared with
// plain loops; where it reads and writes is watched by the sanitizers that scripts/check builds it with.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>

#include "control.h"
#include "expect.h"
#include "random.h"

namespace {

void a_missing_instruction_set_is_refused() {
    const std::string before = unrolled_isa();
    EXPECT(unrolled_use_isa("mmx") == 1 && unrolled_use_isa("") == 1);
    EXPECT(before == unrolled_isa());
}

}  // namespace

int main(int count, char** values) {
    const int64_t rounds = count > 1 ? std::atoll(values[1]) : 100;
    Random random(count > 2 ? std::strtoull(values[2], nullptr, 10) : 7);
    a_missing_instruction_set_is_refused();
    std::istringstream isas(unrolled_isas());
    for (std::string isa; isas >> isa;) {
        EXPECT(unrolled_use_isa(isa.c_str()) == 0 && isa == unrolled_isa());
        for (int64_t round = 0; round < rounds; ++round) {
            unrolled_set_threads(static_cast<int32_t>(random.whole(1, 4)));
            fuzz_words(random);
            fuzz_reading(random);
            fuzz_kernels(random);
            fuzz_gated(random);
        }
        std::printf("engine, %s: %lld rounds agree\n", isa.c_str(), static_cast<long long>(rounds));
    }
}
