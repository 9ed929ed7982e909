#include "utils/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "speaker_engine/error.h"
#include "utils/sha256.h"
#include "utils/text.h"

namespace speaker {
namespace {

constexpr std::size_t kLongestName = 200;  // file systems end at 255 bytes, suffix included

}  // namespace

OutputFile::OutputFile(const std::string& path, bool is_kept)
    : path_(path),
      temporary_(path + (is_kept ? ".partial" : formatted(".%d.tmp", static_cast<int>(::getpid())))),
      is_kept_(is_kept) {
  const int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (is_kept ? 0 : O_TRUNC);
  descriptor_ = ::open(temporary_.c_str(), flags, 0666);
  if (descriptor_ < 0) failed("cannot be written");
  struct stat found {};
  if (is_kept && ::fstat(descriptor_, &found) == 0) {
    size_ = static_cast<std::uint64_t>(found.st_size);
    ::lseek(descriptor_, 0, SEEK_END);
  }
}

OutputFile::~OutputFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  if (!is_kept_) ::unlink(temporary_.c_str());
}

void OutputFile::failed(const char* what) const { throw Error(path_, std::string(what) + ": " + std::strerror(errno)); }

void OutputFile::write(const void* data, std::size_t size) {
  for (std::size_t done = 0; done < size;) {
    const ssize_t got = ::write(descriptor_, static_cast<const char*>(data) + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) failed("cannot be written");
    done += static_cast<std::size_t>(got);
  }
  size_ += size;
}

void OutputFile::cut(std::uint64_t size) {
  if (::ftruncate(descriptor_, static_cast<off_t>(size)) != 0 || ::lseek(descriptor_, 0, SEEK_END) < 0)
    failed("cannot be cut");
  size_ = size;
}

void OutputFile::publish() {
  const int descriptor = descriptor_;
  descriptor_ = -1;
  if (::close(descriptor) != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    if (!is_kept_) ::unlink(temporary_.c_str());
    failed("cannot be written");
  }
}

void make_folder(const std::string& path) {
  std::error_code problem;
  std::filesystem::create_directories(path, problem);
  if (!std::filesystem::is_directory(path, problem))
    throw Error(path, "the folder cannot be made", "give a folder that may be written");
}

void make_folder_of(const std::string& path) {
  const auto parent = std::filesystem::path(path).parent_path();
  if (!parent.empty()) make_folder(parent.string());
}

std::string file_name_of(const std::string& id) {
  std::string name;
  for (const char letter : id) {
    const auto byte = static_cast<unsigned char>(letter);
    const bool is_plain =
        byte < 0x80 && (std::isalnum(byte) || letter == '_' || letter == '-' || (letter == '.' && !name.empty()));
    name += is_plain ? std::string(1, letter) : formatted("%%%02X", byte);
  }
  if (name.size() <= kLongestName) return name;
  const std::string digest = sha256_hex(reinterpret_cast<const std::uint8_t*>(id.data()), id.size());
  return name.substr(0, 100) + "~" + digest.substr(0, 32);  // ~ is in no other name
}

}  // namespace speaker
