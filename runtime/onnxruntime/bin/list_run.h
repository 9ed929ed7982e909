// What the programs for lists share: options, the run itself, what is printed of it, and its exit status.
//   const Arguments given(argc, argv, 5, with_list_options({"--threads"}), kListFlags);
#pragma once

#include <set>
#include <string>

#include "utils/arguments.h"
#include "utils/audio.h"
#include "utils/ordered_jobs.h"
#include "utils/result_store.h"

namespace speaker {

extern const std::set<std::string> kListOptions;
extern const std::set<std::string> kListFlags;
extern const char kListUsage[];

struct ListRun {
  ResultKind kind = ResultKind::kEmbedding;
  std::string wav_scp, result_scp, folder;
  std::string fingerprint;  // of what results depend on, beside the list and these options
};

// The audio of an entry of the list `wav_scp`; a command is refused unless --allow-pipes is given. A relative path is
// looked up in the folder of the list, then, as in Kaldi, in the working directory.
Audio read_entry(const ScpEntry& entry, const std::string& wav_scp, const Arguments& given);

// Computes the results of all entries, writes them, prints what was done, and gives the exit status: 1 where more
// failed than --max-fail-rate allows.
int run_list(const ListRun& run, const Arguments& given, const Compute& compute);

}  // namespace speaker
