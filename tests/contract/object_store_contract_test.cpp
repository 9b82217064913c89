// What every ObjectStore promises, checked on each of them. A new kind of store is one more line in
// `factories`. Each test case works in a store of its own, which nothing else writes to.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/hash.hpp"
#include "s3/make_bucket.hpp"
#include "store/directory_store.hpp"
#include "store/object_store.hpp"
#include "store/s3_store.hpp"
#include "unit/support.hpp"

namespace {

using namespace runctl;
using store::ObjectInfo;
using store::ObjectStore;

std::string unique_name() {
  std::random_device random;
  return fmt::format("contract-{:08x}{:08x}", random(), random());
}

std::unique_ptr<ObjectStore> open_bucket(const char* endpoint_variable) {
  const store::Environment environment = store::process_environment();
  store::S3Options options;
  options.url = "s3://runctl-contract/" + unique_name();
  options.flags.endpoint_url = environment(endpoint_variable).value();
  options.flags.ca_bundle = environment("RUNCTL_TEST_S3_CA").value_or("");
  options.multipart_threshold = 6 << 20;
  options.part_size = 5 << 20;
  auto opened = store::open_s3(options);
  tests::make_bucket(opened->settings());
  return opened;
}

// A fresh, empty store of each kind; kinds that need a server are there where one is.
std::map<std::string, std::function<std::unique_ptr<ObjectStore>()>> factories() {
  std::map<std::string, std::function<std::unique_ptr<ObjectStore>()>> out;
  static const tests::TemporaryDirectory directory;
  out["directory"] = [] {
    const std::string path = directory / std::to_string(std::random_device{}());
    std::filesystem::create_directories(path);
    return store::open_directory(path);
  };
  for (const char* variable : {"RUNCTL_TEST_S3_ENDPOINT", "RUNCTL_TEST_S3_TLS_ENDPOINT"}) {
    if (std::getenv(variable) != nullptr) out[variable] = [variable] { return open_bucket(variable); };
  }
  return out;
}

void on_every_store(const std::function<void(ObjectStore&)>& test) {
  for (const auto& each : factories()) {
    const std::string& name = each.first;
    CAPTURE(name);
    const auto opened = each.second();
    test(*opened);
  }
}

store::PutResult put(ObjectStore& to, const std::string& key, const std::string& bytes) {
  const std::string_view parts[] = {std::string_view(bytes).substr(0, bytes.size() / 2),
                                    {},
                                    std::string_view(bytes).substr(bytes.size() / 2)};
  return to.put(key, parts, base::sha256(bytes));
}

std::string read(ObjectStore& from, const std::string& key, std::uint64_t offset, std::uint64_t length) {
  std::string out;
  const store::Range range{key, offset, length};
  from.read({&range, 1}, [&out](std::size_t, std::string bytes) { out = std::move(bytes); });
  return out;
}

std::vector<std::string> keys_under(ObjectStore& in, const std::string& prefix) {
  std::vector<std::string> out;
  in.list(prefix, [&out](const ObjectInfo& info) { out.push_back(info.key); });
  return out;
}

base::ErrorKind kind_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const base::Error& error) {
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    return error.kind();
  }
  FAIL("no error was thrown");
  return base::ErrorKind::io;
}

std::string pseudo_random(std::size_t size) {
  std::mt19937_64 random(size);
  std::string out;
  while (out.size() < size) base::append_number(out, random());
  out.resize(size);
  return out;
}

TEST_CASE("what was put is there, byte for byte, with one time in put, head and list") {
  on_every_store([](ObjectStore& s) {
    const std::string bytes = pseudo_random(100'003);
    const auto before = std::chrono::system_clock::now().time_since_epoch();
    const store::PutResult result = put(s, "runs/v1/2024-05-01/ab.ndjson.zst", bytes);
    CHECK(result.created);
    CHECK(result.info.key == "runs/v1/2024-05-01/ab.ndjson.zst");
    CHECK(result.info.size == bytes.size());
    CHECK(std::abs(result.info.modified_ns - std::chrono::nanoseconds(before).count()) < 60'000'000'000);
    CHECK(read(s, result.info.key, 0, bytes.size()) == bytes);

    const auto head = s.head(result.info.key);
    REQUIRE(head);
    CHECK(head->size == bytes.size());
    CHECK(head->modified_ns == result.info.modified_ns);
    std::vector<ObjectInfo> listed;
    s.list("", [&](const ObjectInfo& info) { listed.push_back(info); });
    REQUIRE(listed.size() == 1);
    CHECK(listed[0].key == result.info.key);
    CHECK(listed[0].size == bytes.size());
    CHECK(listed[0].modified_ns == result.info.modified_ns);
  });
}

TEST_CASE("an object of that key and size is kept, time and all") {
  on_every_store([](ObjectStore& s) {
    const store::PutResult first = put(s, "runs/a", "the same bytes");
    std::this_thread::sleep_for(std::chrono::milliseconds(1100));
    const store::PutResult second = put(s, "runs/a", "the same bytes");
    CHECK(first.created);
    CHECK_FALSE(second.created);
    CHECK(second.info.modified_ns == first.info.modified_ns);
    CHECK(keys_under(s, "").size() == 1);
  });
}

TEST_CASE("an empty object") {
  on_every_store([](ObjectStore& s) {
    CHECK(put(s, "empty", "").info.size == 0);
    REQUIRE(s.head("empty"));
    CHECK(s.head("empty")->size == 0);
  });
}

TEST_CASE("ranges come back exactly, whatever their number and order") {
  on_every_store([](ObjectStore& s) {
    const std::string a = pseudo_random(70'000);
    const std::string b = pseudo_random(50'001);
    put(s, "x/a", a);
    put(s, "x/b", b);
    std::vector<store::Range> ranges;
    std::mt19937 random(7);
    for (int i = 0; i < 100; ++i) {
      const bool of_a = random() % 2 == 0;
      const std::uint64_t size = of_a ? a.size() : b.size();
      const std::uint64_t offset = random() % size;
      ranges.push_back({of_a ? "x/a" : "x/b", offset, 1 + random() % (size - offset)});
    }
    ranges.push_back({"x/b", b.size() - 1, 1});
    std::vector<int> seen(ranges.size());
    const auto here = std::this_thread::get_id();
    s.read(ranges, [&](std::size_t index, const std::string& bytes) {
      CHECK(std::this_thread::get_id() == here);
      ++seen[index];
      const store::Range& range = ranges[index];
      CHECK(bytes == (range.key == "x/a" ? a : b).substr(range.offset, range.length));
    });
    CHECK(std::all_of(seen.begin(), seen.end(), [](int times) { return times == 1; }));
    s.read({}, [](std::size_t, const std::string&) { FAIL("nothing was asked for"); });
  });
}

TEST_CASE("what is absent or too short is told apart") {
  on_every_store([](ObjectStore& s) {
    put(s, "short", "0123456789");
    CHECK_FALSE(s.head("absent"));
    CHECK(kind_of([&] { read(s, "absent", 0, 1); }) == base::ErrorKind::not_found);
    CHECK(kind_of([&] { read(s, "short", 5, 6); }) == base::ErrorKind::corrupt);
    CHECK(kind_of([&] { read(s, "short", 10, 1); }) == base::ErrorKind::corrupt);
    CHECK(kind_of([&] { read(s, "short", 1000, 1); }) == base::ErrorKind::corrupt);
    CHECK(read(s, "short", 5, 5) == "56789");
  });
}

TEST_CASE("a listing is whole, ascending, and bound to its prefix") {
  on_every_store([](ObjectStore& s) {
    CHECK(keys_under(s, "").empty());
    CHECK(s.list_groups("runs/v1/").empty());
    const std::vector<std::string> keys{"runs/v1/2024-01-02/b",
                                        "runs/v1/2024-01-02/a",
                                        "runs/v1/2024-01-02/a.b",
                                        "runs/v1/2024-01-03/c",
                                        "runs/v1/mixed/d",
                                        "runs/v10/x",
                                        "runs/v1-y/z",
                                        "other"};
    for (const std::string& key : keys) put(s, key, key);
    std::vector<std::string> sorted = keys;
    std::sort(sorted.begin(), sorted.end());
    CHECK(keys_under(s, "") == sorted);
    CHECK(keys_under(s, "runs/v1/2024-01-02/") ==
          std::vector<std::string>{"runs/v1/2024-01-02/a", "runs/v1/2024-01-02/a.b", "runs/v1/2024-01-02/b"});
    CHECK(keys_under(s, "runs/v1/2024-01-0").size() == 4);
    CHECK(keys_under(s, "absent/").empty());
    CHECK(s.list_groups("runs/v1/") == std::vector<std::string>{"2024-01-02", "2024-01-03", "mixed"});
    CHECK(s.list_groups("runs/") == std::vector<std::string>{"v1", "v1-y", "v10"});
    CHECK(s.list_groups("") == std::vector<std::string>{"runs"});
  });
}

TEST_CASE("an object is removed once") {
  on_every_store([](ObjectStore& s) {
    put(s, "runs/a", "bytes");
    CHECK(s.remove("runs/a"));
    CHECK_FALSE(s.remove("runs/a"));
    CHECK_FALSE(s.head("runs/a"));
    CHECK(keys_under(s, "").empty());
    CHECK(put(s, "runs/a", "bytes").created);
  });
}

TEST_CASE("several threads at once") {
  on_every_store([](ObjectStore& s) {
    std::vector<std::thread> threads;
    std::atomic<int> good = 0;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 5; ++i) {
          const std::string key = fmt::format("t/{}-{}", t % 4, i);  // two threads each write the same keys
          const std::string bytes = pseudo_random(1000 + static_cast<std::size_t>(t % 4));
          put(s, key, bytes);
          if (read(s, key, 10, 500) == bytes.substr(10, 500)) ++good;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(good == 40);
    CHECK(keys_under(s, "t/").size() == 20);
  });
}

TEST_CASE("a listing longer than a server's page") {
  on_every_store([](ObjectStore& s) {
    constexpr int count = 1003;  // S3 sends a thousand at a time
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&s, t] {
        for (int i = t; i < count; i += 8) put(s, fmt::format("many/{:04}", i), "x");
      });
    }
    for (std::thread& thread : threads) thread.join();
    const std::vector<std::string> keys = keys_under(s, "many/");
    REQUIRE(keys.size() == count);
    for (int i = 0; i < count; ++i) CHECK(keys[static_cast<std::size_t>(i)] == fmt::format("many/{:04}", i));
  });
}

TEST_CASE("a large object") {
  on_every_store([](ObjectStore& s) {
    const std::string bytes = pseudo_random((12 << 20) + 17);
    const store::PutResult result = put(s, "large", bytes);
    CHECK(result.created);
    CHECK(result.info.size == bytes.size());
    CHECK_FALSE(put(s, "large", bytes).created);
    CHECK(read(s, "large", 0, bytes.size()) == bytes);
    CHECK(read(s, "large", (5 << 20) - 1, 2) == bytes.substr((5 << 20) - 1, 2));
  });
}

TEST_CASE("traffic is counted") {
  on_every_store([](ObjectStore& s) {
    put(s, "a", "0123456789");
    const store::Traffic before = s.traffic();
    read(s, "a", 2, 3);
    const store::Traffic after = s.traffic();
    CHECK(after.requests == before.requests + 1);
    CHECK(after.bytes_read == before.bytes_read + 3);
    CHECK(before.bytes_written >= 10);
    CHECK(after.retries == 0);
    std::uint64_t sum = 0;
    for (const auto& [kind, count] : after.by_kind) sum += count;
    CHECK(sum == after.requests);
    const auto reads = [](const store::Traffic& traffic) {
      std::uint64_t count = 0;
      for (const auto& [kind, times] : traffic.by_kind) count += kind.kind == "get" ? times : 0;
      return count;
    };
    CHECK(reads(after) == reads(before) + 1);
  });
}

}  // namespace
