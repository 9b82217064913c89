#include "index/sqlite.hpp"

#include <sqlite3.h>

#include <cstring>

#include "base/error.hpp"

namespace runctl::index {

namespace {

using base::Error;
using base::ErrorKind;

[[noreturn]] void fail(sqlite3* database, int code) {
  const char* const name = sqlite3_db_filename(database, "main");
  std::string message = std::string(name == nullptr ? "index" : name) + ": " + sqlite3_errmsg(database);
  const int primary = code & 0xFF;
  if (code == SQLITE_IOERR_SHMSIZE) {
    message += ": its -shm file cannot grow; is the disk full?";  // SQLite keeps the reason to itself
  } else if (const int reason = sqlite3_system_errno(database); primary == SQLITE_IOERR && reason != 0) {
    message += std::string(": ") + std::strerror(reason);
  }
  // Statements are the program's own and its values fit: what contradicts them are tables that it did not
  // make.
  if (primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB || primary == SQLITE_ERROR ||
      primary == SQLITE_CONSTRAINT || primary == SQLITE_MISMATCH) {
    throw Error(ErrorKind::corrupt,
                message + "; run 'runctl index rebuild' to make the index anew from the store");
  }
  throw Error(ErrorKind::io, message);
}

}  // namespace

void Statement::Deleter::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

sqlite3_stmt* Statement::prepared() {
  if (statement_) return statement_.get();
  sqlite3_stmt* statement = nullptr;
  check(sqlite3_prepare_v3(database_, sql_.data(), static_cast<int>(sql_.size()), SQLITE_PREPARE_PERSISTENT,
                           &statement, nullptr));
  statement_.reset(statement);
  return statement;
}

void Statement::fail(int code) const { index::fail(database_, code); }

void Statement::check(int code) const {
  if (code != SQLITE_OK) fail(code);
}

Statement& Statement::bind(int parameter, std::int64_t number) {
  check(sqlite3_bind_int64(prepared(), parameter, number));
  return *this;
}

Statement& Statement::bind_null(int parameter) {
  check(sqlite3_bind_null(prepared(), parameter));
  return *this;
}

Statement& Statement::bind_blob(int parameter, std::string_view bytes) {
  check(sqlite3_bind_blob64(prepared(), parameter, bytes.data(), bytes.size(), SQLITE_STATIC));
  return *this;
}

Statement& Statement::bind_text(int parameter, std::string_view text) {
  check(sqlite3_bind_text64(prepared(), parameter, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8));
  return *this;
}

bool Statement::step() {
  const int code = sqlite3_step(prepared());
  if (code == SQLITE_ROW) return true;
  sqlite3_reset(statement_.get());
  if (code != SQLITE_DONE) fail(code);
  return false;
}

void Statement::run() {
  step();
  reset();
}

void Statement::reset() { sqlite3_reset(statement_.get()); }

bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

std::int64_t Statement::number(int column) const { return sqlite3_column_int64(statement_.get(), column); }

std::string_view Statement::bytes(int column) const {
  const void* const data = sqlite3_column_blob(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return {static_cast<const char*>(data), static_cast<std::size_t>(size)};
}

void Database::Deleter::operator()(sqlite3* database) const { sqlite3_close_v2(database); }

Database::Database(const std::string& path, Mode mode) {
  // Nobody asks how much memory it has, and counting takes a lock at each allocation.
  static const int uncounted = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
  static_cast<void>(uncounted);
  const int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                    (mode == Mode::read ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) |
                    (mode == Mode::create ? SQLITE_OPEN_CREATE : 0);
  sqlite3* database = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &database, flags, nullptr);
  handle_.reset(database);
  if (code != SQLITE_OK) {
    const char* const why = database != nullptr ? sqlite3_errmsg(database) : sqlite3_errstr(code);
    throw Error(ErrorKind::io, path + ": the index cannot be opened: " + why);
  }
  sqlite3_busy_timeout(database, k_busy_milliseconds);
}

void Database::execute(const char* sql) {
  const int code = sqlite3_exec(handle_.get(), sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) fail(handle_.get(), code);
}

std::int64_t Database::last_row() const { return sqlite3_last_insert_rowid(handle_.get()); }

std::int64_t Database::number(std::string_view sql) {
  Statement statement = prepare(sql);
  return statement.step() ? statement.number(0) : 0;
}

bool Database::in_transaction() const { return sqlite3_get_autocommit(handle_.get()) == 0; }

Snapshot::Snapshot(Database& database) : database_(database), open_(!database.in_transaction()) {
  if (open_) database_.execute("BEGIN");
}

Snapshot::~Snapshot() {
  if (!open_) return;
  try {
    database_.execute("COMMIT");
  } catch (const Error&) {
    // Nothing was written; and what reading met was told by who read.
  }
}

Transaction::Transaction(Database& database) : database_(database) { database_.execute("BEGIN IMMEDIATE"); }

Transaction::~Transaction() {
  if (!open_) return;
  try {
    database_.execute("ROLLBACK");
  } catch (const Error&) {
    // Some errors roll back by themselves; then there is nothing left to do.
  }
}

void Transaction::commit() {
  database_.execute("COMMIT");
  open_ = false;
}

}  // namespace runctl::index
