// Audio that is not WAV, such as FLAC, through libsndfile where the build found it; else an Error that says so.
//   SoundFile file(source, "a.flac"); file.read_channel(0);
#pragma once

#include <string>
#include <vector>

#include "utils/audio.h"
#include "utils/byte_source.h"

namespace speaker {

class SoundFile {
 public:
  SoundFile(const ByteSource& source, const std::string& name);
  ~SoundFile();
  SoundFile(const SoundFile&) = delete;
  SoundFile& operator=(const SoundFile&) = delete;
  const AudioFormat& format() const { return format_; }
  std::vector<float> read_channel(int channel);

 private:
  struct Stream;
  Stream* stream_ = nullptr;
  std::string name_;
  AudioFormat format_;
};

}  // namespace speaker
