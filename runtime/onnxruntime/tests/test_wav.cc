// The WAV reader: every encoding by values that follow from its definition, and files that are not whole.
#include <cstring>

#include "check.h"
#include "utils/audio.h"
#include "utils/wav_reader.h"
#include "wav_bytes.h"

namespace {

using speaker::MemorySource;

MemorySource source_of(const std::string& bytes) {
  return MemorySource(std::vector<std::uint8_t>(bytes.begin(), bytes.end()));
}

std::vector<float> read(const std::string& bytes, int channel = 0) {
  const MemorySource source = source_of(bytes);
  return speaker::read_wav_channel(source, speaker::read_wav_format(source, "a.wav"), channel, "a.wav");
}

speaker::WavFormat format_of(const std::string& bytes) { return speaker::read_wav_format(source_of(bytes), "a.wav"); }

template <typename Number>
std::string raw(std::initializer_list<Number> numbers) {
  std::string text;
  for (const Number number : numbers) {
    char bytes[sizeof(Number)];
    std::memcpy(bytes, &number, sizeof(Number));
    text.append(bytes, sizeof(Number));
  }
  return text;
}

const std::string kTwo = raw<std::int16_t>({16384, -32768});  // 0.5 and -1

void test_pcm() {
  const auto is_two = [](const std::vector<float>& found) { return found == std::vector<float>{0.5F, -1.0F}; };
  WavBytes wav;
  CHECK(is_two(read(wav.build(kTwo))));
  wav.bits = 8;
  CHECK(is_two(read(wav.build(std::string("\xC0\x00", 2)))));
  wav.bits = 24;
  CHECK(is_two(read(wav.build(std::string("\x00\x00\x40\x00\x00\x80", 6)))));
  wav.bits = 32;
  CHECK(is_two(read(wav.build(raw<std::int32_t>({1 << 30, INT32_MIN})))));
  wav.bits = 20;  // in three bytes, the lowest four bits empty
  CHECK(is_two(read(wav.build(std::string("\x00\x00\x40\x00\x00\x80", 6)))));
}

void test_float() {
  WavBytes wav;
  wav.tag = 3;
  wav.bits = 32;
  CHECK((read(wav.build(raw<float>({0.25F, -1.5F}))) == std::vector<float>{0.25F, -1.5F}));
  wav.bits = 64;
  CHECK((read(wav.build(raw<double>({0.25, -0.5}))) == std::vector<float>{0.25F, -0.5F}));
}

// ITU-T G.711, tables 1a and 2a: the largest, the smallest and the signs, as 16-bit values.
void test_companded() {
  WavBytes wav;
  wav.bits = 8;
  wav.tag = 7;
  const auto mu = read(wav.build(std::string("\x80\x00\xFF\x7F\xF0", 5)));
  CHECK((mu == std::vector<float>{32124 / 32768.0F, -32124 / 32768.0F, 0.0F, 0.0F, 120 / 32768.0F}));
  wav.tag = 6;
  const auto a = read(wav.build(std::string("\xAA\x2A\xD5\x55", 4)));
  CHECK((a == std::vector<float>{32256 / 32768.0F, -32256 / 32768.0F, 8 / 32768.0F, -8 / 32768.0F}));
}

void test_headers() {
  WavBytes wav;
  wav.format_bytes = 18;
  CHECK(read(wav.build(kTwo)).size() == 2);
  wav.format_bytes = 40;
  CHECK(read(wav.build(kTwo)).size() == 2);
  wav.before = WavBytes::chunk("LIST", "odd") + WavBytes::chunk("bext", std::string(600, 'x'));
  CHECK(read(wav.build(kTwo)).size() == 2);
  const auto described = format_of(wav.build(kTwo));
  CHECK(described.sample_rate == 16000 && described.num_channels == 1 && described.bits_per_sample == 16 &&
        described.num_frames == 2);
}

void test_channels() {
  WavBytes wav;
  wav.channels = 2;
  const std::string bytes = wav.build(raw<std::int16_t>({16384, -16384, 8192, -8192}));
  CHECK((read(bytes, 0) == std::vector<float>{0.5F, 0.25F}));
  CHECK((read(bytes, 1) == std::vector<float>{-0.5F, -0.25F}));
}

void test_lengths_nobody_knew() {
  WavBytes wav;
  wav.data_size = 0xFFFFFFFF;
  wav.riff_size = 0xFFFFFFFF;
  CHECK(read(wav.build(kTwo)).size() == 2);
  wav.data_size = 0x7FFFF000;
  CHECK(read(wav.build(kTwo)).size() == 2);
  wav.data_size = 0;
  CHECK(read(wav.build(kTwo)).size() == 2);
  wav.riff_size = 0;
  CHECK(read(wav.build(kTwo)).size() == 2);
  wav.riff_size = -1;  // the header knows its size: there are no samples
  CHECK_THROWS(read(wav.build(kTwo)), "holds no samples");
}

void test_rf64() {
  WavBytes wav;
  wav.magic = "RF64";
  wav.data_size = 0xFFFFFFFF;
  wav.riff_size = 0xFFFFFFFF;
  wav.before = WavBytes::chunk(
      "ds64", WavBytes::little(100, 8) + WavBytes::little(4, 8) + WavBytes::little(2, 8) + WavBytes::little(0, 4));
  CHECK(read(wav.build(kTwo + "behind the samples")).size() == 2);
  wav.before = WavBytes::chunk(
      "ds64", WavBytes::little(100, 8) + WavBytes::little(std::uint64_t{1} << 62, 8) + std::string(12, '\0'));
  CHECK_THROWS(read(wav.build(kTwo)), "truncated");
}

void test_broken() {
  const WavBytes wav;
  const std::string whole = wav.build(kTwo);
  for (std::size_t size = 0; size < whole.size(); ++size) CHECK_THROWS(read(whole.substr(0, size)), "a.wav: ");
  CHECK_THROWS(read(whole.substr(0, whole.size() - 2)), "truncated: 2 of 4 bytes of samples are there");
  CHECK_THROWS(read("RIFF" + std::string(4, '\0') + "WAVE" + WavBytes::chunk("LIST", "abcd")),
               "ends before its samples");
  CHECK_THROWS(read("RIFF" + std::string(4, '\0') + "WAVEdata" + std::string(8, '\0')), "come before their format");
  CHECK_THROWS(read("RIFF" + std::string(4, '\0') + "WAVELIST\xFF\xFF\xFF\xFF"), "ends before its samples");
}

void test_refused() {
  WavBytes wav;
  wav.channels = 0;
  CHECK_THROWS(read(wav.build(kTwo)), "states 0 channels");
  wav = WavBytes();
  wav.rate = 0;
  CHECK_THROWS(read(wav.build(kTwo)), "sample rate of 0");
  wav = WavBytes();
  wav.tag = 2;
  CHECK_THROWS(read(wav.build(kTwo)), "encoding 2");
  wav = WavBytes();
  wav.block = 5;
  CHECK_THROWS(read(wav.build(kTwo)), "blocks of 5 bytes");
  wav = WavBytes();
  wav.bits = 64;
  CHECK_THROWS(read(wav.build(std::string(16, '\0'))), "64 bits per sample");
  wav.tag = 3;
  wav.bits = 24;
  CHECK_THROWS(read(wav.build(std::string(6, '\0'))), "24 bits per sample");
}

std::string second(std::int16_t value, std::uint32_t rate = 16000) {
  std::string samples;
  for (std::uint32_t n = 0; n < rate; ++n)
    samples += WavBytes::little(static_cast<std::uint16_t>(n % 2 ? value : -value), 2);
  return samples;
}

void test_checks() {
  const auto decode = [](const std::string& bytes, int channel) {
    return speaker::decode_audio(std::vector<std::uint8_t>(bytes.begin(), bytes.end()), "a.wav", channel);
  };
  WavBytes wav;
  CHECK(decode(wav.build(second(3000)), speaker::kOnlyChannel).samples.size() == 16000);
  CHECK_THROWS(decode(wav.build(kTwo), 0), "0.1 ms is too short");
  CHECK_THROWS(decode(wav.build(second(3000)), 1), "has no channel 1; it has 1");
  wav.channels = 2;
  CHECK_THROWS(decode(wav.build(second(3000)), speaker::kOnlyChannel), "has 2 channels");
  wav = WavBytes();
  wav.rate = 800;
  CHECK_THROWS(decode(wav.build(second(3000)), 0), "800 Hz");
  wav = WavBytes();
  wav.tag = 3;
  wav.bits = 32;
  std::string bad = raw<float>({NAN});
  for (int n = 0; n < 500; ++n) bad += raw<float>({0.1F});
  CHECK_THROWS(decode(wav.build(bad), 0), "NaN or Inf");
  std::string loud;
  for (int n = 0; n < 500; ++n) loud += raw<float>({n == 7 ? 12000.0F : 0.1F});
  CHECK_THROWS(decode(wav.build(loud), 0), "samples reach 12000");
  CHECK_THROWS(decode("", 0), "is empty");
  const auto silent = decode(WavBytes().build(std::string(32000, '\0')), 0);
  CHECK_THROWS((speaker::refuse_silence(silent, "a.wav"), 0), "silent");
}

void test_files() {
  const TestFolder folder;
  CHECK_THROWS(speaker::read_audio(folder / "none.wav", 0), "none.wav: no such file");
  CHECK_THROWS(speaker::read_audio(folder / "", 0), "is a folder");
  const auto path = folder.write("a b.wav", WavBytes().build(second(3000)));
  CHECK(speaker::read_audio(path, 0).samples.size() == 16000);
  CHECK(speaker::describe_audio(path).num_frames == 16000);
  CHECK(speaker::read_command("cat '" + path + "'", 0).samples.size() == 16000);
  CHECK_THROWS(speaker::read_command("exit 3", 0), "the command exits 3");
  CHECK_THROWS(speaker::read_command("true", 0), "writes nothing");
  CHECK_THROWS(speaker::read_audio(folder.write("a.txt", std::string(5000, 'x')), 0), "a.txt: ");
}

}  // namespace

int main() {
  test_pcm();
  test_float();
  test_companded();
  test_headers();
  test_channels();
  test_lengths_nobody_knew();
  test_rf64();
  test_broken();
  test_refused();
  test_checks();
  test_files();
  return finish();
}
