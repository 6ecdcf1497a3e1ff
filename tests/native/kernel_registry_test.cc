// Which variants every kernel family has for the tiers of this architecture, so that none runs on a slower one unseen.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/gemm_i8/gemm.h"
#include "kernels/linear/linear.h"
#include "kernels/npu_ops/npu_ops.h"
#include "kernels/ops/ops.h"
#include "kernels/shadow/shadow.h"
#include "tiers_of.h"

namespace lutra::kernels {
namespace {

struct Family {
  const char* name;
  std::vector<Isa> required;  // beside portable, lowest first
  std::vector<Isa> present;
  std::vector<std::string> names;
  Isa (*chosen)(Isa);
};

template <class Variant>
Family family(const char* name, std::vector<Isa> required, std::span<const Variant> variants, Isa (*chosen)(Isa)) {
  Family all{name, std::move(required), tiers_of(variants), {}, chosen};
  for (const Variant& one : variants) all.names.emplace_back(one.name);
  return all;
}

std::vector<Family> families() {
#if defined(LUTRA_X86)
  const std::vector<Isa> elements = {Isa::kAvx2, Isa::kAvx512}, linears = {Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512}, products = linears;
#elif defined(LUTRA_ARM64)
  const std::vector<Isa> elements = {Isa::kNeon}, linears = {Isa::kNeon, Isa::kDotprod}, products = {Isa::kNeon, Isa::kDotprod, Isa::kI8mm};
#else
  const std::vector<Isa> elements, linears, products;
#endif
  return {family("gemm_i8", products, gemm_kernels(), [](Isa isa) { return gemm_kernel(isa).isa; }),
          family("npu_ops", elements, npu_op_kernels(), [](Isa isa) { return npu_op_kernel(isa).isa; }),
          family("ops", elements, op_kernels(), [](Isa isa) { return op_kernel(isa).isa; }),
          family("shadow", elements, shadow_kernels(), [](Isa isa) { return shadow_kernel(isa).isa; }),
          family("linear", linears, linear_kernels(), [](Isa isa) { return linear_kernel(isa).isa; })};
}

TEST(KernelRegistry, EveryFamilyHasItsVariants) {
  for (const Family& one : families()) {
    SCOPED_TRACE(one.name);
    std::vector<Isa> wanted = {Isa::kPortable};
    wanted.insert(wanted.end(), one.required.begin(), one.required.end());
    EXPECT_EQ(one.present, wanted);
    for (size_t i = 0; i < one.present.size(); ++i) EXPECT_EQ(one.names[i], isa_name(one.present[i]));
  }
}

TEST(KernelRegistry, EveryTierGetsTheHighestVariantThatItIncludes) {
  for (const Family& one : families()) {
    Isa best = Isa::kPortable;
    for (const Isa isa : isas()) {
      for (const Isa variant : one.required) best = variant == isa ? variant : best;
      EXPECT_EQ(one.chosen(isa), best) << one.name << " on " << isa_name(isa);
    }
  }
}

// scripts/arm64 says which tier the emulated processor has; elsewhere it is the highest one that is available.
TEST(KernelRegistry, TheBestTierOfThisProcessor) {
  if (const char* forced = std::getenv("LUTRA_FORCE_KERNEL"); forced != nullptr && *forced != '\0') {
    EXPECT_STREQ(isa_name(best_isa()), forced);
    return;
  }
  const char* expected = std::getenv("LUTRA_EXPECT_KERNEL");
  if (expected != nullptr) {
    EXPECT_STREQ(isa_name(best_isa()), expected);
  }
  for (const Isa isa : isas()) {
    if (isa == Isa::kAvxVnni && best_isa() > isa) continue;  // a processor with AVX-512 has it or not
    EXPECT_EQ(isa_available(isa), isa_includes(best_isa(), isa)) << isa_name(isa);
  }
}

TEST(KernelRegistry, TiersIncludeTheLowerOnesOfTheirArchitectureOnly) {
  EXPECT_TRUE(isa_includes(Isa::kAvx512, Isa::kAvx2));
  EXPECT_TRUE(isa_includes(Isa::kAvxVnni, Isa::kAvx2));
  EXPECT_TRUE(isa_includes(Isa::kI8mm, Isa::kNeon));
  EXPECT_TRUE(isa_includes(Isa::kNeon, Isa::kPortable));
  EXPECT_FALSE(isa_includes(Isa::kAvx512, Isa::kAvxVnni));
  EXPECT_FALSE(isa_includes(Isa::kAvxVnni, Isa::kAvx512));
  EXPECT_FALSE(isa_includes(Isa::kNeon, Isa::kAvx512));
  EXPECT_FALSE(isa_includes(Isa::kAvx512, Isa::kNeon));
  EXPECT_FALSE(isa_includes(Isa::kDotprod, Isa::kI8mm));
  EXPECT_FALSE(isa_includes(Isa::kPortable, Isa::kAvx2));
}

}  // namespace
}  // namespace lutra::kernels
