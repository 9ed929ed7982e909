// Transforms against their definition, resampling against tones, normalisation against hand-made numbers.
#include <complex>
#include <random>

#include "check.h"
#include "feature/cmvn.h"
#include "feature/fbank.h"
#include "feature/fft.h"
#include "utils/resample.h"

namespace {

constexpr double kPi = 3.14159265358979323846;

std::vector<double> noise(std::size_t size, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  std::vector<double> values(size);
  for (double& value : values) value = normal(generator);
  return values;
}

double power_at(const std::vector<double>& samples, std::size_t bin) {
  std::complex<double> sum = 0;
  for (std::size_t n = 0; n < samples.size(); ++n)
    sum += samples[n] * std::polar(1.0, -2 * kPi * static_cast<double>(bin * n % samples.size()) /
                                            static_cast<double>(samples.size()));
  return std::norm(sum);
}

void test_any_size() {
  for (const std::size_t size : {4U, 8U, 16U, 512U, 400U, 6U, 10U, 882U}) {
    const auto samples = noise(size, 1);
    std::vector<double> power(size / 2 + 1);
    speaker::AnyFft(size).power(samples.data(), power.data());
    for (std::size_t bin = 0; bin <= size / 2; ++bin)
      CHECK_NEAR(power[bin], power_at(samples, bin), 1e-9 * static_cast<double>(size));
  }
}

void test_lanes() {
  for (const std::size_t size : {4U, 8U, 32U, 64U, 256U, 512U, 2048U}) {
    const speaker::LaneFft<8> fft(size);
    auto work = fft.make_work();
    std::vector<std::vector<double>> signals;
    for (unsigned lane = 0; lane < 8; ++lane) signals.push_back(noise(size, lane));
    for (std::size_t n = 0; n < size; ++n)
      for (std::size_t lane = 0; lane < 8; ++lane) fft.slot(work, n)[lane] = signals[lane][n];
    std::vector<double> power((size / 2 + 1) * 8);
    fft.power(work, power.data());
    for (std::size_t bin = 0; bin <= size / 2; bin += bin < 4 ? 1 : 13)
      for (std::size_t lane = 0; lane < 8; ++lane)
        CHECK_NEAR(power[bin * 8 + lane], power_at(signals[lane], bin), 1e-9 * static_cast<double>(size));
  }
}

std::vector<float> tone(double hz, int rate, std::size_t size) {
  std::vector<float> samples(size);
  for (std::size_t n = 0; n < size; ++n)
    samples[n] = static_cast<float>(0.5 * std::sin(2 * kPi * hz * static_cast<double>(n) / rate));
  return samples;
}

void test_resample() {
  for (const int rate : {8000, 11025, 22050, 44100, 48000}) {
    const auto found = speaker::resample(tone(1000, rate, static_cast<std::size_t>(rate)), rate, 16000);
    const auto expected = tone(1000, 16000, 16000);
    CHECK(found.size() == 16000);
    for (std::size_t n = 1000; n < 15000; n += 7) CHECK_NEAR(found[n], expected[n], 2e-3);
  }
  const auto beyond_nyquist = speaker::resample(tone(12000, 48000, 4800), 48000, 16000);
  for (std::size_t n = 100; n < 1500; ++n) CHECK_NEAR(beyond_nyquist[n], 0, 2e-3);
  CHECK(speaker::resample(std::vector<float>(100, 0.1F), 16000, 16000).size() == 100);
}

speaker::Matrix column(std::initializer_list<float> values) {
  speaker::Matrix matrix(values.size(), 1);
  std::copy(values.begin(), values.end(), matrix.values.begin());
  return matrix;
}

void test_cmvn() {
  auto feats = column({1, 2, 6});
  speaker::apply_cmvn(feats, {});
  CHECK((feats.values == std::vector<float>{-2, -1, 3}));
  feats = column({1, 3});
  speaker::CmvnConfig config;
  config.std = true;
  speaker::apply_cmvn(feats, config);
  CHECK((feats.values == std::vector<float>{-1, 1}));
  config = {true, false, 3, 100, true};  // a window of three frames, moved inward at the ends
  feats = column({0, 3, 6, 3});
  speaker::apply_cmvn(feats, config);
  CHECK((feats.values == std::vector<float>{-3, 0, 2, -1}));
  config.mean = false;
  feats = column({1, 2});
  speaker::apply_cmvn(feats, config);
  CHECK((feats.values == std::vector<float>{1, 2}));
}

void test_frames() {
  speaker::FbankConfig config;
  const speaker::Fbank inside(config);
  CHECK(inside.num_frames(399) == 0 && inside.num_frames(400) == 1 && inside.num_frames(559) == 1 &&
        inside.num_frames(560) == 2);
  config.frame.snip_edges = false;
  const speaker::Fbank around(config);
  CHECK(around.num_frames(79) == 0 && around.num_frames(80) == 1 && around.num_frames(16000) == 100);
  const std::vector<float> few(80, 0.1F);
  CHECK(around.compute(few.data(), few.size()).rows == 1);
  CHECK(inside.compute(few.data(), few.size()).rows == 0);
}

}  // namespace

int main() {
  test_any_size();
  test_lanes();
  test_resample();
  test_cmvn();
  test_frames();
  return finish();
}
