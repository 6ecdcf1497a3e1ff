// A well-formed library that has nothing to do with QNN.
extern "C" __attribute__((visibility("default"))) int answer() { return 42; }
