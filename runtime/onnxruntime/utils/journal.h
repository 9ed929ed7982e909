// What a run over a list has done so far, on disk, so that a killed run can be resumed; at its end it becomes the scp.
//   Journal journal("embedding.scp", fingerprint); journal.add_done("utt1", "out/utt1.embedding", 0);
//   journal.publish();
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "utils/output_file.h"

namespace speaker {

class Journal {
 public:
  // `fingerprint`: of everything that results depend on; what a run with another one left is thrown away.
  Journal(const std::string& scp_path, const std::string& fingerprint);
  ~Journal();
  std::uint64_t num_entries() const { return num_done_ + num_failed_; }
  std::uint64_t num_failed() const { return num_failed_; }
  std::uint64_t store_size() const { return store_size_; }  // of the archive behind the last entry

  void add_done(const std::string& id, const std::string& location, std::uint64_t store_size);
  void add_failed(const std::string& id, const std::string& why);
  // Writes the scp in the order of the list, and <scp>.failed where something failed, and removes the journal.
  void publish();

 private:
  void lock();
  void resume(const std::string& fingerprint);
  void count(const std::string& line);
  std::string scp_path_, path_;
  int lock_ = -1;
  std::unique_ptr<OutputFile> file_;
  std::uint64_t num_done_ = 0, num_failed_ = 0, store_size_ = 0;
};

}  // namespace speaker
