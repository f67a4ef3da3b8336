/* Shares maps among threads, for the C files that `hpf_core.native.compiler` compiles.
 *
 * One thread processes a map, in a fixed order. Without sums over maps, results don't depend on the number of threads.
 */
#pragma once

#include <pthread.h>
#include <stdint.h>
#include <stddef.h>

typedef void (*work_t)(const void *job, int64_t map);

typedef struct {
    work_t work;
    const void *job;
    int64_t first, last;
} share_t;

static void *do_share(void *given) {
    const share_t *share = given;
    for (int64_t map = share->first; map < share->last; ++map) share->work(share->job, map);
    return NULL;
}

enum { MOST_THREADS = 64, LEAST_MAPS = 4 /* per thread, below which a thread doesn't pay */ };

static void share_out(work_t work, const void *job, int64_t maps, int64_t threads) {
    pthread_t started[MOST_THREADS];
    share_t shares[MOST_THREADS];
    int running[MOST_THREADS] = {0};
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    if (threads > maps / LEAST_MAPS) threads = maps / LEAST_MAPS;
    if (threads < 1) threads = 1;
    for (int64_t t = 0; t < threads; ++t)
        shares[t] = (share_t){work, job, maps * t / threads, maps * (t + 1) / threads};
    for (int64_t t = 1; t < threads; ++t)
        running[t] = pthread_create(&started[t], NULL, do_share, &shares[t]) == 0;
    do_share(&shares[0]);
    for (int64_t t = 1; t < threads; ++t) {
        if (running[t]) pthread_join(started[t], NULL);
        else do_share(&shares[t]);
    }
}
