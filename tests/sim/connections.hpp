// SQLite connections that outlive the processes that opened them. To open one and to prepare statements anew
// takes most of the time of a history, and is SQLite's own work; what the index asks of SQLite stays the
// same.
#pragma once

#include <string>

namespace runctl::sim {

enum class Connections {
  fresh,  // opened and closed as the index says
  kept,   // what is closed waits, with its statements, for whoever opens the same file in the same way
};

// Of this thread, from now on; none may be open.
void use_connections(Connections use);

// Closes those of this thread that wait, all or those to one file.
void close_kept_connections();
void close_kept_connections(const std::string& path);

}  // namespace runctl::sim
