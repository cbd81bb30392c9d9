/*
 * Preloaded into the program by the torture works. It sees every call by which the engine reaches a file under
 * TORTURE_ROOT, and either lets one fail (storage faults) or writes down what was written (power loss).
 *
 *   TORTURE_ROOT   folder whose files count
 *   TORTURE_OPS    letters of the calls that count: w write, r read, s sync, t truncate, o open, u unlink, l lock, m mmap
 *   TORTURE_AT     the number of the call that fails, from 1; 0: none
 *   TORTURE_ERRNO  how it fails; -1: a write that is cut short
 *   TORTURE_LASTS  1: all later ones fail as well
 *   TORTURE_PAUSE  microseconds that each of these calls takes longer: a slow disk
 *   TORTURE_SPIN   1: the first of these calls computes and never returns, which nothing can stop
 *   TORTURE_OFF    while this file exists, none fails
 *   TORTURE_HIT    made when the first one fails, or begins to compute
 *   TORTURE_TRACE  file to which writes, truncations, syncs and removals are appended, see record()
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

static struct {
  const char *root, *ops, *off, *hit;
  long at;
  int error, lasts, trace, spin;
  useconds_t pause;
} conf;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t tracing = PTHREAD_MUTEX_INITIALIZER;
static long calls;

#define REAL(type, name, ...) \
  static type (*real)(__VA_ARGS__); \
  if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int real_open(const char *path, int flags, mode_t mode) {
  REAL(int, "open", const char *, int, ...);
  return real(path, flags, mode);
}

static void configure(void) {
  const char *text;
  conf.root = getenv("TORTURE_ROOT");
  conf.ops = getenv("TORTURE_OPS");
  conf.off = getenv("TORTURE_OFF");
  conf.hit = getenv("TORTURE_HIT");
  conf.at = (text = getenv("TORTURE_AT")) ? atol(text) : 0;
  conf.error = (text = getenv("TORTURE_ERRNO")) ? atoi(text) : EIO;
  conf.lasts = (text = getenv("TORTURE_LASTS")) ? atoi(text) : 0;
  conf.spin = (text = getenv("TORTURE_SPIN")) ? atoi(text) : 0;
  conf.pause = (text = getenv("TORTURE_PAUSE")) ? (useconds_t)atoi(text) : 0;
  conf.trace = (text = getenv("TORTURE_TRACE")) ? real_open(text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
}

/* The name below the root, or NULL for a file that does not count. */
static const char *below(const char *path) {
  size_t length;
  pthread_once(&once, configure);
  if (!conf.root || !path) return NULL;
  length = strlen(conf.root);
  return strncmp(path, conf.root, length) == 0 && path[length] == '/' ? path + length + 1 : NULL;
}

static const char *name_of(int fd, char *buffer) {
  char link[64];
  int saved = errno;
  ssize_t length;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  length = readlink(link, buffer, PATH_MAX - 1);
  errno = saved;
  if (length <= 0) return NULL;
  buffer[length] = 0;
  return below(buffer);
}

static void hit(void) {
  if (conf.hit) close(real_open(conf.hit, O_WRONLY | O_CREAT, 0600));
}

static void spin_for_ever(void) {
  static int spinning;
  if (__atomic_exchange_n(&spinning, 1, __ATOMIC_RELAXED)) return;
  hit();
  for (;;) __asm__ volatile("");
}

/* Whether this call is to fail; errno is set then. */
static int fails(char op, const char *name) {
  long call;
  pthread_once(&once, configure);
  if (!name || !conf.ops || !strchr(conf.ops, op)) return 0;
  if (conf.off && access(conf.off, F_OK) == 0) return 0;
  if (conf.pause) usleep(conf.pause);
  if (conf.spin) spin_for_ever();
  if (conf.at == 0) return 0;
  call = __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
  if (call != conf.at && !(conf.lasts && call > conf.at)) return 0;
  hit();
  errno = conf.error > 0 ? conf.error : ENOSPC;
  return 1;
}

/* Appends a record: op, length of the name, offset, length of the data (all little-endian), name, data. */
static void record(char op, const char *name, uint64_t offset, const void *data, uint32_t size) {
  REAL(ssize_t, "writev", int, const struct iovec *, int);
  unsigned char head[14];
  uint8_t length = (uint8_t)strlen(name);
  struct iovec parts[3] = {{head, sizeof head}, {(void *)name, length}, {(void *)data, size}};
  head[0] = (unsigned char)op;
  head[1] = length;
  memcpy(head + 2, &offset, 8);
  memcpy(head + 10, &size, 4);
  if (real(conf.trace, parts, 3) != (ssize_t)(sizeof head + length + size)) abort();
}

/* The real call and its record, in one order for all threads. */
#define TRACED(call, op, name, offset, data, size) \
  do { \
    int saved; \
    if (!(name) || conf.trace < 0) return call; \
    pthread_mutex_lock(&tracing); \
    result = call; \
    saved = errno; \
    if (result >= 0) record(op, name, offset, data, (uint32_t)(size)); \
    pthread_mutex_unlock(&tracing); \
    errno = saved; \
    return result; \
  } while (0)

static ssize_t cut_short(ssize_t (*write_half)(int, const void *, size_t, off64_t), int fd, const void *data, size_t size, off64_t at) {
  return conf.error == -1 && size > 1 ? write_half(fd, data, size / 2, at) : -1;
}

static ssize_t plain(int fd, const void *data, size_t size, off64_t at) {
  REAL(ssize_t, "write", int, const void *, size_t);
  (void)at;
  return real(fd, data, size);
}

static ssize_t placed(int fd, const void *data, size_t size, off64_t at) {
  REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
  return real(fd, data, size, at);
}

ssize_t write(int fd, const void *data, size_t size) {
  char buffer[PATH_MAX];
  const char *name = fd > 2 ? name_of(fd, buffer) : NULL;
  off64_t at = name ? lseek64(fd, 0, SEEK_CUR) : 0;
  ssize_t result;
  if (fails('w', name)) return cut_short(plain, fd, data, size, 0);
  TRACED(plain(fd, data, size, 0), 'w', name, (uint64_t)at, data, result);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  char buffer[PATH_MAX];
  const char *name = name_of(fd, buffer);
  ssize_t result;
  if (fails('w', name)) return cut_short(placed, fd, data, size, at);
  TRACED(placed(fd, data, size, at), 'w', name, (uint64_t)at, data, result);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }

static int truncated(int fd, off64_t size) {
  REAL(int, "ftruncate64", int, off64_t);
  return real(fd, size);
}

int ftruncate64(int fd, off64_t size) {
  char buffer[PATH_MAX];
  const char *name = name_of(fd, buffer);
  int result;
  if (fails('t', name)) return -1;
  TRACED(truncated(fd, size), 't', name, (uint64_t)size, "", 0);
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

#define SYNC(function) \
  static int real_##function(int fd) { \
    REAL(int, #function, int); \
    return real(fd); \
  } \
  int function(int fd) { \
    char buffer[PATH_MAX]; \
    const char *name = name_of(fd, buffer); \
    int result; \
    if (fails('s', name)) return -1; \
    TRACED(real_##function(fd), 's', name, 0, "", 0); \
  }
SYNC(fsync)
SYNC(fdatasync)

static int removed(const char *path) {
  REAL(int, "unlink", const char *);
  return real(path);
}

int unlink(const char *path) {
  const char *name = below(path);
  int result;
  if (fails('u', name)) return -1;
  TRACED(removed(path), 'u', name, 0, "", 0);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
  char buffer[PATH_MAX];
  REAL(ssize_t, "pread64", int, void *, size_t, off64_t);
  return fails('r', name_of(fd, buffer)) ? -1 : real(fd, data, size, at);
}

ssize_t pread(int fd, void *data, size_t size, off_t at) { return pread64(fd, data, size, at); }

#define OPEN(function) \
  int function(const char *path, int flags, ...) { \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { \
      va_list rest; \
      va_start(rest, flags); \
      mode = va_arg(rest, mode_t); \
      va_end(rest); \
    } \
    return fails('o', below(path)) ? -1 : real_open(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)

#define FCNTL(function) \
  int function(int fd, int command, ...) { \
    char buffer[PATH_MAX]; \
    va_list rest; \
    void *argument; \
    REAL(int, #function, int, int, ...); \
    va_start(rest, command); \
    argument = va_arg(rest, void *); \
    va_end(rest); \
    if ((command == F_SETLK || command == F_OFD_SETLK) && fails('l', name_of(fd, buffer))) return -1; \
    return real(fd, command, argument); \
  }
FCNTL(fcntl)
FCNTL(fcntl64)

void *mmap64(void *address, size_t size, int protection, int flags, int fd, off64_t at) {
  char buffer[PATH_MAX];
  REAL(void *, "mmap64", void *, size_t, int, int, int, off64_t);
  if (fd >= 0 && fails('m', name_of(fd, buffer))) return MAP_FAILED;
  return real(address, size, protection, flags, fd, at);
}

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t at) {
  return mmap64(address, size, protection, flags, fd, at);
}
