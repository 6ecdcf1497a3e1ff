#include <gtest/gtest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "store/json_scanner.h"
#include "store/mapped_file.h"
#include "store/safetensors.h"
#include "store/weight_store.h"

namespace lutra::store {
namespace {

namespace fs = std::filesystem;

class Store : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("lutra-store-test-" + std::to_string(getpid()) + "-" + ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& bytes) const {
    const std::string path = (folder_ / name).string();
    fs::remove(path);  // some file systems write a truncated file out on every close
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  fs::path folder_;
};

std::string length_prefix(uint64_t n) {
  std::string out;
  for (int i = 0; i < 8; ++i) out.push_back(static_cast<char>(n >> (8 * i)));
  return out;
}

std::string file_of(const std::string& header, const std::string& data) { return length_prefix(header.size()) + header + data; }

/// Expects that `call` throws Error(code) whose message has all of `parts`.
void expect_error(ErrorCode code, const std::vector<std::string>& parts, const std::function<void()>& call, const std::string& what = {}) {
  try {
    call();
  } catch (const Error& e) {
    EXPECT_STREQ(error_code_name(e.code()), error_code_name(code)) << what << ": " << e.what();
    for (const std::string& part : parts) EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << what << ": " << e.what();
    EXPECT_FALSE(e.remedy().empty());
    return;
  }
  ADD_FAILURE() << "no error: " << what;
}

std::string bytes_of(std::initializer_list<float> values) {
  std::string out;
  for (float value : values) {
    char raw[4];
    std::memcpy(raw, &value, 4);
    out.append(raw, 4);
  }
  return out;
}

TEST_F(Store, AFileThatShrinksReadsAsZerosAndIsKnownToBeTorn) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const std::string path = write("shrinking", std::string(4 * page, 'x')), other = write("whole", std::string(4 * page, 'y'));
  MappedFile file(path);
  const MappedFile whole(other);
  const auto at = [&](size_t i) { return std::to_integer<int>(*const_cast<const volatile std::byte*>(file.bytes().data() + i)); };
  EXPECT_EQ(at(3 * page), 'x');
  fs::resize_file(path, page);
  EXPECT_FALSE(file.torn());
  EXPECT_EQ(at(0), 'x');
  EXPECT_EQ(at(2 * page), 0);
  EXPECT_TRUE(file.torn());
  EXPECT_EQ(at(3 * page), 0);
  EXPECT_FALSE(whole.torn());
  const MappedFile moved(std::move(file));
  EXPECT_TRUE(moved.torn());
  const MappedFile again(path);
  EXPECT_FALSE(again.torn());
}

TEST_F(Store, ABusErrorElsewhereEndsTheProcessAsEver) {
  const std::string path = write("foreign", std::string(8192, 'x')), own = write("own", "own");
  EXPECT_EXIT(
      {
        std::signal(SIGBUS, SIG_DFL);  // sanitizers have a handler of their own
        const MappedFile mapped(own);
        const int fd = open(path.c_str(), O_RDONLY);
        const volatile char* foreign = static_cast<const volatile char*>(mmap(nullptr, 8192, PROT_READ, MAP_PRIVATE, fd, 0));
        fs::resize_file(path, 0);
        std::exit(foreign[5000]);
      },
      ::testing::KilledBySignal(SIGBUS), "");
}

TEST_F(Store, MapsFiles) {
  const MappedFile file(write("a", "hello"));
  ASSERT_EQ(file.size(), 5u);
  EXPECT_EQ(std::memcmp(file.bytes().data(), "hello", 5), 0);
  const MappedFile empty(write("empty", ""));
  EXPECT_EQ(empty.size(), 0u);
  empty.advise(MappedFile::Advice::kWillNeed, 0, 10);
  expect_error(ErrorCode::kNotFound, {"/no/such/file"}, [] { MappedFile missing("/no/such/file"); });
  expect_error(ErrorCode::kIo, {folder_.string()}, [&] { MappedFile directory(folder_.string()); });
  expect_error(ErrorCode::kIo, {"/dev/null"}, [&] { MappedFile device("/dev/null"); });
}

TEST_F(Store, AdviceKeepsContents) {
  std::string text(300'000, '\0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 31 >> 3);
  MappedFile first(write("big", text));
  MappedFile file = std::move(first);
  EXPECT_EQ(first.size(), 0u);  // NOLINT: a moved-from file is empty by contract
  for (auto advice : {MappedFile::Advice::kWillNeed, MappedFile::Advice::kSequential, MappedFile::Advice::kDontNeed}) {
    for (size_t offset : {size_t{0}, size_t{1}, size_t{4095}, size_t{4096}, size_t{299'999}, size_t{300'000}, size_t{1} << 50}) {
      for (size_t length : {size_t{0}, size_t{1}, size_t{5000}, size_t{300'000}, ~size_t{0}}) file.advise(advice, offset, length);
    }
  }
  EXPECT_EQ(std::memcmp(file.bytes().data(), text.data(), text.size()), 0);
}

TEST_F(Store, ReadsTensors) {
  const std::string header =
      "{\"__metadata__\":{\"format\":\"pt\",\"k\\u00e9y\":\"\\ud83e\\udda6 \\\"otter\\\"\"},"
      " \"b.weight\" : {\"dtype\":\"F32\",\"shape\":[2, 3],\"data_offsets\":[8,32]},\n"
      "\"a\":{\"shape\":[4],\"data_offsets\":[0,8],\"dtype\":\"BF16\"},"
      "\"scalar\":{\"dtype\":\"I8\",\"shape\":[],\"data_offsets\":[32,33]},"
      "\"none\":{\"dtype\":\"F64\",\"shape\":[0,7],\"data_offsets\":[33,33]}}   ";
  const std::string data = std::string("\x01\x02\x03\x04\x05\x06\x07\x08", 8) + bytes_of({1, 2, 3, 4, 5, -6.5f}) + "\xff";
  // Padded so that the F32 data lands on a multiple of 4.
  const std::string path = write("m.safetensors", file_of(header + std::string((8 - header.size() % 8) % 8, ' '), data));
  SafetensorsFile loaded(path);
  const SafetensorsFile file = std::move(loaded);
  EXPECT_EQ(file.tensors().size(), 4u);
  EXPECT_EQ(file.data_bytes(), 33u);
  const Tensor& b = file.tensors().at("b.weight");
  EXPECT_EQ(b.description(), "F32 [2, 3]");
  EXPECT_EQ(b.elements(), 6u);
  EXPECT_EQ(b.as<float>(TensorType::kF32)[5], -6.5f);
  expect_error(ErrorCode::kBadFile, {"b.weight", "F32 [2, 3]", "F16"}, [&] { b.as<uint16_t>(TensorType::kF16); });
  const Tensor& scalar = file.tensors().at("scalar");
  EXPECT_EQ(scalar.elements(), 1u);
  EXPECT_EQ(scalar.as<int8_t>(TensorType::kI8)[0], -1);
  EXPECT_EQ(file.tensors().at("none").elements(), 0u);
  EXPECT_EQ(file.tensors().at("a").as<uint16_t>(TensorType::kBF16)[0], 0x0201);
}

TEST_F(Store, UnalignedDataIsAnErrorNotAFault) {
  std::string header = R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  while ((header.size() + 8) % 4 != 1) header += ' ';
  const SafetensorsFile file(write("odd", file_of(header, bytes_of({1}))));
  expect_error(ErrorCode::kBadFile, {"'x'", "aligned to 4"}, [&] { file.tensors().at("x").as<float>(TensorType::kF32); });
}

TEST_F(Store, AcceptsTheSmallestFiles) {
  EXPECT_EQ(SafetensorsFile(write("a", file_of("{}", ""))).tensors().size(), 0u);
  EXPECT_EQ(SafetensorsFile(write("b", file_of("{ \"__metadata__\" : { } } ", ""))).tensors().size(), 0u);
}

struct Malformed {
  const char* what;
  std::string header;
  std::string data;
  const char* part;  // of the message
};

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

TEST_F(Store, RefusesMalformedHeaders) {
  const std::string four(4, '\1'), eight(8, '\1');
  const std::vector<Malformed> cases = {
      {"empty header", "", "", "begin with '{'"},
      {"not JSON", "hello there", "", "begin with '{'"},
      {"leading space", " {}", "", "begin with '{'"},
      {"array", "[]", "", "begin with '{'"},
      {"unfinished", "{", "", "expected '\"'"},
      {"no value", "{\"a\"}", four, "expected ':'"},
      {"text after the end", "{}x", "", "after the end"},
      {"two objects", "{}{}", "", "after the end"},
      {"trailing comma", "{\"a\":" + entry("F32", "[1]", "[0,4]") + ",}", four, "expected '\"'"},
      {"tensor is a string", "{\"a\":\"b\"}", four, "expected '{'"},
      {"tensor is null", "{\"a\":null}", four, "expected '{'"},
      {"empty tensor", "{\"a\":{}}", four, "expected '\"'"},
      {"unknown dtype", "{\"a\":" + entry("F31", "[1]", "[0,4]") + "}", four, "unknown dtype 'F31'"},
      {"lower-case dtype", "{\"a\":" + entry("f32", "[1]", "[0,4]") + "}", four, "unknown dtype"},
      {"no dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", four, "lacks dtype"},
      {"no shape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", four, "lacks dtype"},
      {"no offsets", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", four, "lacks dtype"},
      {"one offset", "{\"a\":" + entry("F32", "[1]", "[4]") + "}", four, "two data_offsets"},
      {"three offsets", "{\"a\":" + entry("F32", "[1]", "[0,4,4]") + "}", four, "more than 2 numbers"},
      {"dtype twice", "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", four, "second 'dtype'"},
      {"unknown key", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", four, "unknown key 'x'"},
      {"negative offset", "{\"a\":" + entry("F32", "[1]", "[-4,0]") + "}", four, "non-negative integer"},
      {"fractional shape", "{\"a\":" + entry("F32", "[1.0]", "[0,4]") + "}", four, "expected an integer"},
      {"exponent", "{\"a\":" + entry("F32", "[1e0]", "[0,4]") + "}", four, "expected an integer"},
      {"leading zero", "{\"a\":" + entry("F32", "[01]", "[0,4]") + "}", four, "leading zero"},
      {"integer too large", "{\"a\":" + entry("F32", "[18446744073709551616]", "[0,4]") + "}", four, "above 2^64"},
      {"nested shape", "{\"a\":" + entry("F32", "[[1]]", "[0,4]") + "}", four, "non-negative integer"},
      {"string shape", "{\"a\":" + entry("F32", "\"1\"", "[0,4]") + "}", four, "expected '['"},
      {"shape larger than the data", "{\"a\":" + entry("F32", "[2]", "[0,4]") + "}", four, "needs 8 bytes"},
      {"shape smaller than the data", "{\"a\":" + entry("F16", "[1]", "[0,4]") + "}", four, "needs 2 bytes"},
      {"shape overflows", "{\"a\":" + entry("F32", "[4294967296,4294967296]", "[0,4]") + "}", four, "overflows"},
      {"shape overflows to the right size", "{\"a\":" + entry("F32", "[9223372036854775809,2]", "[0,8]") + "}", eight, "overflows"},
      {"begin after end", "{\"a\":" + entry("F32", "[1]", "[4,0]") + "}", four, "data_offsets [4, 0]"},
      {"end beyond the file", "{\"a\":" + entry("F32", "[2]", "[0,8]") + "}", four, "there are 4 bytes"},
      {"huge offsets", "{\"a\":" + entry("U8", "[1]", "[18446744073709551614,18446744073709551615]") + "}", four, "there are 4 bytes"},
      {"hole at the front", "{\"a\":" + entry("F32", "[1]", "[4,8]") + "}", eight, "hole of 4 bytes before tensor 'a'"},
      {"hole between", "{\"a\":" + entry("U8", "[2]", "[0,2]") + ",\"b\":" + entry("U8", "[4]", "[4,8]") + "}", eight, "hole of 2"},
      {"bytes after the last", "{\"a\":" + entry("F32", "[1]", "[0,4]") + "}", eight, "4 bytes after the last"},
      {"data without tensors", "{}", eight, "8 bytes after the last"},
      {"overlap", "{\"a\":" + entry("U8", "[6]", "[0,6]") + ",\"b\":" + entry("U8", "[4]", "[4,8]") + "}", eight, "overlaps"},
      {"alias", "{\"a\":" + entry("U8", "[8]", "[0,8]") + ",\"b\":" + entry("U8", "[8]", "[0,8]") + "}", eight, "overlaps"},
      {"name twice", "{\"a\":" + entry("U8", "[4]", "[0,4]") + ",\"a\":" + entry("U8", "[4]", "[4,8]") + "}", eight, "appears twice"},
      {"name twice by an escape", "{\"a\":" + entry("U8", "[4]", "[0,4]") + ",\"\\u0061\":" + entry("U8", "[4]", "[4,8]") + "}", eight, "appears twice"},
      {"metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", "", "second __metadata__"},
      {"metadata of numbers", "{\"__metadata__\":{\"a\":1}}", "", "expected '\"'"},
      {"unfinished metadata", "{\"__metadata__\":{\"a\":\"1\"", "", "expected '}'"},
      {"more dimensions than any tensor", "{\"a\":" + entry("U8", "[4,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,4]") + "}", four, "more than 16 numbers"},
      {"unfinished name", "{\"a", four, "unfinished string"},
      {"control character", "{\"a\nb\":" + entry("U8", "[4]", "[0,4]") + "}", four, "control character"},
      {"unknown escape", "{\"\\x\":" + entry("U8", "[4]", "[0,4]") + "}", four, "unknown escape"},
      {"short escape", "{\"\\u12", four, "hexadecimal"},
      {"lone surrogate", "{\"\\ud800\":" + entry("U8", "[4]", "[0,4]") + "}", four, "surrogate"},
      {"lone low surrogate", "{\"\\udc00\":" + entry("U8", "[4]", "[0,4]") + "}", four, "surrogate"},
      {"bad pair", "{\"\\ud800\\u0041\":" + entry("U8", "[4]", "[0,4]") + "}", four, "surrogate"},
      {"not UTF-8", "{\"\xff\":" + entry("U8", "[4]", "[0,4]") + "}", four, "not UTF-8"},
      {"overlong UTF-8", "{\"\xc0\x80\":" + entry("U8", "[4]", "[0,4]") + "}", four, "not UTF-8"},
      {"surrogate in UTF-8", "{\"\xed\xa0\x80\":" + entry("U8", "[4]", "[0,4]") + "}", four, "not UTF-8"},
  };
  for (const Malformed& c : cases) {
    const std::string path = write("bad.safetensors", file_of(c.header, c.data));
    expect_error(ErrorCode::kBadFile, {path, c.part}, [&] { SafetensorsFile file(path); }, c.what);
  }
  std::string deep = "{\"a\":" + std::string(100'000, '[') + "}";
  expect_error(ErrorCode::kBadFile, {"expected '{'"}, [&] { SafetensorsFile file(write("deep", file_of(deep, ""))); });
}

TEST_F(Store, RefusesForeignAndTruncatedFiles) {
  for (size_t length = 0; length < 8; ++length) {
    expect_error(ErrorCode::kBadFile, {std::to_string(length) + " bytes"}, [&] { SafetensorsFile file(write("short", std::string(length, '\0'))); });
  }
  expect_error(ErrorCode::kBadFile, {"header"}, [&] { SafetensorsFile file(write("gguf", "GGUF" + std::string(100, '\1'))); });
  expect_error(ErrorCode::kBadFile, {"100000001 bytes"}, [&] { SafetensorsFile file(write("huge", length_prefix(100'000'001) + "{}")); });
  expect_error(ErrorCode::kBadFile, {"18446744073709551615"}, [&] { SafetensorsFile file(write("most", length_prefix(~uint64_t{0}) + "{}")); });
  expect_error(ErrorCode::kBadFile, {"file ends after 2"}, [&] { SafetensorsFile file(write("cut", length_prefix(3) + "{}")); });
  const std::string whole = file_of("{\"a\":" + entry("F32", "[2]", "[0,8]") + "}", std::string(8, 'x'));
  SafetensorsFile good(write("good", whole));
  for (size_t length = 0; length < whole.size(); ++length) {
    expect_error(ErrorCode::kBadFile, {}, [&] { SafetensorsFile file(write("part", whole.substr(0, length))); }, std::to_string(length));
  }
}

TEST_F(Store, DamagedFilesNeverGetTensorsOutside) {
  const std::string header = "{\"a\":" + entry("F32", "[2]", "[0,8]") + ",\"b\":" + entry("U8", "[3,2]", "[8,14]") + ",\"__metadata__\":{\"x\":\"y\"}}";
  const std::string whole = file_of(header, std::string(14, 'x'));
  std::mt19937 random(7);
  int loaded = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string damaged = whole;
    const int changes = 1 + static_cast<int>(random() % 3);
    for (int i = 0; i < changes; ++i) {
      // Half of the changes keep to the characters of headers, so that many files get past the scanner.
      const char c = random() % 2 == 0 ? static_cast<char>(random()) : "0123456789[]{},:\"UF8"[random() % 20];
      damaged[random() % damaged.size()] = c;
    }
    const std::string path = write("damaged", damaged);
    try {
      const SafetensorsFile file(path);
      ++loaded;
      for (const auto& [name, tensor] : file.tensors()) {
        ASSERT_GE(tensor.data.data(), file.file().bytes().data());
        ASSERT_LE(tensor.data.data() + tensor.data.size(), file.file().bytes().data() + file.file().size());
        uint64_t count = 1;
        for (uint64_t dim : tensor.shape) count *= dim;
        ASSERT_EQ(count, tensor.elements());
      }
    } catch (const Error& e) {
      ASSERT_EQ(e.code(), ErrorCode::kBadFile) << e.what();
    }
  }
  EXPECT_GT(loaded, 20);  // otherwise the loop above tested nothing
}

TEST_F(Store, JoinsFiles) {
  const std::string cpu = write("cpu", file_of("{\"embed\":" + entry("U8", "[3]", "[0,3]") + ",\"__pad0\":" + entry("U8", "[5]", "[3,8]") + "}", "abcdefgh"));
  const std::string npu = write("npu", file_of("{\"layers.0.q.w8\":" + entry("I8", "[2,1]", "[0,2]") + ",\"__pad0\":" + entry("U8", "[1]", "[2,3]") + "}", "XYZ"));
  WeightStore opened = WeightStore::open(std::vector<std::string>{cpu, npu});
  const Tensor* before = &opened.find("embed");
  const WeightStore store = std::move(opened);
  EXPECT_EQ(&store.find("embed"), before);
  EXPECT_TRUE(store.contains("layers.0.q.w8"));
  EXPECT_FALSE(store.contains("__pad0"));
  EXPECT_FALSE(store.contains("layers.0.q"));
  EXPECT_EQ(store.total_bytes(), 11u);
  EXPECT_EQ(std::memcmp(store.find("layers.0.q.w8").data.data(), "XY", 2), 0);
  EXPECT_EQ(store.find("embed").shape, std::vector<uint64_t>{3});
  expect_error(ErrorCode::kNotFound, {"'layers.0.q'", cpu, npu, "layers.0.q.w8"}, [&] { store.find("layers.0.q"); });
  expect_error(ErrorCode::kBadFile, {"embed", cpu}, [&] { WeightStore::open(std::vector<std::string>{cpu, cpu}); });
  expect_error(ErrorCode::kNotFound, {"/no/file"}, [&] { WeightStore::open(std::vector<std::string>{cpu, "/no/file"}); });
  expect_error(ErrorCode::kNotFound, {"without files"}, [] { WeightStore::open({}).find("x"); });
}

size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  size_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * 4096;
}

TEST_F(Store, ReleaseDropsResidentPages) {
  const size_t size = size_t{16} << 20;
  const std::string path = write("big", file_of("{\"x\":" + entry("U8", "[" + std::to_string(size) + "]", "[0," + std::to_string(size) + "]") + "}", std::string(size, 'q')));
  const WeightStore store = WeightStore::open(std::vector<std::string>{path});
  const Tensor& x = store.find("x");
  size_t sum = 0;
  for (std::byte b : x.data) sum += static_cast<size_t>(b);
  EXPECT_EQ(sum, size * 'q');
  const size_t before = resident_bytes();
  store.release(x);
  EXPECT_LT(resident_bytes() + size / 2, before);
  EXPECT_EQ(x.data[size - 1], std::byte{'q'});  // and it is still there
}

TEST(Utf8, QuotesForMessages) {
  EXPECT_EQ(quote("a\nb"), "'a?b'");
  const std::string cut = quote(std::string(79, 'x') + "é and more");  // byte 80 is in the middle of é
  EXPECT_EQ(cut, "'" + std::string(79, 'x') + "…'");
}

TEST(Utf8, KnowsTheEdges) {
  for (const char* good : {"", "a", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(is_utf8(good)) << good;
  }
  for (const char* bad : {"\x80", "\xc1\xbf", "\xc2", "\xc2\x41", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xe2\x82", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "a\xff"}) {
    EXPECT_FALSE(is_utf8(bad)) << bad;
  }
}

}  // namespace
}  // namespace lutra::store
