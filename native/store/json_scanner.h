// A scanner for the small part of JSON that a safetensors header uses: objects, arrays, strings and non-negative integers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace lutra::store {

/// What was expected and at which byte; the caller adds the file.
class JsonError : public std::runtime_error {
 public:
  JsonError(const std::string& message, size_t offset) : std::runtime_error(message + " at byte " + std::to_string(offset)) {}
};

/// True when `text` is well-formed UTF-8 (no overlong forms, no surrogates, nothing above U+10FFFF).
bool is_utf8(std::string_view text) noexcept;

/// Text of an untrusted file for a message: in quotes, not endless, without control characters.
std::string quote(std::string_view text);

/// Walks over a text from front to back; the caller knows the grammar, so there is no recursion and no depth to limit. The text must be UTF-8 (is_utf8).
/// Everything throws JsonError when the text is something else.
class JsonScanner {
 public:
  explicit JsonScanner(std::string_view text) noexcept : text_(text) {}

  /// The next token must be `c` and is consumed.
  void expect(char c);
  /// Consumes `c` if it is the next token.
  bool accept(char c) noexcept;
  /// A string with its escapes resolved, as UTF-8.
  std::string string();
  /// An integer in 0 … 2^64−1, without sign, fraction or exponent.
  uint64_t integer();
  /// Nothing but white space may be left.
  void end();

  size_t offset() const noexcept { return at_; }
  [[noreturn]] void fail(const std::string& message) const { throw JsonError(message, at_); }

 private:
  void skip_space() noexcept;
  uint32_t hex4();
  void escape(std::string& out);

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace lutra::store
