// Lists "utt_id path", read line by line: memory does not grow with their length.
//   const ScpSummary all = check_scp("wav.scp"); ScpReader list("wav.scp"); for (ScpEntry e; list.next(e);) ...
#pragma once

#include <cstdint>
#include <fstream>
#include <istream>
#include <memory>
#include <string>

namespace speaker {

struct ScpEntry {
  std::string id;
  std::string source;  // a path, which may hold spaces, or a command that ends in |
  std::uint64_t line = 0;
  bool is_command() const { return !source.empty() && source.back() == '|'; }
  // Without the |.
  std::string command() const { return source.substr(0, source.size() - 1); }
};

class ScpReader {
 public:
  explicit ScpReader(const std::string& path);
  ScpReader(std::unique_ptr<std::istream> stream, std::string name);
  // False at the end. Throws Error where a line has no path, or is no text.
  bool next(ScpEntry& entry);
  std::uint64_t num_bytes() const { return num_bytes_; }

 private:
  bool read_line(std::string& line);
  std::string name_;
  std::unique_ptr<std::istream> stream_;
  std::uint64_t line_ = 0;
  std::uint64_t num_bytes_ = 0;
};

struct ScpSummary {
  std::uint64_t num_entries = 0;
  std::string sha256;  // of ids and sources
};

// Reads the whole list once. Throws Error where a line is bad, an id comes twice, or nothing is in it.
ScpSummary check_scp(const std::string& path);

}  // namespace speaker
