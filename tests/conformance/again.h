// In a process of a thousand graphs beside Qualcomm's runtime one may now and then come out wrong (docs/qnn.md, "Accepted and wrong"). A case that fails there is asked again
// in a process of its own, and that answer counts.
#pragma once

namespace lutra::conformance {

/// After RUN_ALL_TESTS: runs every failed case of a table again, alone. 0 when each of them then passes and they are few; else 1.
int ask_again();

/// True in a process that ask_again() has started.
bool is_alone();

}  // namespace lutra::conformance
