#include "again.h"

#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace lutra::conformance {
namespace {

constexpr const char* kAlone = "LUTRA_CONFORMANCE_ALONE";
constexpr size_t kMaxAgain = 10;  // of more than a thousand cases: more than that is no accident

struct Failed {
  std::vector<std::string> cases;  // of a table of graphs: what both libraries compute
  bool others = false;
};

Failed failed_tests() {
  Failed failed;
  const ::testing::UnitTest& unit = *::testing::UnitTest::GetInstance();
  failed.others = unit.ad_hoc_test_result().Failed();
  for (int s = 0; s < unit.total_test_suite_count(); ++s) {
    const ::testing::TestSuite& suite = *unit.GetTestSuite(s);
    failed.others = failed.others || suite.ad_hoc_test_result().Failed();
    for (int t = 0; t < suite.total_test_count(); ++t) {
      const ::testing::TestInfo& test = *suite.GetTestInfo(t);
      if (!test.should_run() || !test.result()->Failed()) continue;
      if (test.value_param() == nullptr) {
        failed.others = true;
      } else {
        failed.cases.push_back(std::string(suite.name()) + "." + test.name());
      }
    }
  }
  return failed;
}

bool passes_alone(const std::string& test) {
  setenv(kAlone, "1", 1);
  const std::string filter = "--gtest_filter=" + test;
  std::array<char*, 3> arguments = {const_cast<char*>("conformance_test"), const_cast<char*>(filter.c_str()), nullptr};
  pid_t child = 0;
  int status = 0;
  if (posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, arguments.data(), environ) != 0) return false;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

bool is_alone() { return std::getenv(kAlone) != nullptr; }

int ask_again() {
  const Failed failed = failed_tests();
  if (failed.others || failed.cases.size() > kMaxAgain) return 1;
  bool all_pass = true;
  for (const std::string& test : failed.cases) {
    const bool passes = passes_alone(test);
    std::printf("%s, which failed in a process with others, %s alone\n", test.c_str(), passes ? "passes" : "fails");
    all_pass = all_pass && passes;
  }
  return all_pass ? 0 : 1;
}

}  // namespace lutra::conformance
