#include "utils/sound_file.h"

#include "speaker_engine/error.h"

#ifdef SPEAKER_ENGINE_SNDFILE

#include <sndfile.h>

#include <algorithm>

namespace speaker {
namespace {

constexpr sf_count_t kMostFrames = sf_count_t{1} << 30;
constexpr int kBlockFrames = 1 << 14;

int bits_of(int format) {
  switch (format & SF_FORMAT_SUBMASK) {
    case SF_FORMAT_PCM_S8:
    case SF_FORMAT_PCM_U8:
      return 8;
    case SF_FORMAT_PCM_16:
      return 16;
    case SF_FORMAT_PCM_24:
      return 24;
    case SF_FORMAT_PCM_32:
    case SF_FORMAT_FLOAT:
      return 32;
    default:
      return 0;
  }
}

}  // namespace

struct SoundFile::Stream {
  const ByteSource& source;
  sf_count_t position = 0;
  SNDFILE* file = nullptr;

  static sf_count_t length(void* self) { return static_cast<sf_count_t>(static_cast<Stream*>(self)->source.size()); }
  static sf_count_t seek(sf_count_t offset, int whence, void* self) {
    auto* stream = static_cast<Stream*>(self);
    const sf_count_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? stream->position : length(self);
    return stream->position = std::max<sf_count_t>(0, from + offset);
  }
  static sf_count_t read(void* to, sf_count_t count, void* self) {
    auto* stream = static_cast<Stream*>(self);
    try {
      const auto got =
          stream->source.read_at(static_cast<std::uint64_t>(stream->position), to, static_cast<std::size_t>(count));
      stream->position += static_cast<sf_count_t>(got);
      return static_cast<sf_count_t>(got);
    } catch (const std::exception&) {  // no exception may cross the library, which is C
      return 0;
    }
  }
  static sf_count_t write(const void*, sf_count_t, void*) { return 0; }
  static sf_count_t tell(void* self) { return static_cast<Stream*>(self)->position; }
};

SoundFile::SoundFile(const ByteSource& source, const std::string& name) : stream_(new Stream{source}), name_(name) {
  SF_VIRTUAL_IO io{Stream::length, Stream::seek, Stream::read, Stream::write, Stream::tell};
  SF_INFO info{};
  stream_->file = sf_open_virtual(&io, SFM_READ, &info, stream_);
  std::string why;
  if (!stream_->file) why = std::string("damaged or not audio: ") + sf_strerror(nullptr);
  if (stream_->file && (info.frames <= 0 || info.frames > kMostFrames)) why = "states no length that can be read";
  if (!why.empty()) {
    if (stream_->file) sf_close(stream_->file);
    delete stream_;
    throw Error(name, why);
  }
  format_ = {info.samplerate, info.channels, bits_of(info.format), static_cast<std::uint64_t>(info.frames)};
}

SoundFile::~SoundFile() {
  sf_close(stream_->file);
  delete stream_;
}

std::vector<float> SoundFile::read_channel(int channel) {
  std::vector<float> samples;
  std::vector<float> block(static_cast<std::size_t>(kBlockFrames) * static_cast<std::size_t>(format_.num_channels));
  while (const sf_count_t got = sf_readf_float(stream_->file, block.data(), kBlockFrames)) {
    if (got < 0) break;
    for (sf_count_t n = 0; n < got; ++n)
      samples.push_back(block[static_cast<std::size_t>(n * format_.num_channels + channel)]);
  }
  if (samples.size() < format_.num_frames)
    throw Error(name_,
                "truncated: " + std::to_string(format_.num_frames - samples.size()) + " of " +
                    std::to_string(format_.num_frames) + " frames are missing",
                "copy it again");
  return samples;
}

}  // namespace speaker

#else

namespace speaker {

struct SoundFile::Stream {};

SoundFile::SoundFile(const ByteSource&, const std::string& name) {
  throw Error(name, "is no WAV file, and this build has no libsndfile",
              "convert it, or install libsndfile1-dev and build again");
}
SoundFile::~SoundFile() = default;
std::vector<float> SoundFile::read_channel(int) { return {}; }

}  // namespace speaker

#endif
