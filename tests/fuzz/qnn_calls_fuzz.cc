// Programs of calls of libQnnHost's C interface.
#include <cstdlib>

#include "qnn_machine.h"

namespace {

using namespace lutra::fuzz;

constexpr size_t kMostAlive = size_t{48} << 20;  // what programs of this size can need, arenas and test data included
constexpr long long kMostLeft = 16 << 10;        // buckets of the table of handles, which only grow

const std::vector<Form>& all_forms() { return forms(supported_ops(host_library())); }

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  all_forms();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<Form>& known = all_forms();
  const Budget budget(kMostAlive);
  ByteSource source({data, size});
  {
    QnnMachine machine(host_library(), known);
    machine.run(source);
  }
  if (budget.alive() > kMostLeft) fail("the library keeps memory after everything was freed");
  return 0;
}
