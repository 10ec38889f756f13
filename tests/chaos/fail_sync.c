// For LD_PRELOAD: the FAIL_SYNC-th fsync or fdatasync of a file (not of a folder, whose failure SQLite ignores)
// fails with EIO, as on a disk that is about to die. Those before and after it are made.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int sync_or_fail(const char* name, int fd) {
  static atomic_int calls;
  const char* which = getenv("FAIL_SYNC");
  struct stat info;
  if (which != NULL && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && atomic_fetch_add(&calls, 1) + 1 == atoi(which)) {
    errno = EIO;
    return -1;
  }
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  return real(fd);
}

int fsync(int fd) { return sync_or_fail("fsync", fd); }
int fdatasync(int fd) { return sync_or_fail("fdatasync", fd); }
