// Lists, files that appear whole, names, the journal, and results in order.
#include <atomic>
#include <set>
#include <sstream>
#include <thread>

#include "check.h"
#include "utils/journal.h"
#include "utils/ordered_jobs.h"
#include "utils/output_file.h"
#include "utils/result_store.h"
#include "utils/scp_reader.h"
#include "utils/sha256.h"

namespace {

using speaker::ScpEntry;

std::vector<ScpEntry> entries_of(const std::string& text) {
  speaker::ScpReader list(std::make_unique<std::istringstream>(text), "wav.scp");
  std::vector<ScpEntry> found;
  for (ScpEntry entry; list.next(entry);) found.push_back(entry);
  return found;
}

void test_scp() {
  const auto found = entries_of("a /x/a b.wav\r\n\n  b\tsox c.wav -t wav - |  \nc d");
  CHECK(found.size() == 3);
  CHECK(found[0].id == "a" && found[0].source == "/x/a b.wav" && !found[0].is_command());
  CHECK(found[1].id == "b" && found[1].is_command() && found[1].command() == "sox c.wav -t wav - " &&
        found[1].line == 3);
  CHECK(found[2].source == "d");
  CHECK_THROWS(entries_of("a x\nb\n"), "wav.scp:2: 'b' has no path");
  CHECK_THROWS(entries_of(std::string("a x\0y\n", 6)), "wav.scp:1: holds a zero byte");
  CHECK_THROWS(entries_of(std::string(2 << 20, 'x')), "is longer than a line");
}

void test_whole_lists() {
  const TestFolder folder;
  CHECK(speaker::check_scp(folder.write("good", "a x\nb y\n")).num_entries == 2);
  CHECK_THROWS(speaker::check_scp(folder.write("twice", "a x\nb y\na z\n")), "twice:3: 'a' is in line 1 too");
  CHECK_THROWS(speaker::check_scp(folder.write("empty", "\n")), "is empty");
  CHECK_THROWS(speaker::check_scp(folder / "none"), "none: no such file");
  CHECK_THROWS(speaker::check_scp(folder / ""), "is no file");
  const auto one = speaker::check_scp(folder / "good").sha256;
  CHECK(one != speaker::check_scp(folder.write("other", "a x\nb z\n")).sha256);
}

std::string digest_of(const std::string& text, bool may_use_instructions) {
  speaker::Sha256 digest(may_use_instructions);
  const auto* data = reinterpret_cast<const std::uint8_t*>(text.data());
  digest.add(data, text.size() / 3);  // in two parts
  digest.add(data + text.size() / 3, text.size() - text.size() / 3);
  return digest.hex();
}

void test_digest() {  // FIPS 180-4 examples
  for (const bool may : {false, true}) {
    CHECK(digest_of("abc", may) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(digest_of("", may) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(digest_of(std::string(1000000, 'a'), may) ==
          "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  }
  for (std::size_t size = 0; size < 300; ++size)
    CHECK(digest_of(std::string(size, 'x'), true) == digest_of(std::string(size, 'x'), false));
}

void test_names() {
  CHECK(speaker::file_name_of("utt-1_a.b") == "utt-1_a.b");
  const std::vector<std::string> ids = {"a/b",
                                        "a-b",
                                        "a%2Fb",
                                        "a%b",
                                        ".",
                                        "..",
                                        "a b",
                                        "\xC3\xA4",
                                        std::string(300, 'x') + "1",
                                        std::string(300, 'x') + "2",
                                        "%2E"};
  std::set<std::string> names;
  for (const auto& id : ids) {
    const auto name = speaker::file_name_of(id);
    CHECK(name.find('/') == std::string::npos && name[0] != '.' && name.size() < 240);
    names.insert(name);
  }
  CHECK(names.size() == ids.size());
}

void test_output() {
  const TestFolder folder;
  const auto path = folder.write("a", "old");
  {
    speaker::OutputFile file(path);
    file.write("new");
  }
  CHECK(content_of(path) == "old");  // never published
  speaker::OutputFile file(path);
  file.write("new");
  file.publish();
  CHECK(content_of(path) == "new");
  CHECK_THROWS(speaker::OutputFile(folder / "no/folder/a"), "cannot be written");
  speaker::make_folder(folder / "x/y");
  CHECK_THROWS((speaker::make_folder(path + "/z"), 0), "the folder cannot be made");
}

void test_journal() {
  const TestFolder folder;
  const std::string scp = folder / "out.scp";
  {
    speaker::Journal journal(scp, "run 1");
    journal.add_done("a", "a.embedding", 10);
    journal.add_failed("b", "two\nlines\tof text");
    CHECK_THROWS(speaker::Journal(scp, "run 1"), "another run writes it");
  }
  std::ofstream(scp + ".partial", std::ios::app) << "done\tc\tc.emb";  // killed in the middle of a line
  {
    speaker::Journal journal(scp, "run 1");
    CHECK(journal.num_entries() == 2 && journal.num_failed() == 1 && journal.store_size() == 10);
    journal.add_done("c", "c.embedding", 20);
    journal.publish();
  }
  CHECK(content_of(scp) == "a a.embedding\nc c.embedding\n");
  CHECK(content_of(scp + ".failed") == "b two lines of text\n");
  CHECK(!std::filesystem::exists(scp + ".partial"));
  {
    speaker::Journal journal(scp, "run 1");
    journal.add_done("a", "a.embedding", 10);
  }
  speaker::Journal other(scp, "run 2");  // of another list or model
  CHECK(other.num_entries() == 0);
}

void test_store() {
  const TestFolder folder;
  speaker::Matrix values(1, 3);
  values.values = {0.1F, -2.0F, 0.25F};
  const auto text = speaker::make_store(speaker::ResultKind::kEmbedding, folder / "text", false);
  CHECK(content_of(text->put("a/b", values)) == "0.100000001 -2 0.25\n");
  const auto ark = speaker::make_store(speaker::ResultKind::kEmbedding, folder / "ark", true);
  CHECK(ark->put("a", values) == folder / "ark/embedding.ark:2");
  const auto size = ark->size();
  CHECK(size == 2 + 2 + 3 + 5 + 12);
  ark->put("b", values);
  ark->resume_at(size);
  CHECK(ark->put("b", values) == folder / "ark/embedding.ark:26");
  ark->publish();
  CHECK(content_of(folder / "ark/embedding.ark").substr(0, 12) == std::string("a \0BFV \4\3\0\0\0", 12));
}

std::unique_ptr<std::istringstream> numbered(int count) {
  std::string text;
  for (int n = 0; n < count; ++n) text += std::to_string(n) + " x\n";
  return std::make_unique<std::istringstream>(text);
}

void test_order() {
  speaker::ScpReader list(numbered(300), "list");
  std::atomic<int> ahead{0}, most{0};
  int next = 0;
  const auto compute = [&](const ScpEntry& entry) {
    most = std::max<int>(most, ++ahead);
    if (entry.line % 7 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    if (entry.line % 10 == 0) throw speaker::Error(entry.id, "is bad");
    return speaker::Outcome();
  };
  speaker::run_in_order(list, 4, compute, [&](const ScpEntry& entry, const speaker::Outcome& outcome) {
    --ahead;
    CHECK(entry.id == std::to_string(next++));
    CHECK(outcome.error.empty() == (entry.line % 10 != 0));
  });
  CHECK(next == 300);
  CHECK(most <= 4 * 4 + 1);  // results that wait are few, however long the list is
}

void test_stop() {
  speaker::ScpReader list(numbered(300), "list");
  int delivered = 0;
  const auto deliver = [&](const ScpEntry&, const speaker::Outcome&) {
    if (++delivered == 20) throw speaker::Error("disk", "is full");
  };
  CHECK_THROWS((speaker::run_in_order(
                    list, 3, [](const ScpEntry&) { return speaker::Outcome(); }, deliver),
                0),
               "disk: is full");
  CHECK(delivered == 20);
}

}  // namespace

int main() {
  test_scp();
  test_whole_lists();
  test_digest();
  test_names();
  test_output();
  test_journal();
  test_store();
  test_order();
  test_stop();
  return finish();
}
