#include "utils/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "speaker_engine/error.h"

namespace speaker {
namespace {

constexpr std::uint64_t kMostInMemory = std::uint64_t{1} << 32;  // of what cannot be sought in

std::string system_error() { return std::strerror(errno); }  // NOLINT: glibc's is thread-safe

std::size_t from_bytes(const std::vector<std::uint8_t>& bytes, std::uint64_t offset, void* to, std::size_t count) {
  if (offset >= bytes.size()) return 0;
  const std::size_t there = std::min<std::uint64_t>(count, bytes.size() - offset);
  if (there) std::memcpy(to, bytes.data() + offset, there);
  return there;
}

}  // namespace

std::size_t MemorySource::read_at(std::uint64_t offset, void* to, std::size_t count) const {
  return from_bytes(bytes_, offset, to, count);
}

FileSource::FileSource(const std::string& path) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) throw Error(path, errno == ENOENT ? "no such file" : "cannot be read: " + system_error());
  struct stat found {};
  if (::fstat(descriptor_, &found) == 0 && S_ISREG(found.st_mode)) {
    size_ = static_cast<std::uint64_t>(found.st_size);
    return;
  }
  const int descriptor = descriptor_;
  try {
    if (S_ISDIR(found.st_mode)) throw Error(path, "is a folder", "give a file");
    in_memory_ = true;
    bytes_ = read_all(descriptor, path, kMostInMemory);
    size_ = bytes_.size();
  } catch (...) {
    ::close(descriptor);
    throw;
  }
}

FileSource::~FileSource() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::size_t FileSource::read_at(std::uint64_t offset, void* to, std::size_t count) const {
  if (in_memory_) return from_bytes(bytes_, offset, to, count);
  std::size_t done = 0;
  while (done < count) {
    const ssize_t got =
        ::pread(descriptor_, static_cast<char*>(to) + done, count - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw Error(path_, "cannot be read: " + system_error());
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

std::vector<std::uint8_t> read_all(int descriptor, const std::string& name, std::uint64_t limit) {
  std::vector<std::uint8_t> bytes;
  std::vector<std::uint8_t> block(1 << 16);
  for (;;) {
    const ssize_t got = ::read(descriptor, block.data(), block.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw Error(name, "cannot be read: " + system_error());
    if (got == 0) return bytes;
    if (bytes.size() + static_cast<std::size_t>(got) > limit)
      throw Error(name, "holds more than " + std::to_string(limit) + " bytes", "cut it into parts");
    bytes.insert(bytes.end(), block.begin(), block.begin() + got);
  }
}

std::vector<std::uint8_t> read_file(const std::string& path, std::uint64_t limit) {
  const FileSource file(path);
  if (file.size() > limit) throw Error(path, "holds more than " + std::to_string(limit) + " bytes");
  std::vector<std::uint8_t> bytes(file.size());
  bytes.resize(file.read_at(0, bytes.data(), bytes.size()));
  return bytes;
}

}  // namespace speaker
