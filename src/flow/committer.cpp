#include "flow/committer.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace runctl::flow {

namespace {

using base::Error;

// How often a store that failed is asked again.
constexpr std::chrono::seconds k_retry{5};

}  // namespace

Committer::Committer(store::ObjectStore& store, const OpenIndex& open_index, const IngestOptions& options,
                     const IngestEvents& events, bool keep, std::function<void()> stop_reading)
    : options_(options),
      events_(events),
      keep_(keep),
      stop_reading_(std::move(stop_reading)),
      uploads_(options.jobs > 0 ? 1 : 0) {
  if (!options.dry_run) {
    index_ = open_index();
    delivery_.emplace(store, *index_, options.clock);
  }
}

void Committer::start() {
  if (delivery_ && options_.spool != nullptr) deliver_waiting();
  if (options_.jobs == 0) return;
  puts_ahead_ = delivery_ && !waits_ && delivery_->puts_beside_records();
  thread_ = std::thread([this] { work(); });
}

bool Committer::ship(Shipment shipment) {
  // Only then is it put: whoever is killed leaves at most two batches in the store that the index does not
  // know.
  if (thread_.joinable() && !queue_.wait_for_room()) return false;
  Arrival arrival{{}, std::move(shipment.ids), shipment.place};
  if (shipment.batch.valid()) arrival.batch = put(std::move(shipment.batch));
  return thread_.joinable() ? queue_.push(std::move(arrival)) : !failure_ && try_to_take(arrival);
}

// After those that were given before, unless one of them could not be put or recorded.
std::future<std::shared_ptr<Committer::PutBatch>> Committer::put(std::future<CompleteBatch> batch) {
  std::promise<std::shared_ptr<PutBatch>> begun;
  auto result = begun.get_future();
  uploads_.submit([this, batch = std::move(batch), begun = std::move(begun)]() mutable {
    std::shared_ptr<PutBatch> put;
    std::promise<store::ObjectInfo> done;
    bool ahead = false;
    try {
      put = std::make_shared<PutBatch>();
      put->complete = batch.get();
      ahead = puts_ahead_;
      if (ahead) put->ahead = done.get_future();
    } catch (...) {
      puts_ahead_ = false;
      begun.set_exception(std::current_exception());
      return;
    }
    begun.set_value(put);
    if (!ahead) return;
    try {
      done.set_value(store(put->complete));
    } catch (...) {
      puts_ahead_ = false;
      done.set_exception(std::current_exception());
    }
  });
  return result;
}

void Committer::end() {
  const std::lock_guard lock(mutex_);
  ending_ = true;
  ended_.notify_all();
}

bool Committer::is_ending() {
  const std::lock_guard lock(mutex_);
  return ending_;
}

void Committer::wait_for_retry() {
  std::unique_lock lock(mutex_);
  ended_.wait_until(lock, retry_at_, [this] { return ending_; });
}

void Committer::finish() {
  stop();
  note_delivered_elsewhere();
  if (failure_) std::rethrow_exception(failure_);
}

void Committer::stop() {
  end();
  queue_.close();
  if (thread_.joinable()) thread_.join();
}

void Committer::work() {
  while (true) {
    auto arrival = queue_.pop_until(waits_ ? std::optional(retry_at_) : std::nullopt);
    if (arrival) {
      if (!try_to_take(*arrival)) return;
    } else if (queue_.ended()) {
      break;
    } else {
      deliver_waiting();
    }
  }
  if (waits_ && Clock::now() >= retry_at_) deliver_waiting();
}

bool Committer::try_to_take(Arrival& arrival) {
  try {
    take(arrival);
    return true;
  } catch (...) {
    puts_ahead_ = false;
    if (!failure_) failure_ = std::current_exception();
    stop_reading_();
    // What came through a pipe is nowhere else, so the next batch is tried too. A followed file is read again
    // from the first that is lost on, and a later one must not come before it.
    if (std::exchange(lost_batch_, false) && !events_.reached) return true;
    queue_.close();
    return false;
  }
}

void Committer::take(Arrival& arrival) {
  if (arrival.batch.valid()) {
    const std::shared_ptr<PutBatch> batch = arrival.batch.get();
    if (settle(*batch) && events_.stored) events_.stored(arrival.ids);
  }
  if (arrival.place && events_.reached) events_.reached(*arrival.place);
  ++committed_;
}

// False where the batch waits in the spool.
bool Committer::settle(PutBatch& put) {
  const batch::Batch& batch = put.complete.batch;
  if (!delivery_) {
    done_.stored += batch.table.size();
    ++done_.batches;
    done_.bytes_stored += batch.size;
    return true;
  }
  if (waits_) end_ahead(put);
  // One after the other: what waits is older.
  const bool turn = !waits_ || (Clock::now() >= retry_at_ && deliver_waiting());
  return (turn && attempt(put)) || !set_aside(put);
}

bool Committer::attempt(PutBatch& put) {
  const batch::Batch& batch = put.complete.batch;
  try {
    done_.stored +=
        put.ahead.valid() && delivery_->records_while_put()
            ? delivery_->record_while_put(batch, put.complete.keys, [&] { return object_of(put); })
            : delivery_->record(object_of(put), batch.table, put.complete.keys);
  } catch (const Error& error) {
    if (!keep_) throw;
    failed(error);
    end_ahead(put);
    return false;
  }
  ++done_.batches;
  done_.bytes_stored += batch.size;
  return true;
}

// As the store has it; put now, unless that was done ahead.
const store::ObjectInfo& Committer::object_of(PutBatch& put) {
  if (put.ahead.valid()) put.object = put.ahead.get();
  if (!put.object) put.object = store(put.complete);
  return *put.object;
}

// Where something has failed: what the store refused ahead it is asked for again in the batch's turn.
void Committer::end_ahead(PutBatch& put) {
  if (!put.ahead.valid()) return;
  try {
    put.object = put.ahead.get();
  } catch (const Error&) {
  }
}

store::ObjectInfo Committer::store(const CompleteBatch& complete) {
  const batch::Batch& batch = complete.batch;
  const std::vector<std::string_view> parts = batch.parts();
  return delivery_->put(batch.key, parts, batch.digest, batch.table, complete.keys);
}

// Into the spool. While that has no room nothing more is taken, so that the pipe is held back; false where
// the store took the batch in the meantime.
bool Committer::set_aside(PutBatch& put) {
  const batch::Batch& batch = put.complete.batch;
  bool last = false;  // the store was asked once more since the end
  while (true) {
    const bool ending = is_ending();
    std::string full = options_.spool->directory() + ": is full (--spool-max)";
    try {
      if (ending || options_.spool->has_room_for(batch.size)) {
        set_aside_.emplace(options_.spool->add(batch), SetAside{batch.key, batch.table.size()});
        return true;
      }
    } catch (const Error& error) {
      if (last) {
        lost_batch_ = true;
        done_.lost += batch.table.size();
        throw;
      }
      full = error.what();
    }
    if (!ending && !told_full_ && events_.trouble)
      events_.trouble(full + "; no more is read until the store answers");
    told_full_ = told_full_ || !ending;
    wait_for_retry();
    // What waits is older and goes first; but at the end this has no other place.
    const bool turn = deliver_waiting();
    if ((turn || ending) && attempt(put)) return false;
    last = ending;
  }
}

// True where nothing waits any more.
bool Committer::deliver_waiting() {
  bool done = false;
  try {
    done = delivery_->drain(
        *options_.spool,
        [this](const SpooledBatch& batch, std::size_t added) {
          const bool ours = set_aside_.erase(batch.path) > 0;
          (ours ? done_.stored : done_.delivered) += added;
          ++(ours ? done_.batches : done_.delivered_batches);
          if (ours) done_.bytes_stored += batch.size;
        },
        [this](const SpooledBatch& batch, const Error& why) {
          if (broken_.insert(batch.path).second && events_.trouble) events_.trouble(why.what());
        },
        options_.stop);
  } catch (const Error& error) {
    if (!keep_) throw;
    failed(error);
    return false;
  }
  waits_ = keep_ && !done;  // where another process delivers, ours come after
  retry_at_ = Clock::now() + k_retry;
  if (done) told_down_ = told_full_ = false;
  return done;
}

void Committer::failed(const Error& error) {
  // What comes now may have to wait, and must not be put before what is older.
  if (puts_ahead_.exchange(false)) uploads_.submit([] {}).wait();
  waits_ = true;
  retry_at_ = Clock::now() + k_retry;
  done_.failure = error;
  if (!may_pass(error)) {
    end();
    stop_reading_();
  } else if (!told_down_ && !is_ending() && events_.trouble) {
    events_.trouble(fmt::format("{}; what is read waits in {} until it can be stored", error.what(),
                                options_.spool->directory()));
    done_.failure_told = true;
  }
  told_down_ = true;
}

// Another process may have delivered what we put aside.
void Committer::note_delivered_elsewhere() {
  std::erase_if(set_aside_, [this](const auto& entry) {
    const auto& [path, batch] = entry;
    if (::access(path.c_str(), F_OK) == 0 || errno != ENOENT) return false;
    if (!delivery_->has(batch.key)) {
      if (events_.trouble) events_.trouble(path + ": is gone, and neither the index nor the store has it");
      return false;
    }
    done_.stored += batch.runs;
    ++done_.batches;
    return true;
  });
}

void Committer::complete(IngestReport& report) const {
  const std::uint64_t read = report.read;
  const std::uint64_t rejected = report.rejected;
  const std::uint64_t bytes_in = report.bytes_in;
  report = done_;
  report.read = read;
  report.rejected = rejected;
  report.bytes_in = bytes_in;
  for (const auto& [path, batch] : set_aside_) report.spooled += batch.runs;
  report.spooled_batches = set_aside_.size();
  // Others may have stored the same runs while this went on.
  report.duplicate = read - rejected - report.stored - report.spooled;
}

}  // namespace runctl::flow
