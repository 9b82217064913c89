#include <doctest/doctest.h>
#include <sys/stat.h>

#include "base/error.hpp"
#include "store/directory_store.hpp"
#include "support.hpp"

using namespace runctl;

namespace {

store::PutResult put(store::ObjectStore& store, const std::string& key, const std::string& bytes) {
  const std::string_view parts[] = {std::string_view(bytes).substr(0, bytes.size() / 2),
                                    std::string_view(bytes).substr(bytes.size() / 2)};
  return store.put(key, parts, base::sha256(bytes));
}

std::string get(store::ObjectStore& store, const std::string& key, std::uint64_t offset,
                std::uint64_t length) {
  const store::Range range{key, offset, length};
  std::string got;
  store.read({&range, 1}, [&got](std::size_t, std::string bytes) { got = std::move(bytes); });
  return got;
}

}  // namespace

TEST_CASE("a directory keeps what was put, and keeps it once") {
  const tests::TemporaryDirectory directory;
  const auto store = store::open_directory(directory / "store");
  CHECK_FALSE(store->head("runs/v1/x").has_value());
  const store::PutResult first = put(*store, "runs/v1/x", "hello, world");
  CHECK(first.created);
  CHECK(first.info.size == 12);
  const store::PutResult again = put(*store, "runs/v1/x", "hello, world");
  CHECK_FALSE(again.created);
  CHECK(again.info.modified_ns == first.info.modified_ns);
  CHECK(store->head("runs/v1/x")->modified_ns == first.info.modified_ns);
  CHECK(get(*store, "runs/v1/x", 7, 5) == "world");
  // A file that was cut is no longer what its key names.
  tests::write_whole(directory / "store/runs/v1/x", "hello");
  CHECK(put(*store, "runs/v1/x", "hello, world").created);
  CHECK(get(*store, "runs/v1/x", 0, 12) == "hello, world");
  CHECK(store->remove("runs/v1/x"));
  CHECK_FALSE(store->remove("runs/v1/x"));
}

TEST_CASE("later objects are later, to the nanosecond") {
  const tests::TemporaryDirectory directory;
  const auto store = store::open_directory(directory.path());
  std::int64_t last = 0;
  for (int i = 0; i < 20; ++i) {
    const auto result = put(*store, "k" + std::to_string(i), "x");
    CHECK(result.info.modified_ns > last);
    last = result.info.modified_ns;
  }
}

TEST_CASE("a range that is not there is an error, not a short answer") {
  const tests::TemporaryDirectory directory;
  const auto store = store::open_directory(directory.path());
  put(*store, "a", "0123456789");
  CHECK_THROWS_AS(get(*store, "a", 5, 6), base::Error);
  CHECK_THROWS_AS(get(*store, "a", 11, 1), base::Error);
  CHECK_THROWS_AS(get(*store, "a", 0, std::uint64_t{1} << 60), base::Error);
  CHECK_THROWS_WITH_AS(get(*store, "none", 0, 1), doctest::Contains("none"), base::Error);
}

TEST_CASE("a listing is whole, sorted, and names objects only") {
  const tests::TemporaryDirectory directory;
  const auto store = store::open_directory(directory.path());
  for (const char* const key : {"runs/v1/b/2", "runs/v1/a/1", "runs/v1/a-b/1", "other/1"})
    put(*store, key, "x");
  tests::write_whole(directory / "runs/v1/a/.1.0123.tmp", "half");
  std::vector<std::string> keys;
  store->list("runs/v1/", [&keys](const store::ObjectInfo& info) { keys.push_back(info.key); });
  CHECK(keys == std::vector<std::string>{"runs/v1/a-b/1", "runs/v1/a/1", "runs/v1/b/2"});
  store->list("none/", [](const store::ObjectInfo&) { FAIL("nothing is there"); });
}

TEST_CASE("no key leads out of the store") {
  const tests::TemporaryDirectory directory;
  const auto store = store::open_directory(directory / "store");
  tests::write_whole(directory / "secret", "x");
  for (const std::string key : {"../secret", "/etc/passwd", "a/../../secret", "", "a//b", "."}) {
    CAPTURE(key);
    CHECK_THROWS_AS(store->head(key), base::Error);
  }
}
