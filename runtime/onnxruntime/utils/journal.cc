#include "utils/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "speaker_engine/error.h"

namespace speaker {
namespace {

// Fields of a line: "done", id, location and bytes of the archive; or "failed", id and why.
std::string field(const std::string& line, int index) {
  std::size_t start = 0;
  for (int n = 0; n < index; ++n) {
    start = line.find('\t', start);
    if (start == std::string::npos) return "";
    ++start;
  }
  return line.substr(start, line.find('\t', start) - start);
}

std::string one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char letter) { return letter == '\n' || letter == '\t' || letter == '\r'; }, ' ');
  return text;
}

}  // namespace

Journal::Journal(const std::string& scp_path, const std::string& fingerprint) : scp_path_(scp_path), path_(scp_path) {
  lock();
  file_ = std::make_unique<OutputFile>(path_, true);
  resume(fingerprint);
}

Journal::~Journal() {
  if (lock_ >= 0) ::close(lock_);
}

void Journal::lock() {
  const std::string partial = path_ + ".partial";
  lock_ = ::open(partial.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock_ < 0) throw Error(scp_path_, "cannot be written");
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    ::close(lock_);
    lock_ = -1;
    throw Error(scp_path_, "another run writes it", "wait for it, or name another scp");
  }
}

void Journal::count(const std::string& line) {
  if (line.rfind("done\t", 0) == 0) {
    ++num_done_;
    store_size_ = std::strtoull(field(line, 3).c_str(), nullptr, 10);
  } else {
    ++num_failed_;
  }
}

// Counts whole lines; one that was cut off when the run was killed is dropped.
void Journal::resume(const std::string& fingerprint) {
  std::ifstream old(path_ + ".partial", std::ios::binary);
  std::string line;
  std::uint64_t whole = 0;
  if (std::getline(old, line) && !old.eof() && line == fingerprint) {
    whole = line.size() + 1;
    while (std::getline(old, line) && !old.eof()) {
      count(line);
      whole += line.size() + 1;
    }
  }
  file_->cut(whole);
  if (whole == 0) file_->write(fingerprint + "\n");
}

void Journal::add_done(const std::string& id, const std::string& location, std::uint64_t store_size) {
  const std::string line = "done\t" + id + "\t" + location + "\t" + std::to_string(store_size);
  file_->write(line + "\n");
  count(line);
}

void Journal::add_failed(const std::string& id, const std::string& why) {
  const std::string line = "failed\t" + id + "\t" + one_line(why);
  file_->write(line + "\n");
  count(line);
}

void Journal::publish() {
  std::ifstream journal(path_ + ".partial", std::ios::binary);
  OutputFile scp(scp_path_);
  OutputFile failed(scp_path_ + ".failed");
  std::string line;
  std::getline(journal, line);  // the fingerprint
  while (std::getline(journal, line)) {
    const bool is_done = line.rfind("done\t", 0) == 0;
    (is_done ? scp : failed).write(field(line, 1) + " " + field(line, 2) + "\n");
  }
  ::unlink((scp_path_ + ".failed").c_str());  // of an earlier run
  if (num_failed_) failed.publish();
  if (num_done_) scp.publish();
  ::unlink((path_ + ".partial").c_str());
}

}  // namespace speaker
