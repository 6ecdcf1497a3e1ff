// What a client knows of a device before it uses it: the path of the DSP's libraries, the platform, FastRPC's memory.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "hostnpu/hostnpu.h"
#include "qnn/adsp_path.h"
#include "qnn/platform.h"
#include "qnn/rpc_memory.h"

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
