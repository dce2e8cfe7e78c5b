/* The operations that pyfuse3 has no handlers for: flock, setlk, getlk, fallocate, lseek and
 * copy_file_range, and what it hides of init, flush and release; and a setting of the connection
 * that pyfuse3 does not offer.
 *
 * This is a plain shared object, loaded into the global scope before pyfuse3 is imported. pyfuse3's
 * reference to fuse_session_new then binds to the one here, which passes a completed copy of the
 * operation table on to libfuse. Nothing here touches Python: a handler puts a record into a queue
 * and raises an eventfd, and azfilesfs/fuse/optable.py takes the records from a trio task and
 * answers them whenever it likes. No exception can come near libfuse, and no interpreter runs on
 * its stack.
 *
 * Everything runs in the one thread that runs trio: pyfuse3's loop calls the handlers from there,
 * and Python calls the optable_ functions from there with the interpreter locked. So there are no
 * locks. There is one session in a process, as with pyfuse3.
 */

#define _GNU_SOURCE
#define FUSE_USE_VERSION 35

#include <dlfcn.h>
#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))

/* Counted up when a function or a record changes its meaning; Python checks it. */
#define INTERFACE 3u

/* The values of optable.Kind. */
enum kind { FLOCK = 1, SETLK, GETLK, FALLOCATE, LSEEK, COPY_FILE_RANGE, INTERRUPT, FLUSH, RELEASE };

/* One message to Python; optable._Record has the same layout. What an operation lacks is 0. */
struct record {
    uint64_t token; /* of the request, for its answer */
    uint64_t inode;
    uint64_t handle;
    uint64_t owner;
    int64_t offset; /* or the first byte of a lock */
    int64_t length; /* 0: a lock to the end of the file */
    uint64_t target_inode;
    uint64_t target_handle;
    int64_t target_offset;
    uint32_t kind;
    int32_t flags; /* of flock(2), fallocate(2), copy_file_range(2); lseek's whence; else a yes/no */
    int32_t type;  /* F_RDLCK, F_WRLCK, F_UNLCK */
    int32_t pid;
    uint32_t uid;
    uint32_t gid;
};

struct request {
    TAILQ_ENTRY(request) all;       /* in arrived or in taken */
    TAILQ_ENTRY(request) interrupt; /* in interrupted, if is_interrupted */
    bool is_interrupted;
    fuse_req_t req;
    struct record record;
};

TAILQ_HEAD(requests, request);

static struct requests arrived = TAILQ_HEAD_INITIALIZER(arrived);
static struct requests taken = TAILQ_HEAD_INITIALIZER(taken);
static struct requests interrupted = TAILQ_HEAD_INITIALIZER(interrupted);

static struct fuse_lowlevel_ops original; /* pyfuse3's */
static struct record closing;             /* the latest flush or release; kind 0 once it was read */
static uint32_t wanted;                   /* which kinds Python has handlers for, as bits */
static uint64_t agreed;                   /* the capabilities that the kernel and we settled on */
static int wake_fd = -1;                  /* an eventfd; -1: nobody takes requests */
static unsigned background;               /* wanted number of such requests; 0: the kernel's own */
static unsigned granularity;              /* wanted of the kernel's times, in ns; 0: libfuse's own */
static unsigned sessions;                 /* how many were made through the table */

static void wake(void) {
    const uint64_t one = 1;
    /* A full counter has woken the reader already, so nothing is lost with a failure. */
    if (write(wake_fd, &one, sizeof one) < 0)
        return;
}

static struct record describe(enum kind kind, fuse_req_t req, fuse_ino_t inode,
                              const struct fuse_file_info *fi) {
    const struct fuse_ctx *context = fuse_req_ctx(req);
    struct record record = {.kind = kind, .inode = inode};
    record.pid = context->pid;
    record.uid = context->uid;
    record.gid = context->gid;
    if (fi != NULL) {
        record.handle = fi->fh;
        record.owner = fi->lock_owner;
    }
    return record;
}

/* libfuse calls this with the request locked, so that no answer may be given here. */
static void on_interrupt(fuse_req_t req, void *data) {
    struct request *request = data;
    (void)req;
    if (request->is_interrupted)
        return;
    request->is_interrupted = true;
    TAILQ_INSERT_TAIL(&interrupted, request, interrupt);
    wake();
}

static void post(fuse_req_t req, struct record record) {
    if (wake_fd < 0) {
        fuse_reply_err(req, ENOTCONN);
        return;
    }
    struct request *request = calloc(1, sizeof *request);
    if (request == NULL) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    request->req = req;
    request->record = record;
    request->record.token = (uintptr_t)request;
    TAILQ_INSERT_TAIL(&arrived, request, all);
    wake();
    /* May call back at once, when the interrupt came before the request. */
    fuse_req_interrupt_func(req, on_interrupt, request);
}

static void on_flock(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi, int operation) {
    struct record record = describe(FLOCK, req, inode, fi);
    record.flags = operation;
    post(req, record);
}

static void post_lock(enum kind kind, fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi,
                      const struct flock *lock, int sleeps) {
    struct record record = describe(kind, req, inode, fi);
    record.flags = sleeps;
    record.type = lock->l_type;
    record.offset = lock->l_start;
    record.length = lock->l_len;
    post(req, record);
}

static void on_setlk(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi,
                     struct flock *lock, int sleeps) {
    post_lock(SETLK, req, inode, fi, lock, sleeps);
}

static void on_getlk(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi,
                     struct flock *lock) {
    post_lock(GETLK, req, inode, fi, lock, 0);
}

static void on_fallocate(fuse_req_t req, fuse_ino_t inode, int mode, off_t offset, off_t length,
                         struct fuse_file_info *fi) {
    struct record record = describe(FALLOCATE, req, inode, fi);
    record.flags = mode;
    record.offset = offset;
    record.length = length;
    post(req, record);
}

static void on_lseek(fuse_req_t req, fuse_ino_t inode, off_t offset, int whence,
                     struct fuse_file_info *fi) {
    struct record record = describe(LSEEK, req, inode, fi);
    record.flags = whence;
    record.offset = offset;
    post(req, record);
}

static void on_copy_file_range(fuse_req_t req, fuse_ino_t inode, off_t offset,
                               struct fuse_file_info *fi, fuse_ino_t target_inode,
                               off_t target_offset, struct fuse_file_info *target_fi, size_t length,
                               int flags) {
    struct record record = describe(COPY_FILE_RANGE, req, inode, fi);
    record.flags = flags;
    record.offset = offset;
    record.length = (int64_t)length;
    record.target_inode = target_inode;
    record.target_handle = target_fi->fh;
    record.target_offset = target_offset;
    post(req, record);
}

static void on_init(void *userdata, struct fuse_conn_info *conn) {
    if (original.init != NULL)
        original.init(userdata, conn);
    if (background != 0)
        conn->max_background = background; /* libfuse derives the threshold of congestion */
    if (granularity != 0)
        conn->time_gran = granularity;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
    agreed = conn->want | conn->want_ext;
#else
    agreed = conn->want;
#endif
}

/* pyfuse3 starts its handler directly after these, before anything else can run. */
static void on_flush(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi) {
    closing = describe(FLUSH, req, inode, fi);
    original.flush(req, inode, fi);
}

static void on_release(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi) {
    closing = describe(RELEASE, req, inode, fi);
    closing.flags = fi->flock_release;
    original.release(req, inode, fi);
}

static void complete(struct fuse_lowlevel_ops *ops) {
    original = *ops;
    ops->init = on_init; /* libfuse passes nothing else on that tells what was agreed */
    if (ops->flush != NULL)
        ops->flush = on_flush;
    if (ops->release != NULL)
        ops->release = on_release;
#define ADD(kind, member)                                                                          \
    if (wanted & (1u << (kind)))                                                                   \
    ops->member = on_##member
    ADD(FLOCK, flock);
    ADD(SETLK, setlk);
    ADD(GETLK, getlk);
    ADD(FALLOCATE, fallocate);
    ADD(LSEEK, lseek);
    ADD(COPY_FILE_RANGE, copy_file_range);
#undef ADD
}

/* The constructors of libfuse. Up to 3.16 programs refer to fuse_session_new; the headers of later
 * versions make it a call of fuse_session_new_versioned and keep the old name for old programs. */
typedef struct fuse_session *constructor(struct fuse_args *, const struct fuse_lowlevel_ops *,
                                         size_t, void *);
typedef struct fuse_session *versioned_constructor(struct fuse_args *,
                                                   const struct fuse_lowlevel_ops *, size_t, void *,
                                                   void *);

static constructor *real_new;
static versioned_constructor *real_new_versioned;

/* Make a table that is ours of the caller's, or NULL: pass the caller's on as it is. */
static struct fuse_lowlevel_ops *completed(const struct fuse_lowlevel_ops *ops, size_t *size) {
    /* One constructor of libfuse may call the other, and then it finds us again. */
    if (ops == NULL || ops->init == on_init)
        return NULL;
    size_t whole = *size > sizeof *ops ? *size : sizeof *ops;
    struct fuse_lowlevel_ops *copy = calloc(1, whole);
    if (copy == NULL)
        return NULL;
    memcpy(copy, ops, *size);
    complete(copy);
    *size = whole;
    sessions++;
    return copy;
}

/* Defined under other names, since the headers may have macros and prototypes for the real ones. */
PUBLIC struct fuse_session *new_session(struct fuse_args *args,
                                        const struct fuse_lowlevel_ops *ops, size_t size,
                                        void *userdata) __asm__("fuse_session_new");
PUBLIC struct fuse_session *new_session_versioned(struct fuse_args *args,
                                                  const struct fuse_lowlevel_ops *ops, size_t size,
                                                  void *version, void *userdata)
    __asm__("fuse_session_new_versioned");

struct fuse_session *new_session(struct fuse_args *args, const struct fuse_lowlevel_ops *ops,
                                 size_t size, void *userdata) {
    if (real_new == NULL)
        return NULL;
    struct fuse_lowlevel_ops *copy = completed(ops, &size);
    struct fuse_session *session = real_new(args, copy != NULL ? copy : ops, size, userdata);
    free(copy); /* libfuse has made a copy of its own */
    return session;
}

struct fuse_session *new_session_versioned(struct fuse_args *args,
                                           const struct fuse_lowlevel_ops *ops, size_t size,
                                           void *version, void *userdata) {
    if (real_new_versioned == NULL)
        return NULL;
    struct fuse_lowlevel_ops *copy = completed(ops, &size);
    struct fuse_session *session =
        real_new_versioned(args, copy != NULL ? copy : ops, size, version, userdata);
    free(copy);
    return session;
}

/* Find libfuse's constructors in the library at a path, NULL: in the one that we are linked with.
 * Return 0, or -1 and say why. */
PUBLIC int optable_resolve(const char *library, char *reason, size_t reason_size) {
    Dl_info info = {0};
    if (library == NULL && dladdr((void *)(uintptr_t)fuse_reply_err, &info) != 0)
        library = info.dli_fname;
    void *handle = library != NULL ? dlopen(library, RTLD_NOW | RTLD_NOLOAD) : NULL;
    if (handle == NULL) {
        snprintf(reason, reason_size, "libfuse is not loaded");
        return -1;
    }
    /* Later versions may give the bare name another signature; who refers to it means this one. */
    real_new = (constructor *)(uintptr_t)dlvsym(handle, "fuse_session_new", "FUSE_3.0");
    if (real_new == NULL)
        real_new = (constructor *)(uintptr_t)dlsym(handle, "fuse_session_new");
    real_new_versioned =
        (versioned_constructor *)(uintptr_t)dlsym(handle, "fuse_session_new_versioned");
    if (real_new == NULL && real_new_versioned == NULL)
        snprintf(reason, reason_size, "%s exports no fuse_session_new that is known here", library);
    dlclose(handle); /* it stays: we are linked with libfuse ourselves */
    return real_new == NULL && real_new_versioned == NULL ? -1 : 0;
}

PUBLIC uint32_t optable_interface(void) { return INTERFACE << 16 | (uint32_t)sizeof(struct record); }

PUBLIC unsigned optable_sessions(void) { return sessions; }

PUBLIC uint64_t optable_agreed(void) { return agreed; }

/* Say which kinds the next session shall have, and which eventfd to raise. */
PUBLIC void optable_register(uint32_t kinds, int eventfd) {
    wanted = kinds;
    wake_fd = eventfd;
}

/* Say how many background requests the kernel may send at once in the sessions to come. */
PUBLIC void optable_background(unsigned requests) { background = requests; }

/* Say to multiples of what the kernel rounds its times down in the sessions to come. */
PUBLIC void optable_granularity(unsigned nanoseconds) { granularity = nanoseconds; }

/* Copy the next message; return 0 if there is none. A request comes before its interrupt. */
PUBLIC int optable_take(struct record *record) {
    struct request *request = TAILQ_FIRST(&arrived);
    if (request != NULL) {
        TAILQ_REMOVE(&arrived, request, all);
        TAILQ_INSERT_TAIL(&taken, request, all);
        *record = request->record;
        return 1;
    }
    request = TAILQ_FIRST(&interrupted);
    if (request == NULL)
        return 0;
    TAILQ_REMOVE(&interrupted, request, interrupt);
    request->is_interrupted = false;
    *record = request->record;
    record->kind = INTERRUPT;
    return 1;
}

/* Copy what is known of the flush or release that pyfuse3 is about to handle, once; else 0. */
PUBLIC int optable_closing(struct record *record) {
    *record = closing;
    closing.kind = 0;
    return record->kind != 0;
}

/* Forget a taken request, which must be answered with what this returns. */
static fuse_req_t forget(uint64_t token) {
    struct request *request = (struct request *)(uintptr_t)token;
    fuse_req_t req = request->req;
    /* Also waits for an interrupt that is being delivered, and keeps later ones away. */
    fuse_req_interrupt_func(req, NULL, NULL);
    TAILQ_REMOVE(&taken, request, all);
    if (request->is_interrupted)
        TAILQ_REMOVE(&interrupted, request, interrupt);
    free(request);
    return req;
}

/* The answers. Each ends a request that was taken and not yet answered, and returns 0 or -errno. */
PUBLIC int optable_reply_err(uint64_t token, int number) {
    return fuse_reply_err(forget(token), number);
}

PUBLIC int optable_reply_lock(uint64_t token, const struct record *held) {
    const struct flock lock = {
        .l_type = (short)held->type,
        .l_whence = SEEK_SET,
        .l_start = held->offset,
        .l_len = held->length,
        .l_pid = held->pid,
    };
    return fuse_reply_lock(forget(token), &lock);
}

PUBLIC int optable_reply_write(uint64_t token, size_t count) {
    return fuse_reply_write(forget(token), count);
}

PUBLIC int optable_reply_lseek(uint64_t token, int64_t offset) {
    return fuse_reply_lseek(forget(token), offset);
}

/* Take no more requests and answer all that are left; return how many. The eventfd is free then. */
PUBLIC unsigned optable_stop(int number) {
    unsigned count = 0;
    wake_fd = -1;
    wanted = 0;
    TAILQ_CONCAT(&taken, &arrived, all);
    for (struct request *request; (request = TAILQ_FIRST(&taken)) != NULL; count++)
        fuse_reply_err(forget(request->record.token), number);
    return count;
}
