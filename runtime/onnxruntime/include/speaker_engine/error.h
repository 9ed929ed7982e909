// The one type of exception that the library throws: what is wrong in one line, and what to do.
//   throw speaker::Error("a.wav", "is cut off", "copy it again");  // a.wav: is cut off; copy it again
#pragma once

#include <stdexcept>
#include <string>

namespace speaker {

class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& line) : std::runtime_error(line) {}
  Error(const std::string& where, const std::string& why, const std::string& fix = "")
      : std::runtime_error(where + ": " + why + (fix.empty() ? "" : "; " + fix)) {}
};

}  // namespace speaker
