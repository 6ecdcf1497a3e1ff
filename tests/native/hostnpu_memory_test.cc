// Registered memory of the host NPU: what may be registered, what an execution may use it for, and when it goes.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "hostnpu_chain.h"

namespace lutra::test {
namespace {

const char* kName = "lutra-registered";

/// Memory as a client of a phone has it: a descriptor and the client's own mapping.
class Region {
 public:
  explicit Region(size_t bytes) : bytes_(bytes), fd_(memfd_create(kName, 0)) {
    EXPECT_EQ(ftruncate(fd_, static_cast<off_t>(bytes)), 0);
    data_ = static_cast<std::byte*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0));
    EXPECT_NE(data_, MAP_FAILED);
  }
  ~Region() {
    munmap(data_, bytes_);
    close_fd();
  }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  int fd() const { return fd_; }
  std::byte* data() const { return data_; }
  void close_fd() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  size_t bytes_;
  int fd_;
  std::byte* data_;
};

/// Mappings of such memory in this process.
size_t mappings() {
  std::ifstream maps("/proc/self/maps");
  size_t count = 0;
  for (std::string line; std::getline(maps, line);) count += line.find(kName) != std::string::npos;
  return count;
}

struct Descriptor {
  Descriptor(abi::MemType type, const Region& region, DataType dtype, std::vector<uint32_t> its_dims, uint64_t offset = 0, uint64_t limit = 1u << 20) : dims(std::move(its_dims)) {
    qnn.shape = {static_cast<uint32_t>(dims.size()), dims.data(), nullptr};
    qnn.dtype = dtype;
    qnn.type = type;
    custom.type = abi::kHtpSharedBuffer;
    custom.size = limit;
    custom.shared_buffer = {region.fd(), offset};
    if (type == abi::MemType::kIon) qnn.ion.fd = region.fd();
    if (type == abi::MemType::kDmaBuf) qnn.dma_buf = {region.fd(), region.data()};
    if (type == abi::MemType::kCustom) qnn.custom = &custom;
  }
  Descriptor(const Descriptor&) = delete;
  std::vector<uint32_t> dims;
  abi::HtpMemDescriptor custom{};
  abi::MemDescriptor qnn{};
};

Status add(const Session& session, const Descriptor& descriptor, abi::MemHandle* out) {
  return slot<abi::MemRegisterFn>(Slot::kMemRegister)(session.context, &descriptor.qnn, 1, out);
}
Status drop(abi::MemHandle memory) { return slot<abi::MemDeRegisterFn>(Slot::kMemDeRegister)(&memory, 1); }

/// Executes with x and y in registered memory, or in plain buffers where it is NULL.
Status run(TestGraph& graph, abi::MemHandle x, abi::MemHandle y) {
  TestTensor &in = graph.tensors.front(), &out = graph.tensors.back();
  abi::Tensor q[2] = {in.qnn, out.qnn};
  q[0].v1.client = {in.data.data(), static_cast<uint32_t>(in.data.size())};
  q[1].v1.client = {out.data.data(), static_cast<uint32_t>(out.data.size())};
  const abi::MemHandle memory[2] = {x, y};
  for (int i = 0; i < 2; ++i) {
    if (memory[i] == nullptr) continue;
    q[i].v1.mem_type = abi::TensorMemType::kMemHandle;
    q[i].v1.mem = memory[i];
  }
  return slot<abi::GraphExecuteFn>(Slot::kGraphExecute)(graph.handle, &q[0], 1, &q[1], 1, nullptr, nullptr);
}

class HostNpuMemory : public ::testing::Test {
 protected:
  void SetUp() override {
    build_chain(graph, 9, 40, 70);
    ASSERT_EQ(graph.finalize(), 0u);
    ASSERT_EQ(graph.execute(), 0u);
    wanted = y().data;
  }
  TestTensor& x() { return graph.tensors.front(); }
  TestTensor& y() { return graph.tensors.back(); }

  Session session;
  TestGraph graph{session, "g"};
  std::vector<std::byte> wanted;
};

TEST_F(HostNpuMemory, EveryKindGivesTheSameResult) {
  for (const abi::MemType type : {abi::MemType::kIon, abi::MemType::kDmaBuf, abi::MemType::kCustom}) {
    SCOPED_TRACE(static_cast<int>(type));
    Region in(8192), out(8192);
    const uint64_t offset = type == abi::MemType::kCustom ? 4096 + 64 : 0;  // begins in the middle of a page
    abi::MemHandle mx{}, my{};
    ASSERT_EQ(add(session, Descriptor(type, in, kF16, x().dims), &mx), 0u);
    ASSERT_EQ(add(session, Descriptor(type, out, kF16, y().dims, offset), &my), 0u);
    EXPECT_NE(mx, my);
    in.close_fd();
    out.close_fd();
    std::memcpy(in.data(), x().data.data(), x().data.size());
    ASSERT_EQ(run(graph, mx, my), 0u);
    EXPECT_EQ(std::memcmp(out.data() + offset, wanted.data(), wanted.size()), 0);
    EXPECT_EQ(out.data()[offset + wanted.size()], std::byte{0});
    // One of both in a plain buffer.
    std::memset(out.data(), 0, 8192);
    ASSERT_EQ(run(graph, nullptr, my), 0u);
    EXPECT_EQ(std::memcmp(out.data() + offset, wanted.data(), wanted.size()), 0);
    std::fill(y().data.begin(), y().data.end(), std::byte{0});
    ASSERT_EQ(run(graph, mx, nullptr), 0u);
    EXPECT_EQ(y().data, wanted);
    EXPECT_EQ(drop(mx), 0u);
    EXPECT_EQ(drop(mx), abi::kMemInvalidHandle);
    EXPECT_EQ(run(graph, mx, my), abi::kMemInvalidHandle);
    EXPECT_EQ(drop(my), 0u);
  }
}

TEST_F(HostNpuMemory, DescriptorsThatCannotBe) {
  Region region(4096);
  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  const auto expect = [&](abi::ErrorCode code, const char* what, auto change) {
    SCOPED_TRACE(what);
    Descriptor d(abi::MemType::kCustom, region, kF16, {16, 16}, 0, 4096);
    change(d);
    abi::MemHandle memory{};
    EXPECT_EQ(add(session, d, &memory), code);
    EXPECT_EQ(memory, nullptr);
  };
  expect(abi::kMemShape, "rank 0", [](Descriptor& d) { d.qnn.shape.rank = 0; });
  expect(abi::kMemShape, "rank of millions", [](Descriptor& d) { d.qnn.shape.rank = 5000000; });
  expect(abi::kMemShape, "no dimensions", [](Descriptor& d) { d.qnn.shape.dims = nullptr; });
  expect(abi::kMemShape, "a dimension of 0", [](Descriptor& d) { d.dims[0] = 0; });
  expect(abi::kMemShape, "more than 4 GiB", [](Descriptor& d) { d.dims[0] = d.dims[1] = 0xffffffff; });
  expect(abi::kMemShape, "no type", [](Descriptor& d) { d.qnn.dtype = DataType::kUndefined; });
  expect(abi::kMemShape, "inside an element", [](Descriptor& d) { d.custom.shared_buffer.offset = 63; });
  expect(abi::kMemMapping, "no descriptor", [](Descriptor& d) { d.custom.shared_buffer.fd = -1; });
  expect(abi::kMemMapping, "a descriptor that is not open", [](Descriptor& d) { d.custom.shared_buffer.fd = 100000; });
  expect(abi::kMemMapping, "a pipe", [&](Descriptor& d) { d.custom.shared_buffer.fd = pipes[0]; });
  expect(abi::kMemMapping, "longer than the file", [](Descriptor& d) { d.dims[0] = 129, d.custom.size = 8192; });
  expect(abi::kMemMapping, "longer than the buffer", [](Descriptor& d) { d.custom.size = 511; });
  expect(abi::kMemMapping, "beyond the end", [](Descriptor& d) { d.custom.shared_buffer.offset = 3586; });
  expect(abi::kMemMapping, "an offset that wraps", [](Descriptor& d) { d.custom.shared_buffer.offset = UINT64_MAX - 511; });
  expect(abi::kMemInvalidArgument, "no custom structure", [](Descriptor& d) { d.qnn.custom = nullptr; });
  expect(abi::kMemUnsupportedType, "an address of the DSP", [](Descriptor& d) { d.custom.type = 0; });
  expect(abi::kMemUnsupportedType, "an unknown kind", [](Descriptor& d) { d.qnn.type = static_cast<abi::MemType>(9); });
  const Descriptor good(abi::MemType::kIon, region, kF16, {16, 16}), bad(abi::MemType::kIon, region, kF16, {1600, 16});
  const auto call = slot<abi::MemRegisterFn>(Slot::kMemRegister);
  abi::MemHandle out[2] = {};
  EXPECT_EQ(call(session.context, nullptr, 1, out), abi::kMemInvalidArgument);
  EXPECT_EQ(call(session.context, &good.qnn, 0, out), abi::kMemInvalidArgument);
  EXPECT_EQ(call(session.context, &good.qnn, 0xffffffff, out), abi::kMemInvalidArgument);
  EXPECT_EQ(call(session.context, &good.qnn, 1, nullptr), abi::kMemInvalidArgument);
  // All or none.
  const abi::MemDescriptor both[2] = {good.qnn, bad.qnn};
  EXPECT_EQ(call(session.context, both, 2, out), abi::kMemMapping);
  EXPECT_EQ(out[0], nullptr);
  EXPECT_EQ(mappings(), 1u);  // the region's own
  close(pipes[0]);
  close(pipes[1]);
}

TEST_F(HostNpuMemory, TensorsThatDoNotFit) {
  Region region(8192);
  abi::MemHandle short_one{}, other_type{}, bytes{}, same_count{};
  ASSERT_EQ(add(session, Descriptor(abi::MemType::kIon, region, kF16, {9, 39}), &short_one), 0u);
  ASSERT_EQ(add(session, Descriptor(abi::MemType::kIon, region, DataType::kUfixed16, {9, 40}), &other_type), 0u);
  ASSERT_EQ(add(session, Descriptor(abi::MemType::kIon, region, DataType::kUint8, {8192}), &bytes), 0u);
  ASSERT_EQ(add(session, Descriptor(abi::MemType::kIon, region, kF16, {360}), &same_count), 0u);
  EXPECT_EQ(run(graph, short_one, nullptr), abi::kMemShape);
  EXPECT_NE(Session::lines().back().find("needs 720 bytes"), std::string::npos) << Session::lines().back();
  EXPECT_EQ(run(graph, other_type, nullptr), abi::kMemInvalidArgument);
  std::memcpy(region.data(), x().data.data(), x().data.size());
  for (const abi::MemHandle memory : {bytes, same_count}) {
    std::fill(y().data.begin(), y().data.end(), std::byte{0});
    EXPECT_EQ(run(graph, memory, nullptr), 0u);
    EXPECT_EQ(y().data, wanted);
  }
  // Memory belongs to its context.
  Session other;
  TestGraph theirs(other, "g");
  build_chain(theirs, 9, 40, 70);
  ASSERT_EQ(theirs.finalize(), 0u);
  EXPECT_EQ(run(theirs, bytes, nullptr), abi::kMemInvalidHandle);
}

TEST_F(HostNpuMemory, GoesWithItsContext) {
  Region region(8192);
  std::vector<abi::MemHandle> handles(20);
  {
    Session other;
    for (abi::MemHandle& memory : handles) ASSERT_EQ(add(other, Descriptor(abi::MemType::kIon, region, kF16, {9, 40}), &memory), 0u);
    EXPECT_EQ(mappings(), 21u);
  }
  EXPECT_EQ(mappings(), 1u);
  for (const abi::MemHandle memory : handles) EXPECT_EQ(drop(memory), abi::kMemInvalidHandle);
}

TEST_F(HostNpuMemory, MayBeDeregisteredWhileItIsUsed) {
  Region in(8192), out(8192);
  std::memcpy(in.data(), x().data.data(), x().data.size());
  std::atomic<abi::MemHandle> mx{}, my{};
  std::atomic<bool> done{false};
  std::atomic<uint32_t> right{0}, wrong{0};
  const auto exchange = [&] {
    abi::MemHandle nx{}, ny{};
    EXPECT_EQ(add(session, Descriptor(abi::MemType::kDmaBuf, in, kF16, x().dims), &nx), 0u);
    EXPECT_EQ(add(session, Descriptor(abi::MemType::kDmaBuf, out, kF16, y().dims), &ny), 0u);
    const abi::MemHandle old[2] = {mx.exchange(nx), my.exchange(ny)};
    return std::pair(old[0], old[1]);
  };
  exchange();
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!done) {
        const Status status = run(graph, mx, my);
        if (status == 0) {
          ++right;
        } else if (status != abi::kMemInvalidHandle) {
          ++wrong;
        }
      }
    });
  }
  for (int round = 0; round < 300 || right < 100; ++round) {
    const auto [old_x, old_y] = exchange();
    EXPECT_EQ(drop(old_x), 0u);
    EXPECT_EQ(drop(old_y), 0u);
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(std::memcmp(out.data(), wanted.data(), wanted.size()), 0);
  EXPECT_EQ(drop(mx), 0u);
  EXPECT_EQ(drop(my), 0u);
  EXPECT_EQ(mappings(), 2u);
}

}  // namespace
}  // namespace lutra::test
