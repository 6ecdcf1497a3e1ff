// Writes seeds that only native code can make: programs of calls, the context binaries that they save, and images of them.
// Usage: fuzz_seeds DIRECTORY; makes qnn_calls, binary_info, binary_restore and image in it.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>

#include "hostnpu/hostnpu.h"
#include "qnn/context_image.h"
#include "qnn_machine.h"

namespace lutra::fuzz {
namespace {

constexpr int kPrograms = 400;
constexpr size_t kKept = 200, kLargest = 16 << 10;

void write(const std::filesystem::path& directory, size_t number, std::span<const std::byte> bytes) {
  std::filesystem::create_directories(directory);
  std::ofstream(directory / std::to_string(number), std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

std::vector<uint8_t> random_program(std::mt19937& random) {
  std::vector<uint8_t> program(64 + random() % 2000);
  for (uint8_t& byte : program) byte = static_cast<uint8_t>(random());
  return program;
}

void write_image(const std::filesystem::path& directory) {
  auto device = qnn::Device::create(qnn::Backend::create(qnn::Library::embedded(&hostnpu::get_providers, "host")));
  auto context = qnn::Context::create(device);
  std::vector<qnn::GraphIds> ids;
  for (uint32_t n = 0; n < 3; ++n) {
    qnn::GraphBuilder builder(context, "graph" + std::to_string(n));
    const auto x = builder.input({"x", abi::DataType::kFloat32, {4, n + 1}, {}, {}}), y = builder.output({"y", abi::DataType::kFloat32, {4, n + 1}, {}, {}});
    builder.node({"node", "Relu", {x}, {y}, {}});
    ids.push_back(builder.finalize().ids());
    write(directory, n, qnn::encode_image("key of the test", *context, ids));
  }
}

int run(const std::filesystem::path& root) {
  std::mt19937 random(1);
  const std::vector<Form>& known = forms(supported_ops(host_library()));
  size_t binaries = 0;
  for (int n = 0; n < kPrograms; ++n) {
    const std::vector<uint8_t> program = random_program(random);
    write(root / "qnn_calls", static_cast<size_t>(n), std::as_bytes(std::span(program)));
    ByteSource source(program);
    QnnMachine machine(host_library(), known);
    machine.on_binary = [&](std::span<const std::byte> binary) {
      if (binary.size() > kLargest || binaries >= kKept) return;
      write(root / "binary_info", binaries, binary);
      write(root / "binary_restore", binaries++, binary);
    };
    machine.run(source);
  }
  write_image(root / "image");
  std::printf("%d programs, %zu binaries\n", kPrograms, binaries);
  return binaries > 10 ? 0 : 1;
}

}  // namespace
}  // namespace lutra::fuzz

int main(int argc, char** argv) { return argc == 2 ? lutra::fuzz::run(argv[1]) : 2; }
