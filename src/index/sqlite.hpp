// SQLite with owners and exceptions. The only user of sqlite3.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace runctl::index {

// A statement, prepared when it is first used: a `get` needs few of those that an index has. Parameters count
// from 1, columns from 0.
class Statement {
 public:
  // `sql` must outlive the statement.
  Statement(sqlite3* database, std::string_view sql) : database_(database), sql_(sql) {}

  Statement& bind(int parameter, std::int64_t number);
  Statement& bind_null(int parameter);
  // Borrowed until the next reset: no copy is made.
  Statement& bind_blob(int parameter, std::string_view bytes);
  Statement& bind_text(int parameter, std::string_view text);

  // True while there is a row; behind the last one it is ready to run again.
  bool step();
  // Runs a statement that returns no row and makes it ready to run again.
  void run();
  void reset();

  [[nodiscard]] bool is_null(int column) const;
  [[nodiscard]] std::int64_t number(int column) const;
  // Text or blob; valid until the next step or reset.
  [[nodiscard]] std::string_view bytes(int column) const;

 private:
  struct Deleter {
    void operator()(sqlite3_stmt* statement) const;
  };
  [[noreturn]] void fail(int code) const;
  void check(int code) const;
  sqlite3_stmt* prepared();

  sqlite3* database_;
  std::string_view sql_;
  std::unique_ptr<sqlite3_stmt, Deleter> statement_;
};

// How long one process waits for another's transaction: many may stand in line.
inline constexpr int k_busy_milliseconds = 600'000;

class Database {
 public:
  enum class Mode {
    read,    // the file must be there
    write,   // the file must be there
    create,  // the file is made where it is absent
  };
  // Throws Error(io) where the file cannot be opened, Error(corrupt) where it is no database.
  Database(const std::string& path, Mode mode);

  void execute(const char* sql);
  [[nodiscard]] Statement prepare(std::string_view sql) { return {handle_.get(), sql}; }
  [[nodiscard]] std::int64_t last_row() const;
  [[nodiscard]] bool in_transaction() const;
  // The number that a statement of one row and one column answers.
  [[nodiscard]] std::int64_t number(std::string_view sql);

 private:
  struct Deleter {
    void operator()(sqlite3* database) const;
  };
  std::unique_ptr<sqlite3, Deleter> handle_;
};

// What is read in its time is of one moment, whatever others write. Inside a transaction it is nothing.
class Snapshot {
 public:
  explicit Snapshot(Database& database);
  ~Snapshot();
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

 private:
  Database& database_;
  bool open_ = false;
};

// A write transaction: begun at once, so that it waits for its turn instead of failing half-way.
class Transaction {
 public:
  explicit Transaction(Database& database);
  // Rolls back unless committed.
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  void commit();

 private:
  Database& database_;
  bool open_ = true;
};

}  // namespace runctl::index
