// JSON from files, which may be anybody's: nested so deep that copying or printing it would overflow the stack, it is
// refused while it is read.
//   const auto found = parse_json<nlohmann::json>(text);
#pragma once

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

namespace speaker {

constexpr int kDeepestJson = 32;

// Throws what nlohmann/json throws where it is no JSON, and std::out_of_range where it is nested too deep.
template <typename Json>
Json parse_json(const std::string& text) {
  const auto limit = [](int depth, typename Json::parse_event_t, Json&) {
    if (depth > kDeepestJson) throw std::out_of_range("nested too deep");
    return true;
  };
  return Json::parse(text, limit, true, true);
}

}  // namespace speaker
