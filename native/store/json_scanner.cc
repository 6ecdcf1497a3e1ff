#include "store/json_scanner.h"

namespace lutra::store {
namespace {

void append_utf8(uint32_t code, std::string& out) {
  const auto tail = [&](int shift) { out.push_back(static_cast<char>(0x80 | ((code >> shift) & 0x3f))); };
  if (code < 0x80) {
    out.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    out.push_back(static_cast<char>(0xc0 | (code >> 6)));
    tail(0);
  } else if (code < 0x10000) {
    out.push_back(static_cast<char>(0xe0 | (code >> 12)));
    tail(6);
    tail(0);
  } else {
    out.push_back(static_cast<char>(0xf0 | (code >> 18)));
    tail(12);
    tail(6);
    tail(0);
  }
}

}  // namespace

bool is_utf8(std::string_view text) noexcept {
  size_t i = 0;
  while (i < text.size()) {
    const uint8_t lead = static_cast<uint8_t>(text[i]);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const int tails = lead >= 0xc2 && lead <= 0xdf ? 1 : (lead & 0xf0) == 0xe0 ? 2 : lead >= 0xf0 && lead <= 0xf4 ? 3 : 0;
    if (tails == 0 || text.size() - i <= static_cast<size_t>(tails)) return false;
    uint32_t code = lead & (0x3fu >> tails);
    for (int k = 1; k <= tails; ++k) {
      const uint8_t byte = static_cast<uint8_t>(text[i + k]);
      if ((byte & 0xc0) != 0x80) return false;
      code = code << 6 | (byte & 0x3fu);
    }
    if (tails == 2 && (code < 0x800 || (code >= 0xd800 && code <= 0xdfff))) return false;
    if (tails == 3 && (code < 0x10000 || code > 0x10ffff)) return false;
    i += static_cast<size_t>(tails) + 1;
  }
  return true;
}

std::string quote(std::string_view text) {
  std::string out = "'";
  for (char c : text.substr(0, 80)) out.push_back(static_cast<uint8_t>(c) < 0x20 || c == 0x7f ? '?' : c);
  // Not in the middle of a character.
  if (text.size() > 80) {
    while (!out.empty() && !is_utf8(out)) out.pop_back();
    out += "…";
  }
  return out + "'";
}

void JsonScanner::skip_space() noexcept {
  while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t')) ++at_;
}

bool JsonScanner::accept(char c) noexcept {
  skip_space();
  if (at_ >= text_.size() || text_[at_] != c) return false;
  ++at_;
  return true;
}

void JsonScanner::expect(char c) {
  if (!accept(c)) fail(std::string("expected '") + c + "'");
}

void JsonScanner::end() {
  skip_space();
  if (at_ != text_.size()) fail("text after the end");
}

uint32_t JsonScanner::hex4() {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) fail("expected four hexadecimal digits");
    value = value << 4 | static_cast<uint32_t>(digit);
    ++at_;
  }
  return value;
}

void JsonScanner::escape(std::string& out) {
  if (at_ >= text_.size()) fail("unfinished string");
  const char c = text_[at_++];
  switch (c) {
    case '"': case '\\': case '/': out.push_back(c); return;
    case 'b': out.push_back('\b'); return;
    case 'f': out.push_back('\f'); return;
    case 'n': out.push_back('\n'); return;
    case 'r': out.push_back('\r'); return;
    case 't': out.push_back('\t'); return;
    case 'u': break;
    default: fail("unknown escape in a string");
  }
  uint32_t code = hex4();
  if (code >= 0xdc00 && code <= 0xdfff) fail("lone surrogate in a string");
  if (code >= 0xd800 && code <= 0xdbff) {
    if (text_.substr(at_, 2) != "\\u") fail("lone surrogate in a string");
    at_ += 2;
    const uint32_t low = hex4();
    if (low < 0xdc00 || low > 0xdfff) fail("lone surrogate in a string");
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  }
  append_utf8(code, out);
}

std::string JsonScanner::string() {
  expect('"');
  std::string out;
  while (true) {
    if (at_ >= text_.size()) fail("unfinished string");
    const char c = text_[at_++];
    if (c == '"') return out;
    if (static_cast<uint8_t>(c) < 0x20) fail("control character in a string");
    if (c == '\\') {
      escape(out);
    } else {
      out.push_back(c);
    }
  }
}

uint64_t JsonScanner::integer() {
  skip_space();
  const size_t begin = at_;
  uint64_t value = 0;
  while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
    const uint64_t digit = static_cast<uint64_t>(text_[at_] - '0');
    if (value > (UINT64_MAX - digit) / 10) fail("integer above 2^64");
    value = value * 10 + digit;
    ++at_;
  }
  if (at_ == begin) fail("expected a non-negative integer");
  if (text_[begin] == '0' && at_ - begin > 1) fail("integer with a leading zero");
  if (at_ < text_.size() && (text_[at_] == '.' || text_[at_] == 'e' || text_[at_] == 'E')) fail("expected an integer");
  return value;
}

}  // namespace lutra::store
