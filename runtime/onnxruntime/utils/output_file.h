// Files that appear whole or not at all: written beside their place and renamed at the end.
//   OutputFile file("out/a.embedding"); file.write(text); file.publish();
#pragma once

#include <cstdint>
#include <string>

namespace speaker {

class OutputFile {
 public:
  // `is_kept`: what was written survives a program that is killed, under `path`.partial, for a later run to go on with.
  explicit OutputFile(const std::string& path, bool is_kept = false);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  // Throws Error where it cannot be written.
  void write(const void* data, std::size_t size);
  void write(const std::string& text) { write(text.data(), text.size()); }
  void cut(std::uint64_t size);
  std::uint64_t size() const { return size_; }
  void publish();

 private:
  void failed(const char* what) const;
  std::string path_, temporary_;
  bool is_kept_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

// The folder `path` and those above it. Throws Error where it cannot be made.
void make_folder(const std::string& path);

// The folder that `path` lies in, made where it is not there.
void make_folder_of(const std::string& path);

// A file name for `id`, another one for each id: letters, digits, '.', '_' and '-' stay, all else is written %XX.
std::string file_name_of(const std::string& id);

}  // namespace speaker
