#include "index/index.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <limits>
#include <tuple>
#include <unordered_map>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/time.hpp"
#include "index/schema.hpp"
#include "index/tables.hpp"

namespace runctl::index {

namespace {

using base::Error;
using base::ErrorKind;

// So many are looked for by the filters of all segments, 12 bits a run, which are read for that; of fewer,
// reading a block of each segment for each takes less.
constexpr std::size_t k_many_ids = 256;

void sort_latest_first(std::vector<Version>& versions) {
  std::sort(versions.begin(), versions.end(),
            [](const Version& a, const Version& b) { return a.age() > b.age(); });
}

// Removes what SQLite leaves beside a file when it fails.
class Company {
 public:
  explicit Company(const std::string& path) : path_(path) {}
  ~Company() {
    for (const char* const suffix : {"-journal", "-wal", "-shm"}) ::unlink((path_ + suffix).c_str());
  }
  Company(const Company&) = delete;
  Company& operator=(const Company&) = delete;

 private:
  const std::string path_;
};

}  // namespace

// An index belongs to one store: with another's it would point to objects that are not there.
void Index::Tables::bind_to_store(const std::string& store_url, Access access) {
  Statement read = database.prepare("SELECT value FROM setting WHERE name = 'store'");
  if (read.step()) {
    const std::string known(read.bytes(0));
    if (known == store_url) return;
    throw Error(ErrorKind::usage,
                path + ": is the index of " + known + ", not of " + store_url + "; give another --index");
  }
  if (access == Access::read) return;
  read.reset();
  Statement write = database.prepare("INSERT OR IGNORE INTO setting(name, value) VALUES('store', ?1)");
  write.bind_text(1, store_url).run();
}

Index::Index(std::unique_ptr<Tables> tables) : tables_(std::move(tables)) {}
Index::Index(Index&&) noexcept = default;
Index& Index::operator=(Index&&) noexcept = default;
Index::~Index() = default;

// An index appears with all its tables at once: several processes may want to make the same one, and a switch
// to WAL does not wait for its turn.
void Index::create(const std::string& path, const std::string& store_url, base::AtomicFile::Replace replace) {
  base::make_directories(std::filesystem::absolute(path).parent_path().string());
  base::AtomicFile file(path);
  {
    const Company company(file.temporary_path());
    Database database(file.temporary_path(), Database::Mode::create);
    create_schema(database, store_url);
  }
  // The log of an index that was removed without it would be replayed into the new one.
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || status.st_size == 0) {
    ::unlink((path + "-wal").c_str());
    ::unlink((path + "-shm").c_str());
  }
  file.commit(replace);
}

// An empty file, as a full disk leaves it, is an index that is still to be made. Of the processes that find
// it, the first one does.
void Index::replace_empty(const std::string& path, const std::string& store_url) {
  const base::FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat held {};
  struct stat now {};
  if (!file || ::flock(file.get(), LOCK_EX) != 0 || ::fstat(file.get(), &held) != 0 ||
      ::stat(path.c_str(), &now) != 0)
    base::throw_errno(path, errno);
  const bool same = held.st_ino == now.st_ino && held.st_dev == now.st_dev;
  if (same && now.st_size == 0) create(path, store_url, base::AtomicFile::Replace::yes);
}

std::optional<Index> Index::open(const std::string& path, const std::string& store_url, Access access) {
  struct stat status {};
  const bool there = ::stat(path.c_str(), &status) == 0;
  if (there && !S_ISREG(status.st_mode)) {
    throw Error(ErrorKind::usage,
                path + (S_ISDIR(status.st_mode) ? ": is a directory" : ": is no regular file") +
                    "; --index takes a file");
  }
  const bool empty = there && status.st_size == 0;
  if (access == Access::read && (!there || empty)) return std::nullopt;
  if (!there) create(path, store_url, base::AtomicFile::Replace::no);
  if (empty) replace_empty(path, store_url);
  Database database(path, access == Access::read ? Database::Mode::read : Database::Mode::write);
  if (schema_version(database, path) < k_schema_version) {
    Database older(path, Database::Mode::write);
    migrate(older);
  }
  auto tables = std::make_unique<Tables>(path, std::move(database));
  if (access == Access::write) {
    // The store is the truth: after a power cut the index may miss its last batches, never have half of one.
    tables->database.execute("PRAGMA synchronous = NORMAL");
    tables->database.execute("PRAGMA cache_size = -16384");
    tables->database.execute("PRAGMA secure_delete = OFF");
    // Pages of 8 KiB: the log goes to the file after nearly every batch, beside the compression of the next.
    // All at the end it cost a fresh index a fifteenth of the whole ingest, with nothing left to do beside
    // it.
    tables->database.execute("PRAGMA wal_autocheckpoint = 128");
  }
  tables->bind_to_store(store_url, access);
  return Index(std::move(tables));
}

bool Index::Tables::is_run(std::uint32_t row, const run::Id& id, std::uint64_t& fingerprint) {
  select_identity.bind(1, row);
  const bool same = select_identity.step() && select_identity.bytes(0) == bytes_of(id);
  if (same) fingerprint = static_cast<std::uint64_t>(select_identity.number(1));
  select_identity.reset();
  return same;
}

std::vector<std::int64_t> Index::batches_of(const std::vector<run::Id>& ids,
                                            const std::vector<std::uint64_t>& fingerprints) {
  std::vector<std::int64_t> batches(ids.size(), 0);
  const Snapshot snapshot(tables_->database);
  Statement batch_of_row = tables_->database.prepare("SELECT batch FROM run WHERE run = ?1");
  tables_->ids.find_many(postings_of(ids), [&](std::uint32_t i, std::uint32_t row) {
    std::uint64_t fingerprint = 0;
    if (!tables_->is_run(row, ids[i], fingerprint) || fingerprint != fingerprints[i]) return;
    batch_of_row.bind(1, row);
    if (batch_of_row.step()) batches[i] = batch_of_row.number(0);
    batch_of_row.reset();
  });
  return batches;
}

void Index::remove(const std::string& path) {
  for (const char* const suffix : {"", "-wal", "-shm"}) {
    std::error_code failure;
    std::filesystem::remove(path + suffix, failure);
    if (failure) throw Error(ErrorKind::io, path + suffix + ": cannot be removed: " + failure.message());
  }
}

void Index::Tables::add_version(std::uint32_t row, const run::Id& id, std::vector<Version>& versions) {
  if (select_version.bind(1, row).bind_blob(2, bytes_of(id)).step()) {
    Version& version = versions.emplace_back();
    version.location = {row, select_version.number(0), static_cast<std::uint64_t>(select_version.number(1)),
                        static_cast<std::uint32_t>(select_version.number(2)),
                        static_cast<std::uint64_t>(select_version.number(3))};
    version.modified = select_version.number(4);
    version.key = select_version.bytes(5);
  }
  select_version.reset();
}

std::vector<Version> Index::Tables::versions(const run::Id& id) {
  std::vector<Version> found;
  ids.find(id_key(id), [&](std::uint32_t row) { add_version(row, id, found); });
  sort_latest_first(found);
  return found;
}

std::vector<std::vector<Version>> Index::Tables::versions(const std::vector<run::Id>& wanted) {
  std::vector<std::vector<Version>> found(wanted.size());
  if (wanted.size() < k_many_ids) {
    std::transform(wanted.begin(), wanted.end(), found.begin(),
                   [this](const run::Id& id) { return versions(id); });
    return found;
  }
  ids.find_many(postings_of(wanted), [&](std::uint32_t asked, std::uint32_t row) {
    add_version(row, wanted[asked], found[asked]);
  });
  std::for_each(found.begin(), found.end(), sort_latest_first);
  return found;
}

std::vector<Location> Index::find(const run::Id& id) { return std::move(find(std::vector{id}).front()); }

std::vector<std::vector<Location>> Index::find(const std::vector<run::Id>& ids) {
  const Snapshot snapshot(tables_->database);
  std::vector<std::vector<Location>> found;
  found.reserve(ids.size());
  for (const std::vector<Version>& versions : tables_->versions(ids)) {
    std::vector<Location>& locations = found.emplace_back();
    for (const Version& version : versions) locations.push_back(version.location);
  }
  return found;
}

void Index::ask_at_once(const std::function<void()>& ask) {
  const Snapshot snapshot(tables_->database);
  ask();
}

std::vector<Location> Index::find_trace(const run::Id& trace) {
  // Runs that start at the same time, or of which nobody knows when, come in the order in which they were
  // stored: it does not depend on the order in which this index heard of them.
  struct Member {
    std::int64_t start = 0;
    const BatchInfo* batch = nullptr;
    Location location;
    [[nodiscard]] auto order() const {
      return std::tie(start, batch->modified_ns, batch->key, location.raw_offset);
    }
  };
  Query query;
  query.trace = trace;
  query.order = Query::Order::oldest;
  query.limit = 0;
  std::unordered_map<std::int64_t, BatchInfo> batches;
  std::vector<Member> members;
  const Snapshot snapshot(tables_->database);
  search(query, [&](const Hit& hit) {
    const auto [entry, added] = batches.try_emplace(hit.location.batch);
    if (added) entry->second = batch(hit.location.batch);
    const bool timed = hit.facts.start != base::k_no_time;
    members.push_back(
        {timed ? hit.facts.start : std::numeric_limits<std::int64_t>::max(), &entry->second, hit.location});
  });
  std::sort(members.begin(), members.end(),
            [](const Member& a, const Member& b) { return a.order() < b.order(); });
  std::vector<Location> locations;
  for (const Member& member : members) locations.push_back(member.location);
  return locations;
}

std::vector<std::string> Index::batch_keys() {
  std::vector<std::string> keys;
  Statement select = tables_->database.prepare("SELECT key FROM batch");
  while (select.step()) keys.emplace_back(select.bytes(0));
  return keys;
}

// Numbers of batches are never given a second time: whoever remembers one over a rebuild comes here.
[[noreturn]] void throw_lost_batch(const std::string& path) {
  throw Error(ErrorKind::corrupt,
              path +
                  ": the index was made anew meanwhile, or is broken; run the command again, then "
                  "'runctl index rebuild'");
}

BatchInfo Index::batch(std::int64_t batch) {
  Statement select = tables_->database.prepare("SELECT key, size, modified FROM batch WHERE batch = ?1");
  if (!select.bind(1, batch).step()) {
    throw_lost_batch(tables_->path);
  }
  return {std::string(select.bytes(0)), static_cast<std::uint64_t>(select.number(1)), select.number(2)};
}

bool Index::has_batch(std::string_view key) {
  Statement select = tables_->database.prepare("SELECT 1 FROM batch WHERE key = ?1");
  return select.bind_text(1, key).step();
}

std::vector<run::Frame> Index::frames(std::int64_t batch, std::uint64_t raw_offset, std::uint64_t length) {
  Statement& select = tables_->select_frames;
  select.bind(1, batch).bind(2, as_signed(raw_offset)).bind(3, as_signed(raw_offset + length));
  std::vector<run::Frame> frames;
  while (select.step()) {
    run::Frame frame;
    frame.raw_offset = static_cast<std::uint64_t>(select.number(0));
    frame.raw = static_cast<std::uint32_t>(select.number(1));
    frame.offset = static_cast<std::uint64_t>(select.number(2));
    frame.stored = static_cast<std::uint32_t>(select.number(3));
    frames.push_back(frame);
  }
  if (frames.empty() && length > 0) throw_lost_batch(tables_->path);
  return frames;
}

std::optional<FieldPlace> Index::field(std::int64_t run, std::string_view name) {
  Statement select = tables_->database.prepare(
      "SELECT offset, length FROM field JOIN text ON text.text = field.name WHERE run = ?1 AND text.value = "
      "?2");
  if (!select.bind(1, run).bind_text(2, name).step()) return std::nullopt;
  return FieldPlace{static_cast<std::uint32_t>(select.number(0)),
                    static_cast<std::uint32_t>(select.number(1))};
}

Status Index::status() {
  Statement select = tables_->database.prepare(
      "SELECT (SELECT count(*) FROM run), count(*), coalesce(sum(size), 0), coalesce(max(modified), 0) FROM "
      "batch");
  select.step();
  return {select.number(0), select.number(1), select.number(2), select.number(3)};
}

std::optional<std::string> Index::setting(std::string_view name) {
  Statement select = tables_->database.prepare("SELECT value FROM setting WHERE name = ?1");
  if (!select.bind_text(1, name).step()) return std::nullopt;
  return std::string(select.bytes(0));
}

void Index::Tables::write_setting(std::string_view name, std::string_view value) {
  database.prepare("INSERT OR REPLACE INTO setting(name, value) VALUES(?1, ?2)")
      .bind_text(1, name)
      .bind_text(2, value)
      .run();
}

void Index::set_setting(std::string_view name, std::string_view value) {
  Transaction transaction(tables_->database);
  tables_->write_setting(name, value);
  transaction.commit();
}

}  // namespace runctl::index
