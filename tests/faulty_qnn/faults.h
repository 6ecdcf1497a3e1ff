// The faults of libQnnFaulty as data, read from the file that lies beside it. See faulty.cc.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "qnn/abi.h"

namespace faulty {

namespace abi = lutra::qnn::abi;

inline constexpr size_t kSlots = abi::kSlotsOfNewestClients;
inline constexpr uint64_t kForEver = UINT64_MAX;

/// What happens instead of a call, or after it.
enum class Kind { kFail, kHang, kCrash, kWrong };
enum class Death { kSegv, kAbort, kExit };
/// What becomes of the outputs of an execution. kStale: they are not written at all.
enum class Wrong { kNoise, kZeros, kNan, kStale, kShift };

struct Fault {
  Kind kind;
  size_t slot;
  uint64_t first, last;     // calls of the slot, counted from 1, that it strikes
  abi::Status code = 0;     // kFail
  uint64_t ms = kForEver;   // kHang
  Death death = Death::kSegv;
  Wrong wrong = Wrong::kNoise;
};

struct Config {
  std::string inner;                     // path of the library that does the work
  std::string provider;                  // empty: the inner one's name
  std::string build;                     // empty: the inner one's build id
  bool has_version = false;
  uint32_t major = 0, minor = 0;
  bool has_providers = false;
  uint32_t providers = 1;
  std::vector<size_t> null_slots;
  std::vector<Fault> faults;
  bool garbage_provider = false;         // the provider's name is a wild pointer
  bool garbage_build = false;
  uint32_t flood_threads = 0;            // that log as fast as they can while a log exists
  std::string op, instead;               // nodes of type `op` are built as `instead`
  bool damaged_weights = false;          // the first half of every S8 constant is zero
  bool short_binary = false, corrupt_binary = false;
  std::string error;                     // what of the file was not understood
};

/// One command a line:
///   inner PATH · provider NAME · build ID · version MAJOR MINOR · providers COUNT · null SLOT
///   fail SLOT FIRST LAST CODE · hang SLOT FIRST MS (0: for ever) · crash SLOT FIRST segv|abort|exit
///   wrong noise|zeros|nan|stale|shift FIRST LAST · swap OP INSTEAD · weights · binary short|corrupt
///   garbage provider|build · flood THREADS
Config read_config(const std::string& file);

/// "graphExecute" → its position; kSlots when there is none.
size_t slot_of(const std::string& name);

/// The state of this copy of the library: the configuration, read again whenever its file changes, and the counters, which other processes see in a file
/// of 2 × kSlots 64-bit words: calls of every slot, then those that returned 0.
class Control {
 public:
  static Control& get();

  Config config();
  /// Counts a call of `slot` and carries out what stands before it. True: the call is not to be made, `status` is its result.
  bool strikes(size_t slot, abi::Status& status);
  void succeeded(size_t slot);
  /// What is to become of the results of the call that was counted last on this thread.
  std::optional<Wrong> wrong() const;

 private:
  Control();
  void refresh();
  void hang(uint64_t ms);

  std::string base_;
  std::mutex mutex_;
  Config config_;
  int64_t stamp_ns_ = -1;
  uint64_t generation_ = 0;
  std::atomic<uint64_t>* counters_ = nullptr;
};

}  // namespace faulty
