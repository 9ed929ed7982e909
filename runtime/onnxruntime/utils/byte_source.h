// Bytes that are read at any place: of a file, which is not held in memory, or of a buffer.
//   FileSource file("a.wav"); file.read_at(0, header, 12);
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace speaker {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual std::uint64_t size() const = 0;
  // The number of bytes that are there, up to `count`.
  virtual std::size_t read_at(std::uint64_t offset, void* to, std::size_t count) const = 0;
};

class MemorySource : public ByteSource {
 public:
  explicit MemorySource(std::vector<std::uint8_t> bytes) : bytes_(std::move(bytes)) {}
  std::uint64_t size() const override { return bytes_.size(); }
  std::size_t read_at(std::uint64_t offset, void* to, std::size_t count) const override;

 private:
  std::vector<std::uint8_t> bytes_;
};

class FileSource : public ByteSource {
 public:
  // Throws Error where `path` is no file that can be read. What cannot be sought in, such as a named pipe, is read
  // into memory at once.
  explicit FileSource(const std::string& path);
  ~FileSource() override;
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;
  std::uint64_t size() const override { return size_; }
  std::size_t read_at(std::uint64_t offset, void* to, std::size_t count) const override;

 private:
  std::string path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
  bool in_memory_ = false;
  std::vector<std::uint8_t> bytes_;
};

// All that the open file `descriptor` gives, at most `limit` bytes; Error names `name`.
std::vector<std::uint8_t> read_all(int descriptor, const std::string& name, std::uint64_t limit);

// The whole of the file `path`, at most `limit` bytes.
std::vector<std::uint8_t> read_file(const std::string& path, std::uint64_t limit);

}  // namespace speaker
