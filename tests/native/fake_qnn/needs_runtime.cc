// A backend library that needs a runtime library which its own search path does not find.
#include "provider.cc"

extern "C" int fake_runtime_value();
extern "C" __attribute__((visibility("default"))) int runtime_value() { return fake_runtime_value(); }
