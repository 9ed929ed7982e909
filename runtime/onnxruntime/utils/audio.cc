#include "utils/audio.h"

#include <sys/wait.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "speaker_engine/error.h"
#include "utils/resample.h"
#include "utils/sound_file.h"
#include "utils/text.h"
#include "utils/wav_reader.h"

namespace speaker {
namespace {

constexpr int kMinRate = 1000;
constexpr int kMaxRate = 768000;  // resampling from absurd rates takes filters of gigabytes
constexpr double kMinSeconds = 0.025;
constexpr float kMaxPeak = 2.0F;
constexpr float kSilencePeak = 1e-6F;
constexpr std::uint64_t kMostPiped = std::uint64_t{1} << 31;

int checked_channel(int channel, int num_channels, const std::string& name) {
  if (channel == kOnlyChannel && num_channels > 1)
    throw Error(name, "has " + std::to_string(num_channels) + " channels", "choose one: --channel 0");
  if (channel >= num_channels)
    throw Error(name, "has no channel " + std::to_string(channel) + "; it has " + std::to_string(num_channels) +
                          ", counted from 0");
  return std::max(channel, 0);
}

Audio read_source(const ByteSource& source, const std::string& name, int channel) {
  Audio audio;
  if (source.size() == 0) throw Error(name, "the file is empty");
  if (is_wav(source)) {
    const WavFormat wav = read_wav_format(source, name);
    audio.channel = checked_channel(channel, wav.num_channels, name);
    audio.sample_rate = wav.sample_rate;
    audio.num_channels = wav.num_channels;
    audio.samples = read_wav_channel(source, wav, audio.channel, name);
  } else {
    SoundFile file(source, name);
    audio.sample_rate = file.format().sample_rate;
    audio.num_channels = file.format().num_channels;
    audio.channel = checked_channel(channel, audio.num_channels, name);
    audio.samples = file.read_channel(audio.channel);
  }
  check_samples(audio.samples, audio.sample_rate, name);
  return audio;
}

}  // namespace

AudioFormat describe_audio(const std::string& path) {
  const FileSource source(path);
  if (source.size() == 0) throw Error(path, "the file is empty");
  if (!is_wav(source)) return SoundFile(source, path).format();
  const WavFormat wav = read_wav_format(source, path);
  return {wav.sample_rate, wav.num_channels, wav.bits_per_sample, wav.num_frames};
}

Audio read_audio(const std::string& path, int channel) { return read_source(FileSource(path), path, channel); }

Audio decode_audio(const std::vector<std::uint8_t>& bytes, const std::string& name, int channel) {
  return read_source(MemorySource(bytes), name, channel);
}

Audio read_command(const std::string& command, int channel) {
  std::FILE* pipe = ::popen(command.c_str(), "re");
  if (!pipe) throw Error(command, "cannot be run");
  std::vector<std::uint8_t> bytes;
  try {
    bytes = read_all(::fileno(pipe), command, kMostPiped);
  } catch (...) {
    ::pclose(pipe);
    throw;
  }
  const int status = ::pclose(pipe);
  if (status != 0)
    throw Error(command, "the command exits " + std::to_string(WIFEXITED(status) ? WEXITSTATUS(status) : status));
  if (bytes.empty()) throw Error(command, "the command writes nothing");
  return decode_audio(bytes, command, channel);
}

void check_samples(std::vector<float>& samples, int sample_rate, const std::string& name) {
  if (sample_rate < kMinRate || sample_rate > kMaxRate)
    throw Error(name, "sample_rate is " + std::to_string(sample_rate) + " Hz; 1000 to 768000 is read");
  if (static_cast<double>(samples.size()) < kMinSeconds * sample_rate)
    throw Error(name, formatted("%.1f ms is too short; 25 ms is the least",
                                1000.0 * static_cast<double>(samples.size()) / sample_rate));
  float peak = 0;
  for (const float sample : samples) {
    if (!std::isfinite(sample)) throw Error(name, "NaN or Inf samples");
    peak = std::max(peak, std::abs(sample));
  }
  if (peak > kMaxPeak)
    throw Error(name, formatted("samples reach %.6g where full scale is 1", static_cast<double>(peak)), "rescale them");
  if (peak > 1)
    for (float& sample : samples) sample = std::clamp(sample, -1.0F, 1.0F);
}

void refuse_silence(const Audio& audio, const std::string& name) {
  const bool has_sound =
      std::any_of(audio.samples.begin(), audio.samples.end(), [](float x) { return std::abs(x) >= kSilencePeak; });
  if (!has_sound) throw Error(name, "silent: no sample reaches 1e-06");
}

Audio resampled(Audio audio, int sample_rate) {
  if (audio.sample_rate == sample_rate) return audio;
  audio.samples = resample(audio.samples, audio.sample_rate, sample_rate);
  for (float& sample : audio.samples) sample = std::clamp(sample, -1.0F, 1.0F);
  audio.sample_rate = sample_rate;
  return audio;
}

}  // namespace speaker
