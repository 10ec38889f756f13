// A checksum in each page of the database file, so that a wrong byte is noticed and not taken for
// what was stored. SQLite has checksums for its log alone.
//
//   page (4096 bytes) = content (4088) | checksum of content and page number (8, little endian)
//
// The 8 bytes are SQLite's reserved space at the end of a page. The byte of the file's header that
// tells how many are reserved tells also whether there are checksums: 8 or 0. Files that were made
// before there were any go on without; a restore gives them theirs.
//
// Done by an SQLite VFS around another one: pages get their checksum when they are written to the
// file and are compared when they are read. A page that differs is SQLITE_IOERR_DATA.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <cstdint>
#include <string>

namespace cyxwiz::store {

inline constexpr int kChecksumBytes = 8;

// Name of the VFS that adds checksums to the one named; empty: to the default one. Any thread.
std::string ChecksumVfs(const std::string& below);

// Of a database that is still empty, or before VACUUM: its pages shall have checksums.
void ReserveChecksums(SQLite::Database& database);

// Whether the file of the open database has them.
bool HasChecksums(SQLite::Database& database);

// How often this thread has read a page whose checksum was wrong.
int64_t WrongChecksumsRead();

// For a file that SQLite fills in any order: whether it shall have them.
void SetChecksums(SQLite::Database& database, bool on);

}  // namespace cyxwiz::store
