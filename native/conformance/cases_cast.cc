// Cast: stored numbers in another type. Whole numbers that both types hold, so that it does not matter how a library rounds, wraps or saturates.
#include <algorithm>
#include <cmath>

#include "conformance/cases.h"
#include "conformance/dtypes.h"

namespace lutra::conformance {
namespace {

constexpr const char* kShifted = "shifts codes between signed and unsigned types by half of their range (runtime 2.51)";
constexpr const char* kQuantizes = "casts what the codes of S8, and of U16 from reals, stand for instead of the codes (runtime 2.51)";

struct CastRow {
  DT from, to;
  double low, high;  // of the numbers
  const char* exception = "";
  float scale = 0.25f;  // of quantised types: what it says must not matter
};

constexpr CastRow kRows[] = {
    {kF32, kI32, -2000, 2000},       {kF16, kI32, -2000, 2000},    {kF32, kU32, 0, 2000},        {kF32, kBool, 0, 1},          {kF32, kU8, 0, 255},          {kF32, kF16, -2000, 2000},
    {kF16, kF32, -2000, 2000},       {kF16, kF16, -2000, 2000},    {kI32, kF32, -2000, 2000},    {kI32, kF16, -2000, 2000},    {kI32, kU8, 0, 255},          {kI32, kU16, 0, 65535},
    {kI32, kBool, 0, 1},             {kI32, kU32, -1e6, 1e6},      {kI32, kI32, -1e6, 1e6},      {kU32, kI32, 0, 1e6},         {kU32, kF32, 0, 2000},        {kU32, kU16, 0, 65535},
    {kU32, kBool, 0, 1},             {kU8, kF32, 0, 255},          {kU8, kI32, 0, 255},          {kU8, kU32, 0, 255},          {kU8, kU8, 0, 255},           {kU8, kBool, 0, 1},
    {kS8, kF32, -128, 127, "", 1},   {kS8, kI32, -128, 127, "", 1}, {kS8, kU32, -128, 127, "", 1}, {kS8, kS8, -128, 127},       {kU16, kU8, 0, 255},          {kU16, kU16, 0, 65535},
    {kU16, kBool, 0, 1, "", 1},      {kS8, kI32, -128, 127, kQuantizes}, {kBool, kF32, 0, 1},          {kBool, kF16, 0, 1},          {kBool, kI32, 0, 1},          {kBool, kU8, 0, 1},           {kBool, kU32, 0, 1},
    {kU8, kS8, 0, 127, kShifted},    {kS8, kU8, 0, 127, kShifted}, {kF32, kS8, -128, 127, "", 1}, {kF32, kU16, 0, 2000, "", 1}, {kF32, kS8, -30, 30, kQuantizes},
};

GraphSpec cast_graph(const CastRow& row, uint32_t seed) {
  GraphSpec g(seed);
  const Dims dims{1, 4, 7, 33};
  std::uniform_real_distribution<double> numbers(row.low, row.high);
  std::vector<double> values(element_count(dims));
  for (double& v : values) v = std::nearbyint(numbers(g.random()));
  values[0] = row.low;
  values[1] = row.high;
  const qnn::Encoding encoding = qnn::Encoding::scale_offset(row.scale, 0);
  const size_t x = is_quantized(row.from) ? g.coded_input("x", row.from, dims, encoding, values) : g.input("x", {row.from}, dims, values);
  Output output{"y", {row.to}, dims, values};
  for (double& v : output.exact) {
    if (row.to == kU32 && v < 0) v += 0x1p32;  // as C does
    if (is_quantized(row.to)) v *= double{row.scale};
  }
  if (is_quantized(row.to)) output.encoding = encoding;
  g.output(g.apply("Cast", {x}, {}, std::move(output)));
  return g;
}

}  // namespace

void add_cast_cases(std::vector<Case>& cases) {
  for (const CastRow& row : kRows) {
    std::string name = "Cast_" + short_name(row.from) + "_" + short_name(row.to);
    if (row.scale == 1) name += "_unscaled";
    Case c{std::move(name), Bound::kExact, [&row](uint32_t seed) { return cast_graph(row, seed); }, false, row.exception};
    c.saturates = true;
    c.span = 0;
    if (row.to == kF32 || row.from == kF32) c.qualcomm = is_float(row.to) ? Bound::kFloat : Bound::kExact;
    cases.push_back(std::move(c));
  }
}

}  // namespace lutra::conformance
