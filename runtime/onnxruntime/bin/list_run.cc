#include "bin/list_run.h"

#include <ctime>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "speaker_engine/error.h"
#include "utils/journal.h"
#include "utils/sha256.h"
#include "utils/text.h"

namespace speaker {
namespace {

namespace fs = std::filesystem;

using Json = nlohmann::ordered_json;

class ListJob {
 public:
  ListJob(const ListRun& run, const Arguments& given)
      : run_(run),
        is_json_(given.has("--json")),
        max_fail_rate_(given.number("--max-fail-rate", 0, 0, 1)),
        num_jobs_(given.whole("--jobs", 1, 1, 256)),
        all_(check_scp(run.wav_scp)),
        store_((make_folder_of(run.result_scp), make_store(run.kind, run.folder, given.has("--ark")))),
        journal_(run.result_scp, fingerprint(given)) {}

  int work(const Compute& compute) {
    ScpReader list(run_.wav_scp);
    skip_done(list);
    run_in_order(list, num_jobs_, compute,
                 [this](const ScpEntry& entry, const Outcome& outcome) { deliver(entry, outcome); });
    const std::uint64_t failed = journal_.num_failed();
    if (failed < all_.num_entries) store_->publish();
    journal_.publish();
    print_summary();
    if (static_cast<double>(failed) <= max_fail_rate_ * static_cast<double>(all_.num_entries) &&
        failed < all_.num_entries)
      return 0;
    std::cerr << failed << " of " << all_.num_entries << " failed, see " << run_.result_scp
              << ".failed; --max-fail-rate " << formatted("%g", max_fail_rate_) << " does not allow it\n";
    return 1;
  }

 private:
  std::string fingerprint(const Arguments& given) const {
    Sha256 digest;
    const std::string parts = run_.fingerprint + "\n" + all_.sha256 + "\n" + run_.folder + "\n" +
                              given.text("--channel", "") + "\n" + (given.has("--ark") ? "ark" : "text") +
                              (given.has("--resample") ? " resample" : "") +
                              (given.has("--allow-pipes") ? " pipes" : "");
    digest.add(reinterpret_cast<const std::uint8_t*>(parts.data()), parts.size());
    return "run " + digest.hex();
  }

  void skip_done(ScpReader& list) {
    store_->resume_at(journal_.store_size());
    ScpEntry entry;
    for (std::uint64_t n = 0; n < journal_.num_entries(); ++n) list.next(entry);
    if (journal_.num_entries())
      std::cerr << "resumed: " << journal_.num_entries() << " of " << all_.num_entries << " were done\n";
  }

  void deliver(const ScpEntry& entry, const Outcome& outcome) {
    Json told = {{"utt_id", entry.id}};
    if (outcome.error.empty()) {
      const std::string location = store_->put(entry.id, outcome.values);
      journal_.add_done(entry.id, location, store_->size());
      audio_s_ += outcome.audio_s;
      size_ = outcome.values.columns;
      told["output"] = location;
      told["shape"] = {outcome.values.rows, outcome.values.columns};
      told["duration_s"] = outcome.audio_s;
    } else {
      journal_.add_failed(entry.id, outcome.error);
      std::cerr << run_.wav_scp << ":" << entry.line << ": " << entry.id << ": " << outcome.error << "\n";
      told["error"] = outcome.error;
    }
    if (is_json_) std::cout << told.dump(-1, ' ', true, Json::error_handler_t::replace) << "\n";
  }

  void print_summary() const {
    const double elapsed = static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
    if (!is_json_) {
      if (run_.kind == ResultKind::kEmbedding && size_) std::cout << "Output embedding size = " << size_ << "\n";
      std::cout << formatted("Elapsed time: %gs for wav duration %g", elapsed, audio_s_) << "\n";
      return;
    }
    const Json told = {{"num_entries", all_.num_entries},
                       {"num_failed", journal_.num_failed()},
                       {"size", size_},
                       {"cpu_s", elapsed},
                       {"audio_s", audio_s_}};
    std::cout << told.dump() << "\n";
  }

  const ListRun& run_;
  bool is_json_;
  double max_fail_rate_;
  int num_jobs_;
  ScpSummary all_;
  std::unique_ptr<ResultStore> store_;
  Journal journal_;
  double audio_s_ = 0;
  std::size_t size_ = 0;
};

std::string located(const std::string& source, const std::string& wav_scp) {
  const fs::path path(source);
  if (path.is_absolute()) return source;
  const fs::path beside = fs::path(wav_scp).parent_path() / path;
  std::error_code ignored;
  if (!fs::exists(beside, ignored)) return source;
  if (fs::exists(path, ignored) && !fs::equivalent(path, beside, ignored))
    throw Error(source, "is in the folder of " + wav_scp + " and in the working directory", "write whole paths");
  return beside.string();
}

}  // namespace

const std::set<std::string> kListOptions = {"--jobs", "--channel", "--max-fail-rate"};
const std::set<std::string> kListFlags = {"--ark", "--json", "--allow-pipes", "--resample"};
const char kListUsage[] =
    "  --ark                a Kaldi archive in the folder instead of a text file for each utterance\n"
    "  --jobs N             utterances at the same time (1)\n"
    "  --channel N          channel to listen to, from 0 (a file must have one)\n"
    "  --resample           resample audio of another rate (refused)\n"
    "  --allow-pipes        run lines that are commands (... |)\n"
    "  --max-fail-rate F    share of utterances that may fail (0)\n"
    "  --json               a JSON object for each utterance, and one for all\n";

Audio read_entry(const ScpEntry& entry, const std::string& wav_scp, const Arguments& given) {
  const int channel = given.whole("--channel", kOnlyChannel, 0, 1023);
  Audio audio;
  if (entry.is_command()) {
    if (!given.has("--allow-pipes")) throw Error(entry.source, "is a command", "give --allow-pipes to run it");
    audio = read_command(entry.command(), channel);
  } else {
    audio = read_audio(located(entry.source, wav_scp), channel);
  }
  refuse_silence(audio, entry.source);
  return audio;
}

int run_list(const ListRun& run, const Arguments& given, const Compute& compute) {
  return ListJob(run, given).work(compute);
}

}  // namespace speaker
