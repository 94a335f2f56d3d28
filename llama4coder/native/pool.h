/* Threads that wait for the next loop by spinning a little, then by sleeping.
 *
 * A decode step is hundreds of loops of some ten microseconds with as much Python in between. OpenMP's threads go to sleep
 * at once when a process has more of them than cores, as every process has in which torch works on two threads, and
 * waking one costs more than the loop.
 */
#ifndef POOL_H
#define POOL_H

#include <immintrin.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_THREADS 256
#define SPINS 3000 /* pauses before sleep: 30 to 100 microseconds */

typedef void (*loop_body)(const void *args, int64_t begin, int64_t end);

static struct {
    pthread_mutex_t busy; /* one loop at a time; who comes second works alone */
    int workers;          /* besides the caller */
    atomic_uint round;    /* odd while a loop may be joined */
    atomic_int active;    /* workers that have joined, or are about to find that they came too late */
    atomic_int sleeping;
    atomic_llong next; /* index that nobody has taken */
    loop_body body;
    const void *args;
    int64_t count, chunk;
} pool = {.busy = PTHREAD_MUTEX_INITIALIZER};

static void take_chunks(void) {
    int64_t begin;
    while ((begin = atomic_fetch_add(&pool.next, pool.chunk)) < pool.count)
        pool.body(pool.args, begin, begin + pool.chunk < pool.count ? begin + pool.chunk : pool.count);
}

/* Wait until there is a loop to join that is not `last`; returns its round. */
static unsigned await_loop(unsigned last) {
    for (int spin = 0;; spin++) {
        unsigned round = atomic_load(&pool.round);
        if (round % 2 && round != last) return round;
        if (spin < SPINS) {
            _mm_pause();
            continue;
        }
        atomic_fetch_add(&pool.sleeping, 1);
        syscall(SYS_futex, &pool.round, FUTEX_WAIT_PRIVATE, round, NULL, NULL, 0);
        atomic_fetch_sub(&pool.sleeping, 1);
    }
}

static void *work(void *unused) {
    (void)unused;
    for (unsigned last = 0;;) {
        last = await_loop(last);
        atomic_fetch_add(&pool.active, 1);
        if (atomic_load(&pool.round) == last) take_chunks(); /* else it has been closed, and nothing may be touched */
        atomic_fetch_sub(&pool.active, 1);
    }
    return NULL;
}

/* Use so many threads, the caller's included; they stay until the process ends, so the number never falls. */
void l4c_set_num_threads(int64_t count) {
    pthread_mutex_lock(&pool.busy);
    while (pool.workers < count - 1 && pool.workers < MAX_THREADS) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, NULL)) break;
        pthread_detach(thread);
        pool.workers++;
    }
    pthread_mutex_unlock(&pool.busy);
}

/* body(args, begin, end) for all of [0, count), in pieces of at least `grain` that go to whoever is free.
 *
 * A worker whose core is busy with something else is not waited for, unless it has already taken a piece. */
static void parallel_for(loop_body body, const void *args, int64_t count, int64_t grain) {
    if (pool.workers == 0 || count <= grain || pthread_mutex_trylock(&pool.busy)) {
        body(args, 0, count);
        return;
    }
    int64_t pieces = 4 * (pool.workers + 1), chunk = (count + pieces - 1) / pieces;
    pool.body = body, pool.args = args, pool.count = count, pool.chunk = chunk > grain ? chunk : grain;
    atomic_store(&pool.next, 0);
    atomic_fetch_add(&pool.round, 1);
    if (atomic_load(&pool.sleeping)) syscall(SYS_futex, &pool.round, FUTEX_WAKE_PRIVATE, MAX_THREADS, NULL, NULL, 0);
    take_chunks();
    atomic_fetch_add(&pool.round, 1);
    while (atomic_load(&pool.active)) _mm_pause();
    pthread_mutex_unlock(&pool.busy);
}

#endif
