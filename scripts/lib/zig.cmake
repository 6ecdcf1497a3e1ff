# CMake toolchain of scripts/prebuild: zig's clang for Linux with glibc 2.28 or later. Its libc++ is linked statically.
# LUTRA_ZIG in the environment is the program, LUTRA_ZIG_ARCH x86_64 or aarch64: without -mcpu the baseline of either. What is compiled is kept in zig's own cache.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR $ENV{LUTRA_ZIG_ARCH})
set(CMAKE_C_COMPILER $ENV{LUTRA_ZIG} cc -target $ENV{LUTRA_ZIG_ARCH}-linux-gnu.2.28)
set(CMAKE_CXX_COMPILER $ENV{LUTRA_ZIG} c++ -target $ENV{LUTRA_ZIG_ARCH}-linux-gnu.2.28)
set(CMAKE_C_COMPILER_LAUNCHER "")
set(CMAKE_CXX_COMPILER_LAUNCHER "")
set(CMAKE_C_FLAGS_INIT -g0)
set(CMAKE_CXX_FLAGS_INIT -g0)
set(CMAKE_SHARED_LINKER_FLAGS_INIT -s)
