// Calls with wrong arguments.
#pragma once

#include <stdint.h>

namespace lutra::hvx {

struct Refusals {
  uint32_t calls, wrong;  // `wrong`: answered with another status than they should
};

Refusals refusals();

}  // namespace lutra::hvx
