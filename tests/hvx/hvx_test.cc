// The HVX kernels under qemu-hexagon against the reference, bit by bit. Usage: hvx_test FOLDER COMMAND…, COMMAND being the emulator and the Hexagon program; FOLDER takes what they exchange.
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include "cases.h"

namespace lutra::hvx {
namespace {

constexpr uint32_t kRandomCases = 120, kLeastCases = 100;

struct Suite {
  const char* name;
  Operation operation;
  uint8_t bits;
};
constexpr Suite kSuites[] = {{"gemv, 2 bits", kGemv, 2}, {"gemv, 4 bits", kGemv, 4}, {"dequantize, 2 bits", kDequantize, 2}, {"dequantize, 4 bits", kDequantize, 4}};

std::vector<uint8_t> canonical(const Codes& weight) {
  const kernels::UnpackedWeight unpacked{weight.format, weight.rows, weight.columns, weight.codes.data(), weight.scales.data(), weight.offsets.data()};
  std::vector<uint8_t> out(kernels::low_bit_packed_size(weight.format, weight.rows, weight.columns));
  kernels::pack_low_bit(unpacked, std::as_writable_bytes(std::span(out)));
  return out;
}

template <class T>
void append(std::vector<uint8_t>& to, const T* values, size_t count) {
  const auto* from = reinterpret_cast<const uint8_t*>(values);
  to.insert(to.end(), from, from + count * sizeof(T));
}

/// What lutra_hvx_pack gives on the host.
std::vector<uint8_t> packed_here(const Case& one) {
  struct alignas(LUTRA_HVX_ALIGNMENT) Unit {
    uint8_t bytes[LUTRA_HVX_ALIGNMENT];
  };
  const lutra_hvx_weight shape = one.shape();
  const std::vector<uint8_t> from = canonical(one.weight);
  lutra_hvx_sizes sizes;
  if (lutra_hvx_sizes_of(&shape, &sizes) != LUTRA_HVX_OK) return {};
  std::vector<Unit> to((sizes.packed + sizeof(Unit) - 1) / sizeof(Unit));
  if (lutra_hvx_pack(&shape, from.data(), from.size(), to.data(), sizes.packed) != LUTRA_HVX_OK) return {};
  return std::vector<uint8_t>(to[0].bytes, to[0].bytes + sizes.packed);
}

void append_request(std::vector<uint8_t>& to, const Case& one) {
  const std::vector<uint8_t> packed = canonical(one.weight);
  const Request request = {one.operation, one.shape(), one.tile_begin, one.tile_end, one.stride, static_cast<uint32_t>(packed.size()), static_cast<uint32_t>(one.x.size())};
  append(to, &request, 1);
  append(to, packed.data(), packed.size());
  append(to, one.x.data(), one.x.size());
}

/// Answers, one after the other.
class Answers {
 public:
  explicit Answers(std::vector<uint8_t> bytes) : bytes_(std::move(bytes)) {}

  /// False when there is none left, or less than one.
  bool next(Answer& head, std::vector<uint8_t>& body) {
    if (bytes_.size() - at_ < sizeof head) return false;
    std::memcpy(&head, bytes_.data() + at_, sizeof head);
    at_ += sizeof head;
    if (bytes_.size() - at_ < head.bytes) return false;
    body.assign(bytes_.begin() + static_cast<std::ptrdiff_t>(at_), bytes_.begin() + static_cast<std::ptrdiff_t>(at_ + head.bytes));
    at_ += head.bytes;
    return true;
  }

 private:
  std::vector<uint8_t> bytes_;
  size_t at_ = 0;
};

std::string describe(const Case& one) {
  const std::string shape = kernels::low_bit_name(one.weight.format) + " " + std::to_string(one.weight.rows) + " x " + std::to_string(one.weight.columns);
  return shape + ", tiles " + std::to_string(one.tile_begin) + " to " + std::to_string(one.tile_end);
}

bool same(float a, float b) { return std::isnan(a) ? std::isnan(b) : std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); }

/// What is wrong with the answer to a product, or nothing. `error` becomes its NMSE.
std::string check_gemv(const Case& one, const std::vector<uint8_t>& outputs, double& error) {
  const std::vector<float> expected = gemv_reference(one.weight, one.x);
  const size_t first = size_t{one.tile_begin} * 64, last = std::min<size_t>(one.weight.rows, size_t{one.tile_end} * 64);
  if (outputs.size() != 4 * (last - first)) return std::to_string(outputs.size()) + " bytes of outputs";
  double wrong = 0.0, power = 0.0;
  const std::vector<double> exact = gemv_exact(one.weight, one.x);
  for (size_t row = first; row < last; ++row) {
    float y;
    std::memcpy(&y, outputs.data() + 4 * (row - first), 4);
    if (!same(y, expected[row])) return "row " + std::to_string(row) + " is " + std::to_string(y) + ", not " + std::to_string(expected[row]);
    wrong += (y - exact[row]) * (y - exact[row]);
    power += exact[row] * exact[row];
  }
  if (std::isinf(one.most_error) || power == 0.0) return "";
  error = wrong / power;
  return error <= one.most_error ? "" : "an NMSE above " + std::to_string(one.most_error);
}

std::string check_values(const Case& one, const std::vector<uint8_t>& values) {
  constexpr uint16_t kUntouched = 0xa5a5;
  const uint32_t first = one.tile_begin * 64, last = std::min(one.weight.rows, one.tile_end * 64), width = (one.weight.columns + 63) / 64 * 64;
  const size_t count = size_t{last - first - 1} * one.stride + width;
  if (values.size() != 2 * count) return std::to_string(values.size()) + " bytes of values";
  for (size_t i = 0; i < count; ++i) {
    const uint32_t row = first + static_cast<uint32_t>(i / one.stride), column = static_cast<uint32_t>(i % one.stride);
    const uint16_t expected = column < one.weight.columns ? value_reference(one.weight, row, column) : column < width ? uint16_t{0} : kUntouched;
    uint16_t value;
    std::memcpy(&value, values.data() + 2 * i, 2);
    if (value != expected) return "row " + std::to_string(row) + ", column " + std::to_string(column) + " is " + std::to_string(value) + ", not " + std::to_string(expected);
  }
  return "";
}

std::string check(const Case& one, const Answer& head, const std::vector<uint8_t>& body, double& error) {
  if (head.status != LUTRA_HVX_OK) return "status " + std::to_string(head.status);
  if (head.damage != 0) return std::to_string(head.damage) + " bytes beside the buffers were written";
  const std::vector<uint8_t> packed = pack_reference(one.weight);
  if (body.size() < packed.size() || std::memcmp(body.data(), packed.data(), packed.size()) != 0) return "packed otherwise";
  if (packed_here(one) != packed) return "packed otherwise on the host";
  const std::vector<uint8_t> outputs(body.begin() + static_cast<std::ptrdiff_t>(packed.size()), body.end());
  return one.operation == kGemv ? check_gemv(one, outputs, error) : check_values(one, outputs);
}

/// Number of failures; prints a line of figures.
uint32_t check_suite(const Suite& suite, const std::vector<Case>& cases, Answers& answers) {
  uint32_t right = 0, wrong = 0;
  double worst = 0.0;
  Answer head;
  std::vector<uint8_t> body;
  for (const Case& one : cases) {
    double error = 0.0;
    const std::string what = answers.next(head, body) ? check(one, head, body, error) : "no answer";
    worst = std::max(worst, error);
    ++(what.empty() ? right : wrong);
    if (!what.empty()) std::printf("%s: %s: %s\n", suite.name, describe(one).c_str(), what.c_str());
  }
  std::printf("%s: %u shapes equal the reference bit by bit, %u do not", suite.name, right, wrong);
  std::printf(suite.operation == kGemv ? "; largest NMSE against exact products %.1e\n" : "\n", worst);
  if (right < kLeastCases) std::printf("%s: %u are too few\n", suite.name, right);
  return wrong + (right < kLeastCases ? 1 : 0);
}

uint32_t check_refusals(Answers& answers) {
  Answer head;
  std::vector<uint8_t> body;
  uint32_t counts[2] = {0, 1};
  if (answers.next(head, body) && body.size() == sizeof counts) std::memcpy(counts, body.data(), sizeof counts);
  std::printf("wrong arguments: %u calls, %u not answered as they should\n", counts[0], counts[1]);
  return counts[0] == 0 ? 1 : counts[1];
}

int run(const std::string& folder, const std::string& command) {
  std::mt19937_64 random(20);
  std::vector<std::vector<Case>> cases;
  std::vector<uint8_t> requests;
  for (const Suite& suite : kSuites) {
    cases.push_back(cases_of(suite.operation, suite.bits, kRandomCases, random));
    for (const Case& one : cases.back()) append_request(requests, one);
  }
  const Request refusals = {kRefusals, {}, 0, 0, 0, 0, 0};
  append(requests, &refusals, 1);
  const std::string asked = folder + "/requests", answered = folder + "/answers";
  std::ofstream(asked, std::ios::binary).write(reinterpret_cast<const char*>(requests.data()), static_cast<std::streamsize>(requests.size()));
  if (const int status = std::system((command + " < '" + asked + "' > '" + answered + "'").c_str()); status != 0) {
    std::printf("%s: status %d\n", command.c_str(), status);
    return 1;
  }
  std::ifstream file(answered, std::ios::binary);
  Answers answers(std::vector<uint8_t>(std::istreambuf_iterator<char>(file), {}));
  uint32_t failures = 0;
  for (size_t i = 0; i < std::size(kSuites); ++i) failures += check_suite(kSuites[i], cases[i], answers);
  failures += check_refusals(answers);
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace lutra::hvx

int main(int count, char** arguments) {
  if (count < 3) {
    std::printf("usage: hvx_test FOLDER COMMAND...\n");
    return 2;
  }
  std::string command = arguments[2];
  for (int i = 3; i < count; ++i) command += std::string(" ") + arguments[i];
  return lutra::hvx::run(arguments[1], command);
}
