// The cache: which entries go, what an entry is, and what is none.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <thread>

#include "base/hash.hpp"
#include "cache/cleaning.hpp"
#include "cache/entry.hpp"
#include "cache/eviction.hpp"
#include "cache/frame_cache.hpp"
#include "cache/upkeep.hpp"
#include "support.hpp"

using namespace runctl;
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t k_second = 1'000'000'000;
const std::string k_url = "s3://bucket/prefix";
const std::string k_key = "runs/v1/mixed/0123.ndjson.zst";

std::vector<cache::Entry> entries(
    std::initializer_list<std::pair<std::uint64_t, std::int64_t>> sizes_and_uses) {
  std::vector<cache::Entry> out;
  for (const auto& [bytes, use] : sizes_and_uses) out.push_back({std::to_string(out.size()), 0, bytes, use});
  return out;
}

std::string noise(std::size_t length, std::uint64_t seed) {
  tests::Random random(seed);
  std::string bytes(length, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random.below(256));
  return bytes;
}

// A cache in a directory of its own, and its files.
struct Files {
  tests::TemporaryDirectory directory;
  std::string notes;

  cache::FrameCache open(std::uint64_t bytes = 1U << 30, const std::string& url = k_url) {
    cache::Limits limits;
    limits.bytes = bytes;
    return {directory / "cache", url, limits, [this](const std::string& note) { notes += note + "\n"; }};
  }
  std::string path(const std::string& key, std::uint64_t offset, std::uint64_t length,
                   const std::string& url = k_url) const {
    const std::string name = cache::name_of(cache::identity_of(url, key, offset, length));
    return (directory / "cache/v1/") + name.substr(0, 2) + "/" + name;
  }
  std::vector<std::string> all() const {
    std::vector<std::string> paths;
    if (!fs::exists(directory / "cache")) return paths;
    for (const auto& entry : fs::recursive_directory_iterator(directory / "cache"))
      if (cache::is_entry_name(entry.path().filename().string())) paths.push_back(entry.path().string());
    return paths;
  }
  std::uint64_t du() const {
    struct stat status {};
    ::lstat((directory / "cache").c_str(), &status);
    std::uint64_t sum = static_cast<std::uint64_t>(status.st_blocks) * 512;
    for (const auto& entry : fs::recursive_directory_iterator(directory / "cache")) {
      if (::lstat(entry.path().c_str(), &status) == 0)
        sum += static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
    return sum;
  }
};

void make_older(const std::string& path, std::int64_t seconds) {
  timespec times[2]{};
  ::clock_gettime(CLOCK_REALTIME, &times[1]);
  times[1].tv_sec -= seconds;
  times[0] = times[1];
  REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0);
}

std::int64_t age_seconds(const std::string& path) {
  struct stat status {};
  REQUIRE(::lstat(path.c_str(), &status) == 0);
  return ::time(nullptr) - status.st_mtim.tv_sec;
}

}  // namespace

TEST_CASE("the least recently used entries go, and no more than must") {
  using Positions = std::vector<std::size_t>;
  const auto some = entries({{10, 5}, {20, 1}, {30, 3}, {40, 2}});
  CHECK(cache::choose(some, {}).empty());
  CHECK(cache::choose(some, {1}) == Positions{1});
  CHECK(cache::choose(some, {20}) == Positions{1});
  CHECK(cache::choose(some, {21}) == Positions{1, 3});
  CHECK(cache::choose(some, {90}) == Positions{1, 3, 2});
  CHECK(cache::choose(some, {1'000'000}) == Positions{1, 3, 2, 0});
  CHECK(cache::choose({}, {1}).empty());
  // By age alone, and by both.
  CHECK(cache::choose(some, {0, 3}) == Positions{1, 3});
  CHECK(cache::choose(some, {61, 2}) == Positions{1, 3, 2});
  CHECK(cache::choose(some, {0, 1}).empty());
  // Equally old ones in the order of their names.
  CHECK(cache::choose(entries({{1, 7}, {1, 7}, {1, 7}}), {2}) == Positions{0, 1});
}

TEST_CASE("an entry is what was written, and nothing else is") {
  const std::string identity = cache::identity_of(k_url, k_key, 17, 5);
  const std::string file = cache::head_of(identity, "frame") + "frame";
  const std::string name = cache::name_of(identity);
  CHECK(cache::is_entry_name(name));
  CHECK_FALSE(cache::is_entry_name("usage"));
  CHECK_FALSE(cache::is_entry_name(name + "0"));
  CHECK_FALSE(cache::is_entry_name("." + name.substr(1)));
  CHECK(cache::frame_in(file, identity) == "frame");
  CHECK(cache::fault_of(name, file).empty());
  for (std::size_t length = 0; length < file.size(); ++length) {
    CHECK_FALSE(cache::frame_in(std::string_view(file).substr(0, length), identity));
    CHECK_FALSE(cache::fault_of(name, std::string_view(file).substr(0, length)).empty());
  }
  for (std::size_t bit = 0; bit < file.size() * 8; ++bit) {
    std::string flipped = file;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    CHECK_FALSE(cache::frame_in(flipped, identity));
    CHECK_FALSE(cache::fault_of(name, flipped).empty());
  }
  CHECK_FALSE(cache::frame_in(file + "x", identity));
  // Another store, batch, offset or length has another name, and is not taken for this one.
  for (const std::string& other :
       {cache::identity_of("s3://bucket/other", k_key, 17, 5), cache::identity_of(k_url, "runs/v1/x", 17, 5),
        cache::identity_of(k_url, k_key, 18, 5), cache::identity_of(k_url, k_key, 17, 6)}) {
    CHECK(cache::name_of(other) != name);
    CHECK_FALSE(cache::frame_in(file, other));
    CHECK(cache::fault_of(cache::name_of(other), file) == "is the entry of another frame");
  }
  // Lengths that point far beyond the file.
  for (const std::size_t place : {16U, 20U}) {
    std::string huge = file;
    std::memset(huge.data() + place, 0xFF, 4);
    const std::uint64_t checksum = base::xxh3_64(std::string_view(huge).substr(16));
    std::memcpy(huge.data() + 8, &checksum, 8);
    CHECK_FALSE(cache::frame_in(huge, identity));
    CHECK_FALSE(cache::fault_of(name, huge).empty());
  }
}

TEST_CASE("what is kept is found, by its store, batch and place alone") {
  Files files;
  const std::string frame = noise(70'000, 1);
  {
    cache::FrameCache cache = files.open();
    CHECK_FALSE(cache.find(k_key, 0, frame.size()));
    CHECK_FALSE(fs::exists(files.directory / "cache"));
    cache.keep(k_key, 0, frame);
    CHECK(cache.find(k_key, 0, frame.size()) == frame);
    CHECK(cache.contains(k_key, 0, frame.size()));
    CHECK_FALSE(cache.find(k_key, 1, frame.size()));
    CHECK_FALSE(cache.find(k_key, 0, frame.size() - 1));
    CHECK_FALSE(cache.find("runs/v1/mixed/other", 0, frame.size()));
    CHECK(cache.hits() == 1);
    CHECK(cache.misses() == 4);
  }
  {
    cache::FrameCache other = files.open(1U << 30, "s3://bucket/other");
    CHECK_FALSE(other.find(k_key, 0, frame.size()));
  }
  CHECK(files.open().find(k_key, 0, frame.size()) == frame);
  const cache::Stats stats = cache::stats(files.directory / "cache");
  CHECK(stats.entries == 1);
  CHECK(stats.bytes == files.du());
  CHECK(stats.hits == 2);
  CHECK(stats.misses == 5);
  for (const char* path : {"cache", "cache/v1"}) {
    struct stat status {};
    REQUIRE(::stat((files.directory / path).c_str(), &status) == 0);
    CHECK((status.st_mode & 07777U) == 0700);
  }
  struct stat status {};
  REQUIRE(::stat(files.path(k_key, 0, frame.size()).c_str(), &status) == 0);
  CHECK((status.st_mode & 07777U) == 0600);
  CHECK(files.notes.empty());
}

TEST_CASE("whatever stands in the place of an entry is a miss, and goes") {
  Files files;
  const std::string frame = noise(3'000, 2);
  const std::string path = files.path(k_key, 0, frame.size());
  files.open().keep(k_key, 0, frame);
  const std::string whole = tests::read_whole(path);
  const std::string foreign = files.path(k_key, 9, frame.size());
  files.open().keep(k_key, 9, frame);
  const std::string elsewhere = files.directory / "elsewhere";
  tests::write_whole(elsewhere, whole);
  const auto put = [&](int what) {
    std::string changed = whole;
    fs::remove_all(path);
    switch (what) {
      case 0:
        return tests::write_whole(path, "");
      case 1:
        return tests::write_whole(path, whole.substr(0, whole.size() / 2));
      case 2:
        return tests::write_whole(path, whole + "x");
      case 3:
        changed[whole.size() / 2] ^= 4;
        return tests::write_whole(path, changed);
      case 4:
        changed[3] ^= 1;
        return tests::write_whole(path, changed);
      case 5:
        return fs::copy(foreign, path);
      case 6:
        return fs::create_symlink(elsewhere, path);
      case 7:
        return fs::create_symlink("/dev/zero", path);
      case 8:
        fs::create_directory(path);
        return;
      case 9:
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        return;
      case 10:
        std::memset(changed.data() + 16, 0xFF, 8);
        return tests::write_whole(path, changed);
      default:
        tests::write_whole(path, "");
        return fs::resize_file(path, std::uint64_t{1} << 40);
    }
  };
  for (int what = 0; what < 12; ++what) {
    CAPTURE(what);
    put(what);
    {
      cache::FrameCache cache = files.open();
      CHECK_FALSE(cache.find(k_key, 0, frame.size()));
      CHECK_FALSE(fs::exists(fs::symlink_status(path)));
      cache.keep(k_key, 0, frame);
      CHECK(cache.find(k_key, 0, frame.size()) == frame);
    }
    put(what);
    std::string said;
    const cache::VerifyReport report =
        cache::verify(files.directory / "cache", [&](const std::string& why) { said += why; });
    CHECK(report.checked == 2);
    CHECK(report.bad == 1);
    CHECK(said.starts_with(path));
    CHECK_FALSE(fs::exists(fs::symlink_status(path)));
    files.open().keep(k_key, 0, frame);
  }
  CHECK(tests::read_whole(elsewhere) == whole);
  // A directory that is not empty stays, and is still a miss and no failure.
  fs::remove(path);
  fs::create_directory(path);
  tests::write_whole(path + "/not ours", "");
  cache::FrameCache cache = files.open();
  CHECK_FALSE(cache.find(k_key, 0, frame.size()));
  cache.keep(k_key, 0, frame);
  CHECK(fs::exists(path + "/not ours"));
  CHECK(cache.find(k_key, 9, frame.size()) == frame);
  CHECK(cache::stats(files.directory / "cache").bytes == files.du());
}

TEST_CASE("links lead nowhere: not as a shard, not as the cache itself") {
  Files files;
  const std::string frame = noise(3'000, 3);
  files.open().keep(k_key, 0, frame);
  const fs::path shard = fs::path(files.path(k_key, 0, frame.size())).parent_path();
  fs::rename(shard, files.directory / "moved");
  fs::create_directory_symlink(files.directory / "moved", shard);
  {
    cache::FrameCache cache = files.open();
    CHECK_FALSE(cache.find(k_key, 0, frame.size()));
    cache.keep(k_key, 0, frame);
    CHECK(cache.fault().find("nothing more is kept") != std::string::npos);
  }
  cache::clear(files.directory / "cache");
  CHECK(fs::exists((files.directory / "moved/") +
                   fs::path(files.path(k_key, 0, frame.size())).filename().string()));
  fs::rename(files.directory / "cache/v1", files.directory / "v1");
  fs::create_directory_symlink(files.directory / "v1", files.directory / "cache/v1");
  cache::FrameCache cache = files.open();
  CHECK_FALSE(cache.find(k_key, 0, frame.size()));
  cache.keep(k_key, 0, frame);
  CHECK_FALSE(cache.fault().empty());
}

TEST_CASE("a directory that others may write into is not trusted") {
  Files files;
  const std::string frame = noise(3'000, 3);
  files.open().keep(k_key, 0, frame);
  REQUIRE(::chmod((files.directory / "cache/v1").c_str(), 0777) == 0);
  cache::FrameCache cache = files.open();
  CHECK_FALSE(cache.find(k_key, 0, frame.size()));
  CHECK(cache.fault().find("others may write") != std::string::npos);
}

TEST_CASE("the disk use stays under the limit, and what was used last stays") {
  Files files;
  constexpr std::uint64_t k_limit = 1'000'000;
  tests::Random random(7);
  const std::string pinned = noise(30'000, 0);
  files.open(k_limit).keep(k_key, 999'999, pinned);
  for (std::uint64_t i = 0; i < 300; ++i) {
    cache::FrameCache cache = files.open(k_limit);
    cache.keep(k_key, i, noise(1 + random.below(90'000), i));
    CHECK(files.du() <= k_limit);
    // As if a minute had gone by: all others grow old.
    for (const std::string& path : files.all()) make_older(path, age_seconds(path) + 61);
    CHECK(cache.find(k_key, 999'999, pinned.size()) == pinned);
  }
  CHECK(cache::stats(files.directory / "cache").entries > 8);
  // The books agree with the disk.
  CHECK(cache::stats(files.directory / "cache").bytes == files.du());
  // What is larger than the limit is not kept, and nothing goes for it.
  const std::size_t before = files.all().size();
  files.open(k_limit).keep(k_key, 1, noise(2'000'000, 1));
  CHECK(files.all().size() == before);
  CHECK(files.notes.empty());
}

TEST_CASE("a hit is written down only when the last one is a minute ago") {
  Files files;
  const std::string frame = noise(3'000, 4);
  files.open().keep(k_key, 0, frame);
  const std::string path = files.path(k_key, 0, frame.size());
  make_older(path, 30);
  CHECK(files.open().find(k_key, 0, frame.size()) == frame);
  CHECK(age_seconds(path) >= 29);
  make_older(path, 3600);
  CHECK(files.open().find(k_key, 0, frame.size()) == frame);
  CHECK(age_seconds(path) <= 2);
}

TEST_CASE("too old an entry is a miss and goes") {
  Files files;
  const std::string frame = noise(3'000, 4);
  files.open().keep(k_key, 0, frame);
  make_older(files.path(k_key, 0, frame.size()), 100);
  cache::Limits limits;
  const auto younger_than = [&](std::int64_t seconds) {
    limits.oldest_use_ns = (::time(nullptr) - seconds) * k_second;
    cache::FrameCache cache(files.directory / "cache", k_url, limits, [](const std::string&) {});
    return cache.find(k_key, 0, frame.size()).has_value();
  };
  make_older(files.path(k_key, 0, frame.size()), 50);
  CHECK(younger_than(100));
  make_older(files.path(k_key, 0, frame.size()), 200);
  CHECK_FALSE(younger_than(100));
  CHECK(files.all().empty());
}

TEST_CASE("cleaning brings the cache to its limits and takes what killed writers left") {
  Files files;
  const std::string path = files.directory / "cache";
  {
    cache::FrameCache cache = files.open();
    for (std::uint64_t i = 0; i < 40; ++i) cache.keep(k_key, i, noise(20'000, i));
  }
  for (std::uint64_t i = 0; i < 40; ++i)
    make_older(files.path(k_key, i, 20'000), static_cast<std::int64_t>(1000 + i));
  const std::string shard = fs::path(files.path(k_key, 3, 20'000)).parent_path();
  tests::write_whole(shard + "/.0123.4567.tmp", "half");
  tests::write_whole(shard + "/.89ab.cdef.tmp", "young");
  make_older(shard + "/.0123.4567.tmp", 4000);
  cache::Limits limits;
  using cache::DryRun;
  CHECK(cache::clean(path, limits, DryRun::yes, std::chrono::seconds(9)).removed == 0);
  CHECK(fs::exists(shard + "/.0123.4567.tmp"));
  CHECK(cache::clean(path, limits, DryRun::no, std::chrono::seconds(9)).removed == 0);
  CHECK_FALSE(fs::exists(shard + "/.0123.4567.tmp"));
  CHECK(fs::exists(shard + "/.89ab.cdef.tmp"));
  limits.bytes = files.du() - 50'000;
  const cache::CleanReport foreseen = cache::clean(path, limits, DryRun::yes, std::chrono::seconds(9));
  CHECK(foreseen.removed == 3);
  CHECK(files.all().size() == 40);
  const cache::CleanReport report = cache::clean(path, limits, DryRun::no, std::chrono::seconds(9));
  CHECK(report.finished);
  CHECK(report.removed <= foreseen.removed);
  CHECK(report.entries == files.all().size());
  CHECK(report.bytes == files.du());
  CHECK(files.du() <= limits.bytes);
  CHECK_FALSE(fs::exists(files.path(k_key, 39, 20'000)));  // the oldest
  CHECK(fs::exists(files.path(k_key, 0, 20'000)));
  // By age alone.
  limits.bytes = 1U << 30;
  limits.oldest_use_ns = (::time(nullptr) - 1010) * k_second;
  cache::clean(path, limits, DryRun::no, std::chrono::seconds(9));
  CHECK(files.all().size() >= 9);
  CHECK(files.all().size() <= 11);
  const std::size_t left = files.all().size();
  CHECK(cache::clear(path).removed == left);
  CHECK(files.all().empty());
  CHECK(cache::stats(path).hits == 0);
}

TEST_CASE("a cleaning whose time is up stops, and the next one goes on") {
  Files files;
  {
    cache::FrameCache cache = files.open();
    for (std::uint64_t i = 0; i < 100; ++i) cache.keep(k_key, i, "frame");
  }
  cache::Limits limits;
  limits.bytes = 0;
  const auto clean = [&] {
    return cache::clean(files.directory / "cache", limits, cache::DryRun::no, std::chrono::seconds(0));
  };
  const cache::CleanReport first = clean();
  CHECK_FALSE(first.finished);
  CHECK(first.removed > 0);
  CHECK(first.entries == 100 - first.removed);
  int calls = 1;
  while (!clean().finished) ++calls;
  CHECK(calls < 10);
  CHECK(files.all().empty());
}

TEST_CASE("what the shared books say is not believed without a checksum") {
  Files files;
  const std::string books = files.directory / "cache/v1/usage";
  {
    cache::FrameCache cache = files.open();
    for (std::uint64_t i = 0; i < 20; ++i) cache.keep(k_key, i, noise(20'000, i));
  }
  std::string bytes = tests::read_whole(books);
  bytes[100] ^= 1;
  for (const std::string& content : {bytes, std::string(), std::string(100'000, 'x')}) {
    tests::write_whole(books, content);
    cache::FrameCache cache = files.open(300'000);
    cache.keep(k_key, 1000, noise(20'000, 1));
    CHECK(files.du() <= 300'000);
    CHECK(cache.find(k_key, 1000, 20'000));
  }
  fs::remove(books);
  files.open(300'000).keep(k_key, 1001, noise(20'000, 1));
  CHECK(files.du() <= 300'000);
}

TEST_CASE("a cache that cannot be written is silent but for one note") {
  Files files;
  tests::write_whole(files.directory / "cache", "a file");
  {
    cache::FrameCache cache = files.open();
    CHECK_FALSE(cache.find(k_key, 0, 3));
    cache.keep(k_key, 0, "abc");
    cache.keep(k_key, 1, "abc");
    CHECK_FALSE(cache.find(k_key, 0, 3));
    CHECK(cache.misses() == 2);
  }
  CHECK(std::count(files.notes.begin(), files.notes.end(), '\n') == 1);
}

TEST_CASE("of those who change the shared books, one at a time does") {
  const tests::TemporaryDirectory directory;
  const base::FileDescriptor place(::open(directory.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto count = [&] {
    for (int i = 0; i < 400; ++i) {
      auto lock = cache::UsageLock::acquire(place.get(), std::chrono::seconds(60));
      ++lock->usage.hits;
      lock->usage.shards[static_cast<std::size_t>(i) % cache::k_shards].bytes += 4096;
      lock->save();
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(count);
  for (std::thread& thread : threads) thread.join();
  const auto usage = cache::read_usage(place.get());
  REQUIRE(usage);
  CHECK(usage->hits == 1600);
  CHECK(usage->bytes() == 1600 * 4096);
}
