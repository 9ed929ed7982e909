// Numbers as text.
//   formatted("%.2f s", 1.5)  // 1.50 s
#pragma once

#include <cstdio>
#include <string>

namespace speaker {

template <typename... Values>
std::string formatted(const char* pattern, Values... values) {
  const int length = std::snprintf(nullptr, 0, pattern, values...);
  std::string text(static_cast<std::size_t>(length < 0 ? 0 : length) + 1, '\0');
  std::snprintf(text.data(), text.size(), pattern, values...);
  text.pop_back();
  return text;
}

}  // namespace speaker
