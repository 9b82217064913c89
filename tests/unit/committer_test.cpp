// What becomes of batches where the store or the index fails while one is put and the one before it recorded.
#include "flow/committer.hpp"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>

#include "batch/frame.hpp"
#include "index/sqlite.hpp"
#include "run/reader.hpp"
#include "store/directory_store.hpp"
#include "support.hpp"

using namespace runctl;

namespace {

// A directory each of whose puts, by its number, does not begin before `before_put`, nor end before
// `after_put`.
class SteeredStore final : public store::ObjectStore {
 public:
  explicit SteeredStore(const std::string& path) : directory_(store::open_directory(path)) {}

  std::function<void(int)> before_put, after_put;

  store::PutResult put(const std::string& key, std::span<const std::string_view> parts,
                       const base::Sha256Digest& digest) override {
    const int number = ++puts_;
    if (before_put) before_put(number);
    store::PutResult result = directory_->put(key, parts, digest);
    if (after_put) after_put(number);
    return result;
  }
  void read(std::span<const store::Range> ranges, const RangeSink& sink) override {
    directory_->read(ranges, sink);
  }
  std::optional<store::ObjectInfo> head(const std::string& key) override { return directory_->head(key); }
  void list(const std::string& prefix, const std::function<void(const store::ObjectInfo&)>& visit) override {
    directory_->list(prefix, visit);
  }
  std::vector<std::string> list_groups(const std::string& prefix) override {
    return directory_->list_groups(prefix);
  }
  bool remove(const std::string& key) override { return directory_->remove(key); }
  [[nodiscard]] std::string url() const override { return directory_->url(); }
  [[nodiscard]] std::chrono::milliseconds time_step() const override { return directory_->time_step(); }
  [[nodiscard]] bool is_local() const override { return directory_->is_local(); }
  [[nodiscard]] store::Traffic traffic() const override { return directory_->traffic(); }

 private:
  const std::unique_ptr<store::ObjectStore> directory_;
  std::atomic<int> puts_{0};
};

// No file of this process can be written beyond `bytes`, as on a disk that is full.
void limit_files(rlim_t bytes) {
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &limit) == 0);
  limit.rlim_cur = std::min(bytes, limit.rlim_max);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

std::future<flow::CompleteBatch> batch_of(const std::string& run) {
  const auto block = std::make_shared<run::Block>();
  block->text = base::Text(run + "\n");
  run::BlockReader({}, 1U << 20).read(*block, {}, true);
  REQUIRE(block->records.size() == 1);
  batch::Writer writer(1U << 20, [](batch::FrameContent content) {
    std::promise<std::string> frame;
    frame.set_value(batch::compress_frame(content.joined(), batch::k_default_level));
    return frame.get_future();
  });
  writer.add(block->records.front(), block->arena, {block, &block->text});
  std::promise<flow::CompleteBatch> complete;
  batch::Batch batch = batch::complete(writer.finish());
  index::TableKeys keys = index::keys_of(batch.table);
  complete.set_value({std::move(batch), std::move(keys)});
  return complete.get_future();
}

// Two batches of a run each on their way from a pipe. The first is not recorded before the second is being
// put.
class TwoBatches {
 public:
  TwoBatches() {
    std::signal(SIGXFSZ, SIG_IGN);
    options_.spool = &spool;
    events.trouble = [](const std::string& /*what*/) { heal_index(); };
  }
  ~TwoBatches() { heal_index(); }

  const tests::TemporaryDirectory directory;
  SteeredStore store{directory / "store"};
  const flow::Spool spool{directory / "spool", 1U << 20};
  flow::IngestEvents events;
  std::optional<flow::Committer> committer;

  void let_index_fail() {
    limit_files(16U << 10);  // less than recording writes, and more than a batch has
    let_first_be_recorded();
  }
  void let_first_be_recorded() { lock_->execute("COMMIT"); }

  void ship() {
    committer.emplace(
        store, [this] { return index::Index::open(index_path(), store.url(), index::Index::Access::write); },
        options_, events, true, [] {});
    committer->start();
    lock_.emplace(index_path(), index::Database::Mode::write);
    lock_->execute("BEGIN IMMEDIATE");
    for (const char* const run : {R"({"id":"first"})", R"({"id":"second"})"})
      REQUIRE(committer->ship({batch_of(run), {}, flow::FilePlace{}}));
  }

  flow::IngestReport finish() {
    committer->finish();
    flow::IngestReport report;
    report.read = 2;
    committer->complete(report);
    return report;
  }

  // Runs that others see.
  [[nodiscard]] std::int64_t recorded() const {
    return index::Database(index_path(), index::Database::Mode::read).number("SELECT count(*) FROM run");
  }

  // What the next command finds.
  void check_all_stored() {
    committer.reset();
    index::Index index =
        std::move(*index::Index::open(index_path(), store.url(), index::Index::Access::write));
    flow::Delivery delivery(store, index, base::system_clock());
    const auto broken = [](const flow::SpooledBatch& /*batch*/, const base::Error& why) { FAIL(why.what()); };
    CHECK(
        delivery.drain(spool, [](const flow::SpooledBatch& /*batch*/, std::size_t /*added*/) {}, broken, {}));
    CHECK(index.status().runs == 2);
    std::size_t objects = 0;
    store.list("", [&objects](const store::ObjectInfo& /*object*/) { ++objects; });
    CHECK(objects == 2);
    CHECK(spool.waiting().empty());
  }

 private:
  static void heal_index() { limit_files(RLIM_INFINITY); }
  [[nodiscard]] std::string index_path() const { return directory / "index.sqlite"; }

  flow::IngestOptions options_;
  std::optional<index::Database> lock_;
};

}  // namespace

TEST_CASE("batches that were put while the index failed count as new when they are recorded") {
  TwoBatches batches;
  batches.store.after_put = [&batches](int number) {
    if (number == 2) batches.let_index_fail();
  };
  batches.ship();
  while (batches.committer->committed() < 2) std::this_thread::yield();
  CHECK(batches.spool.waiting().size() == 2);
  CHECK(batches.committer->store_is_down());
  while (batches.committer->store_is_down()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  const flow::IngestReport report = batches.finish();
  CHECK(report.stored == 2);
  CHECK(report.batches == 2);
  CHECK(report.duplicate == 0);
  CHECK(report.spooled == 0);
  batches.check_all_stored();
}

TEST_CASE("a batch that the store refuses while the one before is recorded waits alone") {
  TwoBatches batches;
  batches.store.before_put = [&batches](int number) {
    if (number != 2) return;
    batches.let_first_be_recorded();
    throw base::Error(base::ErrorKind::remote, "the store is away");
  };
  batches.ship();
  const flow::IngestReport report = batches.finish();
  CHECK(report.stored == 1);
  CHECK(report.spooled == 1);
  CHECK(report.failure->what() == std::string("the store is away"));
  CHECK(batches.spool.waiting().size() == 1);
  batches.check_all_stored();
}

TEST_CASE("a batch that store and spool refused once is put in its turn") {
  TwoBatches batches;
  batches.store.before_put = [&batches](int number) {
    if (number != 2) return;
    batches.let_index_fail();
    throw base::Error(base::ErrorKind::remote, "the store is away");
  };
  const std::string spool = batches.spool.directory();
  const std::string away = batches.directory / "away";
  batches.events.reached = [&](const flow::FilePlace& /*place*/) {
    if (std::filesystem::exists(away)) return;
    // The first waits; for the second there is no room.
    std::filesystem::rename(spool, away);
    tests::write_whole(spool, "");
    batches.committer->end();
  };
  batches.ship();
  const flow::IngestReport report = batches.finish();
  CHECK(report.stored == 1);
  CHECK(report.spooled == 1);
  CHECK(report.lost == 0);
  std::filesystem::remove(spool);
  std::filesystem::rename(away, spool);
  batches.check_all_stored();
}

TEST_CASE("a batch that the store refuses while it is recorded is put in its turn") {
  TwoBatches batches;
  batches.store.before_put = [&batches](int number) {
    if (number != 1) return;
    batches.let_first_be_recorded();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));  // all but the store's word is in the index
    throw base::Error(base::ErrorKind::remote, "the store is away");
  };
  tests::write_whole(batches.spool.directory(), "");  // a file in its place: the batch has no other
  batches.ship();
  const flow::IngestReport report = batches.finish();
  CHECK(report.stored == 2);
  CHECK(report.lost == 0);
  CHECK(report.failure->what() == std::string("the store is away"));
  std::filesystem::remove(batches.spool.directory());
  batches.check_all_stored();
}

TEST_CASE("a batch is recorded while a directory takes it, and not before that has") {
  TwoBatches batches;
  batches.store.before_put = [&](int number) {
    if (number == 1) batches.let_first_be_recorded();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    CHECK(batches.recorded() == number - 1);
  };
  batches.ship();
  CHECK(batches.finish().stored == 2);
  CHECK(batches.recorded() == 2);
  batches.check_all_stored();
}
