// Command lines: positions and options, "--name value", "--name=value" or "--flag".
//   const Arguments given(argc, argv, "usage: ...", 2, {"--threads"}, {"--json"});
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace speaker {

struct UsageError {
  std::string what;
};

class Arguments {
 public:
  // Throws UsageError where an option is not known or lacks its value, or the number of positions is another.
  Arguments(int argc, char** argv, std::size_t num_positions, const std::set<std::string>& options,
            const std::set<std::string>& flags);
  const std::string& operator[](std::size_t position) const { return positions_[position]; }
  bool has(const std::string& name) const { return given_.count(name) != 0; }
  std::string text(const std::string& name, const std::string& otherwise) const;
  int whole(const std::string& name, int otherwise, int least, int most) const;
  double number(const std::string& name, double otherwise, double least, double most) const;

 private:
  std::vector<std::string> positions_;
  std::map<std::string, std::string> given_;
};

// Runs a program: --help prints `usage` and gives 0; an Error gives its line on stderr and 1; a UsageError `usage` on
// stderr and 2; else what `work` returns.
int run_program(int argc, char** argv, const std::string& usage, const std::function<int()>& work);

}  // namespace speaker
