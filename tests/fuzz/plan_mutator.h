// Mutations of encoded plans.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lutra::fuzz {

/// Half of the time libFuzzer's mutation with a header that fits again, otherwise other values for a few fields of records, so that plans stay decodable.
size_t mutate_plan(uint8_t* data, size_t size, size_t max_size, unsigned seed);

}  // namespace lutra::fuzz
