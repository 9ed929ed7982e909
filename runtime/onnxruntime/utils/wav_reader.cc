#include "utils/wav_reader.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>

#include "speaker_engine/error.h"

namespace speaker {
namespace {

constexpr std::uint64_t kStreamed =
    0x7FFF0000;  // writers to a pipe state 0x7FFFF000 (sox) to 0xFFFFFFFF (ffmpeg) bytes
constexpr std::uint64_t kMostFrames = std::uint64_t{1} << 30;
constexpr int kMostChannels = 1024;
constexpr std::size_t kBlockBytes = 1 << 18;

std::uint16_t u16(const std::uint8_t* at) { return static_cast<std::uint16_t>(at[0] | at[1] << 8); }
std::uint32_t u32(const std::uint8_t* at) { return u16(at) | static_cast<std::uint32_t>(u16(at + 2)) << 16; }
std::uint64_t u64(const std::uint8_t* at) { return u32(at) | static_cast<std::uint64_t>(u32(at + 4)) << 32; }

struct Chunk {
  char name[4] = {};
  std::uint64_t offset = 0;  // of its content
  std::uint64_t size = 0;    // as stated
  bool is(const char* other) const { return std::memcmp(name, other, 4) == 0; }
};

std::optional<Chunk> chunk_at(const ByteSource& source, std::uint64_t position) {
  std::uint8_t head[8];
  if (source.read_at(position, head, 8) < 8) return std::nullopt;
  Chunk chunk;
  std::memcpy(chunk.name, head, 4);
  chunk.offset = position + 8;
  chunk.size = u32(head + 4);
  return chunk;
}

// Fields of the "fmt " chunk that belong to each other.
void check_format(const WavFormat& wav, int block_bytes, const std::string& name) {
  if (wav.num_channels < 1 || wav.num_channels > kMostChannels)
    throw Error(name, "states " + std::to_string(wav.num_channels) + " channels",
                "the header is damaged; write the file again");
  if (wav.sample_rate < 1)
    throw Error(name, "states a sample rate of 0", "the header is damaged; write the file again");
  const bool fits = block_bytes == wav.sample_bytes * wav.num_channels && wav.sample_bytes * 8 >= wav.bits_per_sample;
  const std::map<WavEncoding, std::pair<int, int>> bytes = {{WavEncoding::kPcm, {1, 4}},
                                                            {WavEncoding::kFloat, {4, 8}},
                                                            {WavEncoding::kMuLaw, {1, 1}},
                                                            {WavEncoding::kALaw, {1, 1}}};
  const auto [least, most] = bytes.at(wav.encoding);
  const bool is_odd_float = wav.encoding == WavEncoding::kFloat && wav.sample_bytes != 4 && wav.sample_bytes != 8;
  if (!fits || wav.bits_per_sample < 1 || wav.sample_bytes < least || wav.sample_bytes > most || is_odd_float)
    throw Error(name,
                std::to_string(wav.bits_per_sample) + " bits per sample in blocks of " + std::to_string(block_bytes) +
                    " bytes are not read",
                "convert it: sox FILE -b 16 OUT.wav");
}

WavFormat parse_format(const ByteSource& source, const Chunk& chunk, const std::string& name) {
  std::uint8_t body[40] = {};
  const std::size_t there = source.read_at(chunk.offset, body, std::min<std::uint64_t>(chunk.size, sizeof body));
  if (there < 16) throw Error(name, "its format chunk is cut off", "write the file again");
  std::uint16_t tag = u16(body);
  if (tag == 0xFFFE) {  // EXTENSIBLE: the tag is the start of a GUID
    if (there < 40) throw Error(name, "its extended format chunk is cut off", "write the file again");
    tag = u16(body + 24);
  }
  static const std::map<std::uint16_t, WavEncoding> encodings = {
      {1, WavEncoding::kPcm}, {3, WavEncoding::kFloat}, {6, WavEncoding::kALaw}, {7, WavEncoding::kMuLaw}};
  const auto encoding = encodings.find(tag);
  if (encoding == encodings.end())
    throw Error(name, "is WAV of encoding " + std::to_string(tag) + ", which is not read",
                "convert it: sox FILE -e signed -b 16 OUT.wav");
  WavFormat wav;
  wav.encoding = encoding->second;
  wav.num_channels = u16(body + 2);
  const std::uint32_t rate = u32(body + 4);
  wav.sample_rate = rate <= 0x7FFFFFFF ? static_cast<int>(rate) : 0;
  wav.bits_per_sample = u16(body + 14);
  const int block_bytes = u16(body + 12);
  wav.sample_bytes = wav.num_channels ? block_bytes / wav.num_channels : 0;
  check_format(wav, block_bytes, name);
  return wav;
}

// Bytes of samples that are there; `riff_size` tells whether a length of 0 only means that nobody knew.
std::uint64_t data_bytes(const ByteSource& source, const Chunk& data, std::uint64_t riff_size,
                         const std::string& name) {
  const std::uint64_t there = source.size() > data.offset ? source.size() - data.offset : 0;
  const bool is_unknown = data.size == 0 && (riff_size <= data.offset - 8 || riff_size >= kStreamed);
  if (is_unknown) return there;
  if (data.size <= there) return data.size;
  if (data.size >= kStreamed && data.size <= 0xFFFFFFFF) return there;
  throw Error(
      name, "truncated: " + std::to_string(there) + " of " + std::to_string(data.size) + " bytes of samples are there",
      "copy it again");
}

float mu_law(std::uint8_t code) {
  code = static_cast<std::uint8_t>(~code);
  const int step = (((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4);
  return static_cast<float>(code & 0x80 ? 0x84 - step : step - 0x84) / 32768.0F;
}

float a_law(std::uint8_t code) {
  code ^= 0x55;
  const int segment = (code & 0x70) >> 4;
  int step = ((code & 0x0F) << 4) + 8;
  if (segment) step = (step + 0x100) << (segment - 1);
  return static_cast<float>(code & 0x80 ? step : -step) / 32768.0F;
}

float pcm(const std::uint8_t* at, int bytes) {
  if (bytes == 1) return (static_cast<float>(at[0]) - 128.0F) / 128.0F;
  std::uint32_t bits = 0;  // the sample in the upper bytes
  for (int n = 0; n < bytes; ++n) bits |= static_cast<std::uint32_t>(at[n]) << (8 * (4 - bytes + n));
  return static_cast<float>(static_cast<std::int32_t>(bits)) / 2147483648.0F;
}

float real(const std::uint8_t* at, int bytes) {
  if (bytes == 4) {
    const std::uint32_t bits = u32(at);
    float value = 0;
    std::memcpy(&value, &bits, 4);
    return value;
  }
  const std::uint64_t bits = u64(at);
  double value = 0;
  std::memcpy(&value, &bits, 8);
  return static_cast<float>(value);
}

float sample_of(const WavFormat& wav, const std::uint8_t* at) {
  switch (wav.encoding) {
    case WavEncoding::kPcm:
      return pcm(at, wav.sample_bytes);
    case WavEncoding::kFloat:
      return real(at, wav.sample_bytes);
    case WavEncoding::kMuLaw:
      return mu_law(*at);
    case WavEncoding::kALaw:
      return a_law(*at);
  }
  return 0;
}

}  // namespace

bool is_wav(const ByteSource& source) {
  std::uint8_t head[12];
  if (source.read_at(0, head, 12) < 12) return false;
  return (!std::memcmp(head, "RIFF", 4) || !std::memcmp(head, "RF64", 4)) && !std::memcmp(head + 8, "WAVE", 4);
}

WavFormat read_wav_format(const ByteSource& source, const std::string& name) {
  if (!is_wav(source)) throw Error(name, source.size() ? "is no WAV file" : "the file is empty");
  std::uint8_t head[8] = {};
  source.read_at(0, head, 8);
  const bool is_rf64 = head[1] == 'F';
  std::uint64_t riff_size = u32(head + 4);
  std::uint64_t long_data = 0;
  std::optional<WavFormat> wav;
  std::uint64_t position = 12;
  while (const auto found = chunk_at(source, position)) {
    Chunk chunk = *found;
    if (chunk.is("data")) {
      if (!wav) throw Error(name, "its samples come before their format", "write the file again");
      if (is_rf64 && chunk.size == 0xFFFFFFFF && long_data) chunk.size = long_data;
      wav->data_offset = chunk.offset;
      wav->num_frames =
          data_bytes(source, chunk, riff_size, name) / static_cast<unsigned>(wav->sample_bytes * wav->num_channels);
      if (wav->num_frames == 0) throw Error(name, "holds no samples");
      return *wav;
    }
    if (chunk.is("fmt ")) wav = parse_format(source, chunk, name);
    std::uint8_t sizes[16];
    if (is_rf64 && chunk.is("ds64") && chunk.size >= 16 && source.read_at(chunk.offset, sizes, 16) == 16) {
      riff_size = u64(sizes);
      long_data = u64(sizes + 8);
    }
    position = chunk.offset + chunk.size + chunk.size % 2;
  }
  throw Error(name, "truncated: the WAV file ends before its samples", "copy it again");
}

std::vector<float> read_wav_channel(const ByteSource& source, const WavFormat& wav, int channel,
                                    const std::string& name) {
  if (wav.num_frames > kMostFrames)
    throw Error(name, std::to_string(wav.num_frames) + " samples are too many at once", "cut it into parts");
  const std::size_t frame = static_cast<std::size_t>(wav.sample_bytes) * static_cast<std::size_t>(wav.num_channels);
  std::vector<float> samples;
  samples.reserve(wav.num_frames);
  std::vector<std::uint8_t> block(
      std::min<std::uint64_t>(wav.num_frames, std::max<std::size_t>(1, kBlockBytes / frame)) * frame);
  while (samples.size() < wav.num_frames) {
    const std::size_t wanted = std::min<std::uint64_t>(block.size(), (wav.num_frames - samples.size()) * frame);
    if (source.read_at(wav.data_offset + samples.size() * frame, block.data(), wanted) < wanted)
      throw Error(name, "became shorter while it was read", "copy it again");
    const std::uint8_t* at = block.data() + static_cast<std::size_t>(channel * wav.sample_bytes);
    for (std::size_t n = 0; n < wanted / frame; ++n) samples.push_back(sample_of(wav, at + n * frame));
  }
  return samples;
}

}  // namespace speaker
