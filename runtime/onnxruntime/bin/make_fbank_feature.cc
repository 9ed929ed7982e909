// Log mel energies of the recordings of a wav.scp, without any normalisation, as text files or a Kaldi archive.
#include "bin/list_run.h"
#include "feature/fbank.h"
#include "speaker_engine/error.h"

namespace {

using speaker::Arguments;

const std::string kUsage =
    std::string("usage: make_fbank_feature [options] FBANK_CONFIG WAV_SCP FEATURE_SCP FEATURE_DIR\n") +
    speaker::kListUsage + "example: make_fbank_feature assets/fbank_config.json wav.scp feature.scp features\n";

// Audio of another rate is resampled where the configuration or --resample allows it.
speaker::Audio at_rate(speaker::Audio audio, const speaker::FbankConfig& config, const std::string& name,
                       bool is_asked) {
  const bool may =
      audio.sample_rate > config.sample_rate() ? config.frame.allow_downsample : config.frame.allow_upsample;
  if (audio.sample_rate != config.sample_rate() && !may && !is_asked)
    throw speaker::Error(name,
                         "is " + std::to_string(audio.sample_rate) + " Hz, the configuration has " +
                             std::to_string(config.sample_rate()),
                         "resample it, or give --resample");
  return speaker::resampled(std::move(audio), config.sample_rate());
}

std::string text_of(const std::string& path) {
  const auto bytes = speaker::read_file(path, 1 << 20);
  return {bytes.begin(), bytes.end()};
}

int make(int argc, char** argv) {
  const Arguments given(argc, argv, 4, speaker::kListOptions, speaker::kListFlags);
  const std::string text = text_of(given[0]);
  const speaker::Fbank fbank(speaker::parse_fbank_config(text, given[0]));
  const speaker::ListRun run{speaker::ResultKind::kFeature, given[1], given[2], given[3], text};
  return speaker::run_list(run, given, [&](const speaker::ScpEntry& entry) {
    speaker::Audio audio = speaker::read_entry(entry, run.wav_scp, given);
    speaker::Outcome outcome;
    outcome.audio_s = audio.duration_s();
    audio = at_rate(std::move(audio), fbank.config(), entry.source, given.has("--resample"));
    outcome.values = fbank.compute(audio.samples.data(), audio.samples.size());
    if (outcome.values.rows == 0) throw speaker::Error(entry.source, "is shorter than one frame");
    return outcome;
  });
}

}  // namespace

int main(int argc, char** argv) {
  return speaker::run_program(argc, argv, kUsage, [&] { return make(argc, argv); });
}
