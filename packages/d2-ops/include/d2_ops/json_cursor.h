// Steps through JSON text that is known to be plain: numbers, and text with simple escapes. Every
// function returns false for what it does not read; the caller then gives up, and a full parser
// says what is wrong, if anything is.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>

// libc++ reads floating-point numbers from 20 on, without a macro that says so, and the one that
// macOS brings came later than the oldest macOS we run on.
#if defined(__cpp_lib_to_chars) || (_LIBCPP_VERSION >= 200000 && !defined(__APPLE__))
#define D2_OPS_HAVE_FLOAT_FROM_CHARS
#else
#include <locale.h>
#include <stdlib.h>
#if defined(__APPLE__)
#include <xlocale.h>
#endif

#include <cmath>
#endif

namespace d2_ops {

class JsonCursor {
 public:
  JsonCursor(const char* begin, const char* end) : at_(begin), end_(end) {}

  const char* position() const { return at_; }

  bool at_end() {
    skip_blanks();
    return at_ == end_;
  }

  // Steps over this character, and the blanks before it, if it comes next.
  bool take(char wanted) {
    skip_blanks();
    if (at_ == end_ || *at_ != wanted) return false;
    ++at_;
    return true;
  }

  bool comes(char wanted) {
    skip_blanks();
    return at_ != end_ && *at_ == wanted;
  }

  // A key without escapes, and the colon behind it.
  bool key(std::string_view* name) {
    if (!take('"')) return false;
    const char* begin = at_;
    while (at_ != end_ && *at_ != '"' && *at_ != '\\') ++at_;
    if (at_ == end_ || *at_ != '"') return false;
    *name = {begin, static_cast<size_t>(at_++ - begin)};
    return take(':');
  }

  // Appends text whose escapes, if any, are of \, " and /.
  bool text(std::string* out) {
    if (!take('"')) return false;
    for (;;) {
      const char* begin = at_;
      while (at_ != end_ && *at_ != '"' && *at_ != '\\' && static_cast<unsigned char>(*at_) >= 0x20) ++at_;
      out->append(begin, at_ - begin);
      if (at_ == end_) return false;
      if (*at_ == '"') {
        ++at_;
        return true;
      }
      if (*at_ != '\\' || ++at_ == end_ || (*at_ != '\\' && *at_ != '"' && *at_ != '/')) return false;
      out->push_back(*at_++);
    }
  }

  bool integer(int64_t* value) {
    bool whole;
    const std::string_view digits = number_text(&whole);
    if (digits.empty() || !whole) return false;
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), *value);
    return read.ec == std::errc{} && read.ptr == digits.data() + digits.size();
  }

  bool number(double* value) {
    bool whole;
    const std::string_view digits = number_text(&whole);
    return !digits.empty() && number_of(digits, value);
  }

  // Steps over any value.
  bool skip(int depth = 0) {
    skip_blanks();
    if (at_ == end_ || depth > kDeepest) return false;
    if (*at_ == '"') return skip_text();
    if (*at_ == '[') return skip_list(depth);
    if (*at_ == '{') return skip_object(depth);
    for (const std::string_view word : {"true", "false", "null"})
      if (static_cast<size_t>(end_ - at_) >= word.size() && std::memcmp(at_, word.data(), word.size()) == 0) {
        at_ += word.size();
        return true;
      }
    bool whole;
    return !number_text(&whole).empty();
  }

 private:
  static constexpr int kDeepest = 64;

  void skip_blanks() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\t' || *at_ == '\r')) ++at_;
  }

  bool digits() {
    const char* begin = at_;
    while (at_ != end_ && *at_ >= '0' && *at_ <= '9') ++at_;
    return at_ != begin;
  }

  // A number as JSON writes it; empty for anything else.
  std::string_view number_text(bool* whole) {
    skip_blanks();
    const char* begin = at_;
    if (at_ != end_ && *at_ == '-') ++at_;
    const char* first = at_;
    if (!digits() || (*first == '0' && at_ - first > 1)) return {};
    *whole = true;
    if (at_ != end_ && *at_ == '.') {
      *whole = false;
      ++at_;
      if (!digits()) return {};
    }
    if (at_ != end_ && (*at_ == 'e' || *at_ == 'E')) {
      *whole = false;
      ++at_;
      if (at_ != end_ && (*at_ == '+' || *at_ == '-')) ++at_;
      if (!digits()) return {};
    }
    return {begin, static_cast<size_t>(at_ - begin)};
  }

  static bool number_of(std::string_view digits, double* value) {
#if defined(D2_OPS_HAVE_FLOAT_FROM_CHARS)
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), *value);
    return read.ec == std::errc{};
#else  // the program's own locale may write its decimals with a comma
    static const locale_t plain = newlocale(LC_ALL_MASK, "C", static_cast<locale_t>(nullptr));
    *value = strtod_l(std::string(digits).c_str(), nullptr, plain);
    return std::isfinite(*value);
#endif
  }

  bool skip_text() {
    for (++at_; at_ != end_; ++at_) {
      if (static_cast<unsigned char>(*at_) < 0x20) return false;
      if (*at_ == '"') {
        ++at_;
        return true;
      }
      if (*at_ == '\\' && ++at_ == end_) return false;
    }
    return false;
  }

  bool skip_list(int depth) {
    take('[');
    if (take(']')) return true;
    do {
      if (!skip(depth + 1)) return false;
    } while (take(','));
    return take(']');
  }

  bool skip_object(int depth) {
    std::string_view name;
    take('{');
    if (take('}')) return true;
    do {
      if (!key(&name) || !skip(depth + 1)) return false;
    } while (take(','));
    return take('}');
  }

  const char *at_, *end_;
};

}  // namespace d2_ops
