// WAV files as bytes, with any header.
//   WavBytes wav; wav.bits = 24; wav.build(samples)
#pragma once

#include <cstdint>
#include <string>

struct WavBytes {
  std::uint16_t tag = 1, channels = 1, bits = 16;
  std::uint32_t rate = 16000;
  std::size_t format_bytes = 16;  // 16, 18, or 40 for EXTENSIBLE
  std::string before;             // chunks before the samples
  std::string magic = "RIFF";
  std::int64_t riff_size = -1, data_size = -1;  // as stated; -1: the true one
  std::uint32_t block = 0;                      // bytes of a frame; 0: what follows from the rest

  static std::string little(std::uint64_t value, int bytes) {
    std::string text;
    for (int n = 0; n < bytes; ++n) text.push_back(static_cast<char>(value >> (8 * n) & 0xFF));
    return text;
  }
  static std::string chunk(const std::string& name, const std::string& content) {
    return name + little(content.size(), 4) + content + std::string(content.size() % 2, '\0');
  }
  std::string format() const {
    const std::uint32_t frame = block ? block : channels * ((bits + 7U) / 8U);
    const bool is_extended = format_bytes == 40;
    std::string text = little(is_extended ? 0xFFFE : tag, 2) + little(channels, 2) + little(rate, 4) +
                       little(rate * frame, 4) + little(frame, 2) + little(bits, 2);
    if (format_bytes > 16) text += little(format_bytes - 18, 2);
    if (is_extended)
      text += little(bits, 2) + little(0, 4) + little(tag, 2) +
              std::string("\x00\x00\x00\x00\x10\x00\x80\x00\x00\xAA\x00\x38\x9B\x71", 14);
    return chunk("fmt ", text);
  }
  std::string build(const std::string& samples) const {
    const std::string body = "WAVE" + before + format();
    const auto size = static_cast<std::uint64_t>(data_size < 0 ? static_cast<std::int64_t>(samples.size()) : data_size);
    const auto all = static_cast<std::uint64_t>(
        riff_size < 0 ? static_cast<std::int64_t>(body.size() + 8 + samples.size()) : riff_size);
    return magic + little(all, 4) + body + "data" + little(size, 4) + samples;
  }
};
