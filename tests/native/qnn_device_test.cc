// What a client knows of a device before it uses it: the path of the DSP's libraries, the platform, FastRPC's memory.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "hostnpu/hostnpu.h"
#include "qnn/backend.h"
#include "qnn/adsp_path.h"
#include "qnn/platform.h"
#include "qnn/rpc_memory.h"
#include "session/engine.h"
#include "tiny_engine.h"

namespace lutra::qnn {
namespace {

namespace fs = std::filesystem;

class AdspPath : public ::testing::Test {
 protected:
  AdspPath() : folder_(fs::temp_directory_path() / ("lutra-adsp-" + std::to_string(getpid()))) {
    fs::create_directories(folder_);
    std::ofstream(folder_ / "libQnnHtpV75Skel.so") << "skel";
  }
  ~AdspPath() override { fs::remove_all(folder_); }

  std::string library() const { return folder_ / "libQnnHtp.so"; }

  fs::path folder_;
};

TEST_F(AdspPath, FolderComesFirstAndOnce) {
  const std::string folder = folder_;
  EXPECT_EQ(adsp_path(library(), ""), folder);
  EXPECT_EQ(adsp_path(library(), "/a;/b"), folder + ";/a;/b");
  EXPECT_EQ(adsp_path(library(), "/a;" + folder), "/a;" + folder);
  EXPECT_EQ(adsp_path(library(), folder + ";/a"), folder + ";/a");
  // A folder whose name begins alike is another one.
  EXPECT_EQ(adsp_path(library(), folder + "x"), folder + ";" + folder + "x");
}

TEST_F(AdspPath, NothingChangesWithoutSkel) {
  fs::remove(folder_ / "libQnnHtpV75Skel.so");
  EXPECT_EQ(adsp_path(library(), ""), "");
  EXPECT_EQ(adsp_path(library(), "/a"), "/a");
  EXPECT_EQ(adsp_path("/nowhere/libQnnHtp.so", "/a"), "/a");
}

TEST_F(AdspPath, IsSetInTheProcess) {
  setenv(kAdspVariable, "/a", 1);
  set_adsp_path(library());
  set_adsp_path(library());
  EXPECT_STREQ(std::getenv(kAdspVariable), (folder_.string() + ";/a").c_str());
  unsetenv(kAdspVariable);
}

TEST(Platform, HostNpuHasOneDeviceThatIsNoHexagon) {
  const auto library = Library::embedded(&hostnpu::get_providers, "host");
  const auto devices = platform_devices(*library);
  ASSERT_EQ(devices.size(), 1u);
  EXPECT_EQ(devices[0].cores, 1u);
  EXPECT_FALSE(devices[0].htp);
}

TEST(Power, TheNpuIsAwakeForPromptsOnly) {
  const auto before = hostnpu::power_state();
  {
    const test::TinyWeights weights;
    session::EngineOptions options;
    options.plan = test::tiny_plan(kv::Type::kF32, true);
    options.files = {weights.file};
    options.threads = 1;
    options.npu.kind = session::NpuOptions::Kind::kHost;
    options.npu.power = PowerMode::kSustained;
    session::Engine engine(std::move(options));
    EXPECT_EQ(hostnpu::power_state().created, before.created + 1);
    EXPECT_EQ(hostnpu::power_state().set, before.set);
    const std::vector<uint32_t> tokens(20, 3);
    engine.prefill(tokens, session::LogitsWanted::kLast, "npu");
    const auto after = hostnpu::power_state();
    EXPECT_EQ(after.set, before.set + 7);  // four to wake, three to rest, for three chunks together
    EXPECT_EQ(after.corner, abi::kHtpCornerSvs2);
    engine.truncate(0);
    engine.prefill(tokens, session::LogitsWanted::kLast, "cpu");
    EXPECT_EQ(hostnpu::power_state().set, after.set);
    EXPECT_THROW(engine.prefill(std::vector<uint32_t>(40, 3), session::LogitsWanted::kLast, "npu"), Error);  // too many
    EXPECT_EQ(hostnpu::power_state().set, after.set);
  }
  EXPECT_EQ(hostnpu::power_state().destroyed, before.destroyed + 1);
}

TEST(Power, HostNpuRefusesNonsense) {
  const auto library = Library::embedded(&hostnpu::get_providers, "host");
  const abi::HtpInfrastructure* infrastructure = nullptr;
  ASSERT_EQ(library->api().device_get_infrastructure(&infrastructure), 0u);
  uint32_t id = 0;
  EXPECT_NE(infrastructure->create_power_config_id(1, 0, &id), 0u);
  ASSERT_EQ(infrastructure->create_power_config_id(0, 0, &id), 0u);
  abi::HtpPowerConfig config{};
  config.option = abi::HtpPowerOption::kRpcPollingTime;
  config.u32 = 10000;
  const abi::HtpPowerConfig* list[] = {&config, nullptr};
  EXPECT_NE(infrastructure->set_power_config(id, list), 0u);
  config.u32 = 9999;
  EXPECT_EQ(infrastructure->set_power_config(id, list), 0u);
  EXPECT_NE(infrastructure->set_power_config(id, nullptr), 0u);
  EXPECT_EQ(infrastructure->destroy_power_config_id(id), 0u);
  EXPECT_NE(infrastructure->set_power_config(id, list), 0u);
  EXPECT_NE(infrastructure->destroy_power_config_id(id), 0u);
}

TEST(RpcMemory, NoLibraryNoFunctions) {
  const auto code_of = [](std::vector<std::string> candidates) {
    try {
      RpcMemory::open(candidates);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kInternal;
  };
  EXPECT_EQ(code_of({}), ErrorCode::kLibraryNotFound);
  EXPECT_EQ(code_of({"libnothing-of-this-name.so", "/nowhere/libcdsprpc.so"}), ErrorCode::kLibraryNotFound);
  EXPECT_EQ(code_of({"libm.so.6"}), ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace lutra::qnn
