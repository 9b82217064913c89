// Where batches live: a flat map from keys to immutable objects. The rest of the house cannot tell a
// directory from a bucket.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.hpp"

namespace runctl::store {

// Keys are relative to the store's root (directory, or bucket and prefix), '/'-separated, without a
// leading '/', and made of [A-Za-z0-9._-] segments other than "." and "..".
struct ObjectInfo {
  std::string key;
  std::uint64_t size = 0;        // bytes
  std::int64_t modified_ns = 0;  // when the store took it, ns since 1970-01-01T00:00:00Z
};

struct Range {
  std::string key;
  std::uint64_t offset = 0;  // bytes from the object's start
  std::uint64_t length = 0;  // bytes, at least 1
};

struct PutResult {
  ObjectInfo info;
  bool created = false;  // false: an object of that key was there before and was left as it is
};

// What requests are counted by.
struct RequestKind {
  std::string_view kind;  // a literal: get, put, head, list, post or delete
  int status = 0;         // that of HTTP; 0 where no whole answer came, and for a directory
  friend auto operator<=>(const RequestKind&, const RequestKind&) = default;
};

// What the store was asked for since it was opened; filled by every implementation.
struct Traffic {
  std::uint64_t requests = 0;  // requests sent (S3) or files opened (directory), retries included
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;
  std::uint64_t retries = 0;
  std::map<RequestKind, std::uint64_t> by_kind{};  // the requests; empty where they are not told apart
};

// All calls may be made from several threads at once. Failures are thrown as base::Error: remote or io
// where the store failed, usage where it was addressed wrongly (credentials, bucket), corrupt where it
// answered with other bytes than the request describes. Each message names the key.
class ObjectStore {
 public:
  ObjectStore() = default;
  ObjectStore(const ObjectStore&) = delete;
  ObjectStore& operator=(const ObjectStore&) = delete;
  virtual ~ObjectStore() = default;

  // Stores the concatenation of `parts`, whose SHA-256 is `digest`, under `key`: all of it or nothing, and
  // durable on return. Keys carry the hash of their content, so an object of that key and size is the same
  // object and is kept. The returned modification time is the one that head and list report.
  virtual PutResult put(const std::string& key, std::span<const std::string_view> parts,
                        const base::Sha256Digest& digest) = 0;

  // Called once for each range with its position in `ranges` and exactly `length` bytes; in any order, on the
  // calling thread. Throws Error(not_found) where the object is absent, Error(corrupt) where it is
  // shorter than the range says.
  using RangeSink = std::function<void(std::size_t index, std::string bytes)>;
  virtual void read(std::span<const Range> ranges, const RangeSink& sink) = 0;

  // Absent where there is no such object.
  virtual std::optional<ObjectInfo> head(const std::string& key) = 0;

  // Every object whose key starts with `prefix`, in ascending key order (bytewise). A listing that the
  // store cannot complete throws: a short listing is never returned as a whole one.
  virtual void list(const std::string& prefix, const std::function<void(const ObjectInfo&)>& visit) = 0;

  // The names directly under `prefix` (empty, or ending in '/') that objects lie below: for "runs/v1/" the
  // days that hold a batch. In ascending order; complete, or it throws. Lets days be listed
  // in parallel.
  virtual std::vector<std::string> list_groups(const std::string& prefix) = 0;

  // What a listing named may have been put by a process that was killed before it was durable. It is on
  // return, as if we had put it.
  virtual void make_durable(std::span<const ObjectInfo> /*listed*/) {}

  // Removes the object; true where it was there.
  virtual bool remove(const std::string& key) = 0;

  // The store's URL in canonical form, without secrets: two spellings of one store are equal here.
  [[nodiscard]] virtual std::string url() const = 0;

  // How far apart in time two puts must be to have different modification times; 0 where any two have.
  [[nodiscard]] virtual std::chrono::milliseconds time_step() const = 0;

  // How many calls to have under way at once where many are to be made; 0: they come from the caller's own
  // thread, one after the other.
  [[nodiscard]] virtual std::size_t calls_at_once() const { return 8; }

  // Whether a put takes no longer than this machine's disk does, so that a lock may be held meanwhile.
  [[nodiscard]] virtual bool is_local() const { return false; }

  [[nodiscard]] virtual Traffic traffic() const = 0;
};

}  // namespace runctl::store
