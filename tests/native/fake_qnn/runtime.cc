// Plays a C++ runtime that lies beside the backend library.
extern "C" __attribute__((visibility("default"))) int fake_runtime_value() { return 7; }
