#include "utils/scp_reader.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <vector>

#include "speaker_engine/error.h"
#include "utils/sha256.h"

namespace speaker {
namespace {

constexpr std::size_t kMostBytes = 1 << 20;  // of a line
constexpr char kBlank[] = " \t\r\v\f";

std::unique_ptr<std::istream> opened(const std::string& path) {
  std::error_code problem;
  const auto status = std::filesystem::status(path, problem);
  if (!std::filesystem::exists(status)) throw Error(path, "no such file", "give a list of lines 'utt_id path'");
  if (!std::filesystem::is_regular_file(status))
    throw Error(path, "is no file", "a list is read twice: write it to a file");
  auto stream = std::make_unique<std::ifstream>(path, std::ios::binary);
  if (!*stream) throw Error(path, "cannot be read");
  return stream;
}

std::string place(const std::string& name, std::uint64_t line) { return name + ":" + std::to_string(line); }

// Which id comes twice, of the lines whose ids share one of `hashes`.
void refuse_repeated(const std::string& path, const std::vector<std::size_t>& hashes) {
  std::map<std::string, std::uint64_t> seen;
  ScpReader list(path);
  for (ScpEntry entry; list.next(entry);) {
    if (!std::binary_search(hashes.begin(), hashes.end(), std::hash<std::string>()(entry.id))) continue;
    const auto [known, is_new] = seen.emplace(entry.id, entry.line);
    if (!is_new)
      throw Error(place(path, entry.line), "'" + entry.id + "' is in line " + std::to_string(known->second) + " too",
                  "give each recording an id of its own");
  }
}

}  // namespace

ScpReader::ScpReader(const std::string& path) : name_(path), stream_(opened(path)) {}
ScpReader::ScpReader(std::unique_ptr<std::istream> stream, std::string name)
    : name_(std::move(name)), stream_(std::move(stream)) {}

bool ScpReader::read_line(std::string& line) {
  line.clear();
  for (int letter = stream_->get(); letter != std::char_traits<char>::eof(); letter = stream_->get()) {
    ++num_bytes_;
    if (letter == '\n') return true;
    if (line.size() >= kMostBytes)
      throw Error(place(name_, line_ + 1), "is longer than a line of a list", "is it a list?");
    line.push_back(static_cast<char>(letter));
  }
  if (stream_->bad()) throw Error(name_, "cannot be read");
  return !line.empty();
}

bool ScpReader::next(ScpEntry& entry) {
  std::string line;
  for (;;) {
    if (!read_line(line)) return false;
    ++line_;
    if (line.find('\0') != std::string::npos) throw Error(place(name_, line_), "holds a zero byte", "is it a list?");
    if (line.find_first_not_of(kBlank) != std::string::npos) break;
  }
  const auto start = line.find_first_not_of(kBlank);
  const auto id_end = line.find_first_of(kBlank, start);
  const auto source = id_end == std::string::npos ? id_end : line.find_first_not_of(kBlank, id_end);
  if (source == std::string::npos)
    throw Error(place(name_, line_), "'" + line.substr(start) + "' has no path", "a line is 'utt_id path'");
  entry.id = line.substr(start, id_end - start);
  entry.source = line.substr(source, line.find_last_not_of(kBlank) + 1 - source);
  entry.line = line_;
  return true;
}

ScpSummary check_scp(const std::string& path) {
  ScpSummary summary;
  Sha256 digest;
  std::vector<std::size_t> hashes;  // of the ids: eight bytes for each line, and no more
  ScpReader list(path);
  for (ScpEntry entry; list.next(entry);) {
    hashes.push_back(std::hash<std::string>()(entry.id));
    const std::string both = entry.id + " " + entry.source + "\n";
    digest.add(reinterpret_cast<const std::uint8_t*>(both.data()), both.size());
    ++summary.num_entries;
  }
  if (summary.num_entries == 0) throw Error(path, "is empty", "give a list of lines 'utt_id path'");
  std::sort(hashes.begin(), hashes.end());
  std::vector<std::size_t> repeated;
  for (std::size_t n = 1; n < hashes.size(); ++n)
    if (hashes[n] == hashes[n - 1]) repeated.push_back(hashes[n]);
  if (!repeated.empty()) refuse_repeated(path, repeated);
  summary.sha256 = digest.hex();
  return summary;
}

}  // namespace speaker
