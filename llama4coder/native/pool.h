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
    atomic_uint round;    /* changes when there is a loop to join */
    atomic_int sleeping, unfinished;
    atomic_llong next;    /* index that nobody has taken */
    loop_body body;
    const void *args;
    int64_t count, chunk;
} pool = {.busy = PTHREAD_MUTEX_INITIALIZER};

static void take_chunks(void) {
    int64_t begin;
    while ((begin = atomic_fetch_add(&pool.next, pool.chunk)) < pool.count)
        pool.body(pool.args, begin, begin + pool.chunk < pool.count ? begin + pool.chunk : pool.count);
}

static void await_round(unsigned seen) {
    for (int spin = 0; spin < SPINS; spin++) {
        if (atomic_load(&pool.round) != seen) return;
        _mm_pause();
    }
    atomic_fetch_add(&pool.sleeping, 1);
    while (atomic_load(&pool.round) == seen) syscall(SYS_futex, &pool.round, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    atomic_fetch_sub(&pool.sleeping, 1);
}

static void *work(void *first_round) {
    for (unsigned seen = (unsigned)(uintptr_t)first_round;; seen++) { /* all take part in every round: none is missed */
        await_round(seen);
        take_chunks();
        atomic_fetch_sub(&pool.unfinished, 1);
    }
    return NULL;
}

/* Use so many threads, the caller's included; they stay until the process ends, so the number never falls. */
void l4c_set_num_threads(int64_t count) {
    pthread_mutex_lock(&pool.busy);
    while (pool.workers < count - 1 && pool.workers < MAX_THREADS) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, (void *)(uintptr_t)atomic_load(&pool.round))) break;
        pthread_detach(thread);
        pool.workers++;
    }
    pthread_mutex_unlock(&pool.busy);
}

/* body(args, begin, end) for all of [0, count), in pieces of at least `grain` that go to whoever is free. */
static void parallel_for(loop_body body, const void *args, int64_t count, int64_t grain) {
    if (pool.workers == 0 || count <= grain || pthread_mutex_trylock(&pool.busy)) {
        body(args, 0, count);
        return;
    }
    int64_t pieces = 4 * (pool.workers + 1), chunk = (count + pieces - 1) / pieces;
    pool.body = body, pool.args = args, pool.count = count, pool.chunk = chunk > grain ? chunk : grain;
    atomic_store(&pool.next, 0);
    atomic_store(&pool.unfinished, pool.workers);
    atomic_fetch_add(&pool.round, 1);
    if (atomic_load(&pool.sleeping)) syscall(SYS_futex, &pool.round, FUTEX_WAKE_PRIVATE, MAX_THREADS, NULL, NULL, 0);
    take_chunks();
    while (atomic_load(&pool.unfinished)) _mm_pause();
    pthread_mutex_unlock(&pool.busy);
}

#endif
