#include "faults.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <thread>

namespace faulty {
namespace {

using abi::Slot;

const std::map<std::string, Slot>& slots() {
  static const std::map<std::string, Slot> names = {
      {"backendCreate", Slot::kBackendCreate},
      {"backendGetBuildId", Slot::kBackendGetBuildId},
      {"backendGetSupportedOperations", Slot::kBackendGetSupportedOperations},
      {"backendValidateOpConfig", Slot::kBackendValidateOpConfig},
      {"backendFree", Slot::kBackendFree},
      {"contextCreate", Slot::kContextCreate},
      {"contextGetBinarySize", Slot::kContextGetBinarySize},
      {"contextGetBinary", Slot::kContextGetBinary},
      {"contextCreateFromBinary", Slot::kContextCreateFromBinary},
      {"contextFree", Slot::kContextFree},
      {"graphCreate", Slot::kGraphCreate},
      {"graphAddNode", Slot::kGraphAddNode},
      {"graphFinalize", Slot::kGraphFinalize},
      {"graphRetrieve", Slot::kGraphRetrieve},
      {"graphExecute", Slot::kGraphExecute},
      {"tensorCreateGraphTensor", Slot::kTensorCreateGraphTensor},
      {"logCreate", Slot::kLogCreate},
      {"logFree", Slot::kLogFree},
      {"profileCreate", Slot::kProfileCreate},
      {"profileGetEvents", Slot::kProfileGetEvents},
      {"profileGetSubEvents", Slot::kProfileGetSubEvents},
      {"profileGetEventData", Slot::kProfileGetEventData},
      {"profileFree", Slot::kProfileFree},
      {"deviceGetInfrastructure", Slot::kDeviceGetInfrastructure},
      {"deviceCreate", Slot::kDeviceCreate},
      {"deviceFree", Slot::kDeviceFree},
  };
  return names;
}

template <class Value>
Value choose(const std::string& word, const std::map<std::string, Value>& values, Config& config) {
  const auto found = values.find(word);
  if (found != values.end()) return found->second;
  config.error = "unknown word '" + word + "'";
  return values.begin()->second;
}

size_t read_slot(std::istream& words, Config& config) {
  std::string name;
  words >> name;
  const size_t slot = slot_of(name);
  if (slot == kSlots) config.error = "unknown slot '" + name + "'";
  return slot;
}

/// Commands that describe a fault of a call.
bool read_fault(const std::string& command, std::istream& words, Config& config) {
  std::string word;
  if (command == "fail") {
    Fault fault{Kind::kFail, read_slot(words, config), 1, kForEver};
    words >> fault.first >> fault.last >> fault.code;
    config.faults.push_back(fault);
  } else if (command == "hang") {
    Fault fault{Kind::kHang, read_slot(words, config), 1, kForEver};
    words >> fault.first >> fault.ms;
    fault.last = fault.first;
    if (fault.ms == 0) fault.ms = kForEver;
    config.faults.push_back(fault);
  } else if (command == "crash") {
    Fault fault{Kind::kCrash, read_slot(words, config), 1, kForEver};
    words >> fault.first >> word;
    fault.last = fault.first;
    fault.death = choose<Death>(word, {{"segv", Death::kSegv}, {"abort", Death::kAbort}, {"exit", Death::kExit}}, config);
    config.faults.push_back(fault);
  } else if (command == "wrong") {
    Fault fault{Kind::kWrong, static_cast<size_t>(Slot::kGraphExecute), 1, kForEver};
    words >> word >> fault.first >> fault.last;
    fault.wrong = choose<Wrong>(
        word, {{"noise", Wrong::kNoise}, {"zeros", Wrong::kZeros}, {"nan", Wrong::kNan}, {"stale", Wrong::kStale}, {"shift", Wrong::kShift}}, config);
    config.faults.push_back(fault);
  } else {
    return false;
  }
  return true;
}

/// Commands that say what the library looks like, and what it does all the time.
bool read_property(const std::string& command, std::istream& words, Config& config) {
  std::string word;
  if (command == "inner") {
    std::getline(words >> std::ws, config.inner);
  } else if (command == "provider") {
    words >> config.provider;
  } else if (command == "build") {
    words >> config.build;
  } else if (command == "version") {
    config.has_version = true;
    words >> config.major >> config.minor;
  } else if (command == "providers") {
    config.has_providers = true;
    words >> config.providers;
  } else if (command == "null") {
    config.null_slots.push_back(read_slot(words, config));
  } else if (command == "swap") {
    words >> config.op >> config.instead;
  } else if (command == "weights") {
    config.damaged_weights = true;
  } else if (command == "binary") {
    words >> word;
    (choose<bool>(word, {{"corrupt", true}, {"short", false}}, config) ? config.corrupt_binary : config.short_binary) = true;
  } else if (command == "garbage") {
    words >> word;
    (choose<bool>(word, {{"provider", true}, {"build", false}}, config) ? config.garbage_provider : config.garbage_build) = true;
  } else if (command == "flood") {
    words >> config.flood_threads;
  } else {
    return false;
  }
  return true;
}

[[noreturn]] void die(Death death) {
  if (death == Death::kExit) _exit(70);
  if (death == Death::kAbort) std::abort();
  // The default action, whatever the program has installed: a crash inside a driver is not the program's to catch.
  std::signal(SIGSEGV, SIG_DFL);
  std::raise(SIGSEGV);
  _exit(71);
}

int64_t modified_ns(const std::string& file) {
  struct stat facts {};
  if (stat(file.c_str(), &facts) != 0) return 0;
  return int64_t{facts.st_mtim.tv_sec} * 1'000'000'000 + facts.st_mtim.tv_nsec;
}

/// What is to become of the results of the call under way.
thread_local std::optional<Wrong> results_of_call;

}  // namespace

size_t slot_of(const std::string& name) {
  const auto found = slots().find(name);
  return found == slots().end() ? kSlots : static_cast<size_t>(found->second);
}

Config read_config(const std::string& file) {
  Config config;
  std::ifstream in(file);
  if (!in) config.error = "cannot read " + file;
  for (std::string line; std::getline(in, line) && config.error.empty();) {
    std::istringstream words(line);
    std::string command;
    if (!(words >> command)) continue;
    if (!read_fault(command, words, config) && !read_property(command, words, config)) config.error = "unknown command '" + command + "'";
    if (words.fail()) config.error = "'" + line + "' is incomplete";
  }
  return config;
}

Control& Control::get() {
  static auto& control = *new Control;  // never destroyed: threads that hang look at it to the last
  return control;
}

Control::Control() {
  Dl_info self{};
  dladdr(reinterpret_cast<const void*>(&read_config), &self);
  base_ = self.dli_fname == nullptr ? "" : self.dli_fname;
  const size_t bytes = 2 * kSlots * sizeof(uint64_t);
  const int file = open((base_ + ".state").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) return;
  if (ftruncate(file, static_cast<off_t>(bytes)) == 0) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory != MAP_FAILED) counters_ = static_cast<std::atomic<uint64_t>*>(memory);
  }
  close(file);
  refresh();
}

void Control::refresh() {
  const std::string file = base_ + ".fault";
  const int64_t stamp = modified_ns(file);
  const std::lock_guard lock(mutex_);
  if (stamp == stamp_ns_) return;
  stamp_ns_ = stamp;
  ++generation_;
  config_ = read_config(file);
}

Config Control::config() {
  refresh();
  const std::lock_guard lock(mutex_);
  return config_;
}

void Control::hang(uint64_t ms) {
  const auto begin = std::chrono::steady_clock::now();
  uint64_t generation = 0;
  {
    const std::lock_guard lock(mutex_);
    generation = generation_;
  }
  // A test lets the call go on by writing the file again.
  for (;;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    refresh();
    const std::lock_guard lock(mutex_);
    const auto elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin).count();
    if (generation != generation_ || static_cast<uint64_t>(elapsed) >= ms) return;
  }
}

bool Control::strikes(size_t slot, abi::Status& status) {
  refresh();
  const uint64_t call = counters_ == nullptr ? 0 : counters_[slot].fetch_add(1) + 1;
  results_of_call.reset();
  std::vector<Fault> due;
  {
    const std::lock_guard lock(mutex_);
    for (const Fault& fault : config_.faults) {
      if (fault.slot == slot && call >= fault.first && call <= fault.last) due.push_back(fault);
    }
  }
  for (const Fault& fault : due) {
    switch (fault.kind) {
      case Kind::kFail: status = fault.code; return true;
      case Kind::kHang: hang(fault.ms); break;
      case Kind::kCrash: die(fault.death);
      case Kind::kWrong: results_of_call = fault.wrong; break;
    }
  }
  return false;
}

void Control::succeeded(size_t slot) {
  if (counters_ != nullptr) counters_[kSlots + slot].fetch_add(1);
}

std::optional<Wrong> Control::wrong() const { return results_of_call; }

}  // namespace faulty
