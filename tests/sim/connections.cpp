// The linker sends calls of SQLite here (--wrap in CMakeLists.txt), the index's and some of its own.
#include "connections.hpp"

#include <sqlite3.h>
#include <sys/stat.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace runctl::sim {

// What SQLite itself does.
int open_anew(const char* path, sqlite3** database, int flags, const char* vfs) asm("__real_sqlite3_open_v2");
int close_now(sqlite3* database) asm("__real_sqlite3_close_v2");
int prepare_anew(sqlite3* database, const char* sql, int size, unsigned flags, sqlite3_stmt** statement,
                 const char** tail) asm("__real_sqlite3_prepare_v3");
int finalize_now(sqlite3_stmt* statement) asm("__real_sqlite3_finalize");
int execute_anew(sqlite3* database, const char* sql, int (*row)(void*, int, char**, char**), void* argument,
                 char** error) asm("__real_sqlite3_exec");

namespace {

// A file, however it is called.
struct Identity {
  dev_t device = 0;
  ino_t inode = 0;
  friend bool operator==(const Identity&, const Identity&) = default;
};

Identity identity_of(const char* path) {
  struct stat status {};
  return ::stat(path, &status) == 0 ? Identity{status.st_dev, status.st_ino} : Identity{};
}

// So that a text can be looked for without a copy of it.
struct HashOfText {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};

class Connection {
 public:
  Connection(sqlite3* database, std::string path, int flags)
      : database_(database), path_(std::move(path)), flags_(flags), file_(identity_of(path_.c_str())) {}

  [[nodiscard]] bool is(const sqlite3* database) const { return database_ == database; }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] sqlite3* database() const { return database_; }

  // Whether one that is opened like this cannot be told from it.
  [[nodiscard]] bool serves(const char* path, int flags) const {
    return flags_ == flags && path_ == path && file_ == identity_of(path);
  }

  [[nodiscard]] bool can_wait() const { return taken_.empty() && sqlite3_get_autocommit(database_) != 0; }

  int take(std::string_view sql, unsigned flags, sqlite3_stmt** statement) {
    auto found = free_.find(sql);
    if (found == free_.end()) found = free_.emplace(sql, std::vector<sqlite3_stmt*>()).first;
    std::vector<sqlite3_stmt*>& free = found->second;
    int code = SQLITE_OK;
    if (free.empty()) {
      code = prepare_anew(database_, sql.data(), static_cast<int>(sql.size()), flags, statement, nullptr);
    } else {
      *statement = free.back();
      free.pop_back();
    }
    if (code == SQLITE_OK) taken_.push_back({*statement, &free});
    return code;
  }

  // False for one that SQLite prepared for itself.
  bool give_back(sqlite3_stmt* statement) {
    const auto taken = std::find_if(taken_.rbegin(), taken_.rend(),
                                    [statement](const Taken& t) { return t.statement == statement; });
    if (taken == taken_.rend()) return false;
    taken->back->push_back(statement);
    *taken = taken_.back();
    taken_.pop_back();
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return true;
  }

  int close() {
    for (const auto& [sql, statements] : free_) {
      for (sqlite3_stmt* const statement : statements) finalize_now(statement);
    }
    return close_now(database_);
  }

 private:
  sqlite3* database_;
  std::string path_;
  int flags_;
  Identity file_;
  struct Taken {
    sqlite3_stmt* statement = nullptr;
    std::vector<sqlite3_stmt*>* back = nullptr;  // where it came from
  };
  std::vector<Taken> taken_;
  std::unordered_map<std::string, std::vector<sqlite3_stmt*>, HashOfText, std::equal_to<>> free_;  // by text
};

class Keeper {
 public:
  void use(Connections use) { use_ = use; }

  template <typename Which>
  void close_waiting(const Which& which) {
    std::erase_if(waiting_, [&which](Connection& connection) {
      if (!which(connection)) return false;
      connection.close();
      return true;
    });
  }

  int open(const char* path, sqlite3** database, int flags, const char* vfs) {
    const auto waiting = std::find_if(waiting_.begin(), waiting_.end(),
                                      [&](const Connection& c) { return c.serves(path, flags); });
    if (use_ == Connections::kept && waiting != waiting_.end()) {
      *database = waiting->database();
      open_.push_back(std::move(*waiting));
      waiting_.erase(waiting);
      return SQLITE_OK;
    }
    const int code = open_anew(path, database, flags, vfs);
    // A file that is being made gets another name when it is closed.
    if (use_ == Connections::kept && code == SQLITE_OK && (flags & SQLITE_OPEN_CREATE) == 0)
      open_.emplace_back(*database, path, flags);
    return code;
  }

  int close(sqlite3* database) {
    const auto found = find(database);
    if (found == open_.end()) return close_now(database);
    Connection connection = std::move(*found);
    open_.erase(found);
    if (!connection.can_wait()) return connection.close();
    waiting_.push_back(std::move(connection));
    return SQLITE_OK;
  }

  // Null for one that is not kept.
  Connection* of(const sqlite3* database) {
    const auto found = find(database);
    return found == open_.end() ? nullptr : &*found;
  }

 private:
  std::vector<Connection>::iterator find(const sqlite3* database) {
    return std::find_if(open_.begin(), open_.end(),
                        [database](const Connection& c) { return c.is(database); });
  }

  Connections use_ = Connections::fresh;
  std::vector<Connection> open_;
  std::vector<Connection> waiting_;
};

thread_local Keeper keeper;

// A pragma may take effect when it is prepared, so those that are executed are prepared each time.
bool can_be_kept(std::string_view sql) {
  return !sql.starts_with("PRAGMA") && sql.find(';') == std::string_view::npos;
}

}  // namespace

int open_kept(const char* path, sqlite3** database, int flags, const char* vfs) asm("__wrap_sqlite3_open_v2");
int open_kept(const char* path, sqlite3** database, int flags, const char* vfs) {
  return keeper.open(path, database, flags, vfs);
}

int close_kept(sqlite3* database) asm("__wrap_sqlite3_close_v2");
int close_kept(sqlite3* database) { return keeper.close(database); }

int prepare_kept(sqlite3* database, const char* sql, int size, unsigned flags, sqlite3_stmt** statement,
                 const char** tail) asm("__wrap_sqlite3_prepare_v3");
int prepare_kept(sqlite3* database, const char* sql, int size, unsigned flags, sqlite3_stmt** statement,
                 const char** tail) {
  Connection* const connection = keeper.of(database);
  if (connection == nullptr) return prepare_anew(database, sql, size, flags, statement, tail);
  return connection->take({sql, static_cast<std::size_t>(size)}, flags, statement);
}

int finalize_kept(sqlite3_stmt* statement) asm("__wrap_sqlite3_finalize");
int finalize_kept(sqlite3_stmt* statement) {
  Connection* const connection = statement == nullptr ? nullptr : keeper.of(sqlite3_db_handle(statement));
  if (connection == nullptr || !connection->give_back(statement)) return finalize_now(statement);
  return SQLITE_OK;
}

int execute_kept(sqlite3* database, const char* sql, int (*row)(void*, int, char**, char**), void* argument,
                 char** error) asm("__wrap_sqlite3_exec");
int execute_kept(sqlite3* database, const char* sql, int (*row)(void*, int, char**, char**), void* argument,
                 char** error) {
  Connection* const connection = keeper.of(database);
  if (connection == nullptr || row != nullptr || !can_be_kept(sql))
    return execute_anew(database, sql, row, argument, error);
  sqlite3_stmt* statement = nullptr;
  int code = connection->take(sql, SQLITE_PREPARE_PERSISTENT, &statement);
  if (code != SQLITE_OK) return code;
  do {
    code = sqlite3_step(statement);
  } while (code == SQLITE_ROW);
  connection->give_back(statement);
  return code == SQLITE_DONE ? SQLITE_OK : code;
}

void use_connections(Connections use) { keeper.use(use); }
void close_kept_connections() {
  keeper.close_waiting([](const Connection&) { return true; });
}
void close_kept_connections(const std::string& path) {
  keeper.close_waiting([&path](const Connection& connection) { return connection.path() == path; });
}

}  // namespace runctl::sim
