// Runs in: inputs → blocks → batches → store → index. Whoever reads this and fetch.hpp has understood runctl.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "flow/input.hpp"
#include "index/index.hpp"
#include "run/reader.hpp"
#include "store/object_store.hpp"

namespace runctl::flow {

class Spool;

struct IngestOptions {
  run::RecordOptions records;
  std::size_t max_run_bytes = 256U << 20;
  std::uint64_t batch_bytes = 32U << 20;  // of raw NDJSON
  int level = 3;
  // A run from a pipe is stored at the latest when this time has passed since it came; 0: when the batch is
  // full.
  std::chrono::milliseconds flush_interval{0};
  // Threads that parse and compress; 0: all is done on the calling thread, so that the store and the index
  // are called in one order, and files are read whole before that.
  std::size_t jobs = 1;
  bool stop_at_first_reject = false;
  bool dry_run = false;  // store nothing, record nothing
  // Where batches wait while the store cannot take them, if an input streams; null: the ingest fails. What
  // waits there from before is delivered first.
  const Spool* spool = nullptr;
  // Keeps versions of one run apart in time.
  base::Clock& clock = base::system_clock();
  // When this is asked for, no more is read; whole records that were read until then are stored.
  std::stop_token stop{};
};

// Whether a failure may pass without anybody's doing, so that what comes through a pipe waits for that.
inline bool may_pass(const base::Error& error) {
  return error.kind() == base::ErrorKind::remote || error.kind() == base::ErrorKind::io;
}

// A record that was not stored.
struct RejectedRecord {
  std::size_t input = 0;     // position among the inputs
  std::uint64_t line = 0;    // from 1
  std::uint64_t column = 0;  // in bytes, from 1; 0 where the fault is the whole record's
  std::string_view reason;   // empty where `bytes` only goes on with the record before
  std::string_view bytes;
};

struct IngestReport {
  std::uint64_t read = 0;  // stored + duplicate + rejected + spooled
  std::uint64_t stored = 0;
  std::uint64_t duplicate = 0;
  std::uint64_t rejected = 0;
  std::uint64_t spooled = 0;  // that wait in the spool
  std::uint64_t lost = 0;     // that neither the store nor the spool took: the ingest fails
  std::uint64_t batches = 0;  // stored
  std::uint64_t spooled_batches = 0;
  std::uint64_t delivered = 0;  // new runs that an earlier ingest had left in the spool
  std::uint64_t delivered_batches = 0;
  std::uint64_t bytes_in = 0;          // of text, inflated
  std::uint64_t bytes_stored = 0;      // of batches, footers included
  std::optional<base::Error> failure;  // the last one of the store or the index, if batches were put aside
  bool failure_told = false;           // events.trouble said it
};

struct Progress {
  std::uint64_t file_bytes = 0;  // read so far, as the files lie
  std::uint64_t text_bytes = 0;
  std::uint64_t runs = 0;  // read so far
};

// All are called on the thread that called ingest, but `stored`, `reached` and `trouble`.
struct IngestEvents {
  std::function<void(const RejectedRecord&)> rejected;
  // The ids of a batch that is stored and recorded, as they were written, in input order. On another thread.
  std::function<void(const std::vector<std::string>&)> stored;
  // All of the followed file up to there is stored and recorded, or waits in the spool.
  std::function<void(const FilePlace&)> reached;
  // The ingest goes on, but somebody should know.
  std::function<void(const std::string&)> trouble;
  std::function<void(const Progress&)> progress;
  // The ingest fails, and this came of the records until then. Those of which it says nothing are neither
  // stored nor in the spool, or were stored before, or are in up to two batches that the store has and the
  // index could not take.
  std::function<void(const IngestReport&)> failed;
  // An input in which there was nothing.
  std::function<void(std::size_t input)> empty_input;
};

// Opens an index, for one thread; nothing where there is none and none is to be made. Before the first call
// files begin to be read ahead, as far as some blocks; of inputs that stream nothing is taken before the
// last.
using OpenIndex = std::function<std::optional<index::Index>()>;

// Returns when every record is stored and recorded, was before, is rejected or waits in the spool, or when it
// was asked to stop.
// Throws base::Error where the store, the index or an input fails; what was stored until then is recorded,
// and the same call again stores the rest.
IngestReport ingest(std::vector<Input> inputs, store::ObjectStore& store, const OpenIndex& open_index,
                    const IngestOptions& options, const IngestEvents& events);

}  // namespace runctl::flow
