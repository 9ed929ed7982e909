// A test is a program: CHECK counts what does not hold, and main returns finish().
//   CHECK(1 + 1 == 2); CHECK_NEAR(a, b, 1e-6); CHECK_THROWS(call(), "part of its message");
#pragma once

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>

#include "speaker_engine/error.h"

inline int num_failed = 0;

#define CHECK(condition)                                                         \
  do {                                                                           \
    if (!(condition)) {                                                          \
      ++num_failed;                                                              \
      std::printf("%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
    }                                                                            \
  } while (false)

#define CHECK_NEAR(found, expected, tolerance)                                          \
  do {                                                                                  \
    const double a_ = static_cast<double>(found), b_ = static_cast<double>(expected);   \
    if (!(std::abs(a_ - b_) <= (tolerance))) {                                          \
      ++num_failed;                                                                     \
      std::printf("%s:%d: %s is %.9g, not %.9g\n", __FILE__, __LINE__, #found, a_, b_); \
    }                                                                                   \
  } while (false)

#define CHECK_THROWS(call, part)                                                               \
  do {                                                                                         \
    std::string why_ = "nothing is thrown";                                                    \
    try {                                                                                      \
      static_cast<void>(call);                                                                 \
    } catch (const speaker::Error& error_) {                                                   \
      why_ = error_.what();                                                                    \
    }                                                                                          \
    if (why_.find(part) == std::string::npos || why_.find('\n') != std::string::npos) {        \
      ++num_failed;                                                                            \
      std::printf("%s:%d: '%s' does not hold '%s'\n", __FILE__, __LINE__, why_.c_str(), part); \
    }                                                                                          \
  } while (false)

inline int finish() {
  if (num_failed) std::printf("%d failed\n", num_failed);
  return num_failed != 0;
}

// A folder of its own, removed at the end.
class TestFolder {
 public:
  TestFolder() : path_(std::filesystem::temp_directory_path() / ("speaker_engine_test_" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~TestFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(*this / name, std::ios::binary) << content;
    return *this / name;
  }

 private:
  std::filesystem::path path_;
};

inline std::string content_of(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}
