#include "plan_mutator.h"

#include "plan/plan.h"
#include "target.h"

namespace lutra::fuzz {
namespace {

using plan::Section;

constexpr size_t kHeaderBytes = 4 * (plan::kHeaderWords + 2 * plan::kSections);

/// Makes size and checksum right.
void seal(std::span<std::byte> bytes) {
  if (bytes.size() < kHeaderBytes) return;
  put(bytes, 8, static_cast<uint32_t>(bytes.size()));
  put(bytes, 4 * plan::kChecksumWord, plan::checksum(bytes));
}

/// Bytes of the numbers that a section is made of.
size_t width_of(Section section) {
  if (section == Section::kConfig || section == Section::kAttrs) return 8;
  return section == Section::kStrings ? 1 : 4;
}

/// Numbers of one record.
size_t record_of(Section section) {
  switch (section) {
    case Section::kTensors: return plan::kTensorWords;
    case Section::kSegments: return plan::kSegmentWords;
    case Section::kNodes: return plan::kNodeWords;
    case Section::kSteps: return plan::kStepWords;
    case Section::kPrograms: return plan::kProgramWords;
    default: return 1;
  }
}

uint32_t word_at(std::span<const std::byte> bytes, size_t at) {
  uint32_t value = 0;
  if (at + 4 <= bytes.size()) std::memcpy(&value, bytes.data() + at, 4);
  return value;
}

/// A value that is likely to mean something where `old` stood.
template <class T>
T other_value(T old, T neighbour, std::minstd_rand& random) {
  switch (random() % 6) {
    case 0: return neighbour;
    case 1: return old + 1;
    case 2: return old - 1;
    case 3: return static_cast<T>(random() % 20);
    case 4: return static_cast<T>(1u << random() % 32);
    default: return static_cast<T>(-1);
  }
}

template <class T>
void change(std::span<std::byte> bytes, size_t at, size_t neighbour, std::minstd_rand& random) {
  T old{}, other{};
  std::memcpy(&old, bytes.data() + at, sizeof old);
  std::memcpy(&other, bytes.data() + neighbour, sizeof other);
  put(bytes, at, other_value(old, other, random));
}

/// Gives one number of a random section another value.
void change_field(std::span<std::byte> bytes, std::minstd_rand& random) {
  const auto section = static_cast<Section>(random() % plan::kSections);
  const size_t header = 4 * (plan::kHeaderWords + 2 * static_cast<size_t>(section)), width = width_of(section), record = record_of(section);
  const size_t offset = word_at(bytes, header), count = word_at(bytes, header + 4);
  if (count == 0 || offset > bytes.size() || count * record * width > bytes.size() - offset) return;
  const size_t field = random() % record;
  const size_t at = offset + (random() % count * record + field) * width, neighbour = offset + (random() % count * record + field) * width;
  if (width == 8) {
    change<double>(bytes, at, neighbour, random);
  } else if (width == 4) {
    change<uint32_t>(bytes, at, neighbour, random);
  } else {
    change<uint8_t>(bytes, at, neighbour, random);
  }
}

}  // namespace

size_t mutate_plan(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  std::minstd_rand random(seed + 1);
  if (random() % 2 == 0 || size < kHeaderBytes) return mutate_and_repair(data, size, max_size, seed, seal);
  const auto bytes = std::as_writable_bytes(std::span(data, size));
  for (size_t n = 1 + random() % 4; n > 0; --n) change_field(bytes, random);
  seal(bytes);
  return size;
}

}  // namespace lutra::fuzz
