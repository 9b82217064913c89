// What lies in the cache's directory: entries, and the file that says what the cache takes.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "cache/entry.hpp"
#include "cache/eviction.hpp"
#include "cache/usage.hpp"
#include "fuzz/target.hpp"

namespace {

using namespace runctl;
using fuzz::Input;
using fuzz::require;

// The sum that stands at `at`, of what lies behind it.
std::string with_sum(std::string_view text, std::size_t at) {
  std::string file(text);
  if (file.size() < at + sizeof(std::uint64_t)) return file;
  const std::uint64_t sum = base::xxh3_64(std::string_view(file).substr(at + sizeof(std::uint64_t)));
  std::memcpy(file.data() + at, &sum, sizeof sum);
  return file;
}

void read_entry(std::string_view file) {
  const std::string identity = cache::identity_of("s3://bucket", "runs/v1/mixed/0", 7, 9);
  const std::string name = cache::name_of(identity);
  const auto frame = cache::frame_in(file, identity);
  fuzz::require_printable(cache::fault_of(name, file));
  require(frame.has_value() == cache::fault_of(name, file).empty(),
          "a frame is found where there is no fault");
  if (!frame) return;
  require(frame->size() < file.size(), "a frame lies in its file");
  require(cache::head_of(identity, *frame) + std::string(*frame) == file,
          "an entry is written as it is read");
}

void write_entry(std::string_view frame) {
  const std::string identity = cache::identity_of("s3://bucket", "runs/v1/mixed/0", 7, frame.size());
  const std::string file = cache::head_of(identity, frame) + std::string(frame);
  require(cache::frame_in(file, identity) == frame, "a frame is read as it was written");
  require(cache::fault_of(cache::name_of(identity), file).empty(), "an entry has no fault");
}

// A directory for one process.
struct Scratch {
  Scratch() { require(::mkdtemp(path.data()) != nullptr, "there is a directory"); }
  ~Scratch() {
    ::unlink((path + "/usage").c_str());
    ::rmdir(path.c_str());
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::string path = "/tmp/runctl_fuzz_XXXXXX";
};

void read_usage(std::string_view file) {
  static const Scratch scratch;
  const base::FileDescriptor at(::open(scratch.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  {
    const base::FileDescriptor written(
        ::openat(at.get(), "usage", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    base::write_all(written.get(), file, "usage");
  }
  const auto usage = cache::read_usage(at.get());
  auto lock = cache::UsageLock::acquire(at.get(), std::chrono::milliseconds(0));
  require(lock && lock->unknown() == !usage.has_value(), "both readers agree");
  lock->save();
  const auto again = cache::read_usage(at.get());
  require(again.has_value(), "what was saved is read");
  require(again->bytes() == (usage ? usage->bytes() : 0), "what was saved is what was read");
}

void choose(Input input) {
  std::vector<cache::Entry> entries;
  cache::Goal goal;
  goal.free_bytes = input.number<std::uint64_t>();
  goal.oldest_use_ns = input.number<std::int64_t>();
  while (input.rest().size() >= 16 && entries.size() < 1000) {
    cache::Entry entry;
    entry.bytes = input.number<std::uint64_t>();
    entry.last_use_ns = input.number<std::int64_t>();
    entries.push_back(entry);
  }
  const std::vector<std::size_t> chosen = cache::choose(entries, goal);
  require(chosen.size() <= entries.size(), "no entry goes twice");
  for (const std::size_t each : chosen) require(each < entries.size(), "what goes is there");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(fuzz::bytes_of(data, size));
  switch (input.below(7)) {
    case 0:
      read_entry(input.rest());
      break;
    case 1:
    case 2:
      read_entry(with_sum(input.rest(), 8));
      break;
    case 3:
      write_entry(input.rest());
      break;
    case 4:
      read_usage(input.rest());
      break;
    case 5:
      read_usage(with_sum(input.rest(), 8));
      break;
    default:
      choose(input);
  }
  return 0;
}
