/* Mean residual of a render against a depth map, pair by pair (Eq. 5 of Wan et al., CVPR 2019; see m2d.py), and its
 * gradient on the render.
 *
 * REAL is float or double. All arrays are contiguous. No sum goes over pairs.
 */
#include <math.h>
#include <tgmath.h>

#include "native.h"

typedef struct {
    int64_t pixels;
    int64_t silhouette, squared;
    double background, far, clamp;
    const REAL *depth;         /* (P, H, W), the render */
    const int8_t *hit;         /* (P, H, W) */
    const REAL *anchor;        /* (P, H, W, 2) */
    const int64_t *target;     /* (P,), index of the depth map of each pair */
    const REAL *map;           /* (N, H, W) */
    const int8_t *seen;        /* (N, H, W), where the map shows a surface */
    const REAL *nearest;       /* (N, H, W, 2), x and y of the nearest such pixel; null without `silhouette` */
    const int8_t *counts;      /* (P, H, W), which pixels count; null for all */
    REAL *value, *total;       /* (P,) the mean and its divisor */
    const REAL *by_value;      /* (P,) */
    REAL *by_depth, *by_anchor; /* (P, H, W) and (P, H, W, 2); the latter null without `silhouette` */
} residual_t;

enum { BLOCK = 256 /* pixels per block: residuals without a branch, then their sum */ };

static inline __attribute__((always_inline)) void residuals_of(const residual_t *job, int64_t pair, int silhouette) {
    const int64_t pixels = job->pixels;
    const REAL background = (REAL)job->background, far = (REAL)job->far, clamp = (REAL)job->clamp;
    const REAL *restrict depth = job->depth + pair * pixels, *restrict anchor = job->anchor + 2 * pair * pixels;
    const int8_t *restrict hit = job->hit + pair * pixels;
    const REAL *restrict map = job->map + job->target[pair] * pixels;
    const int8_t *restrict seen = job->seen + job->target[pair] * pixels;
    const REAL *restrict nearest = silhouette ? job->nearest + 2 * job->target[pair] * pixels : NULL;
    const int8_t *restrict counts = job->counts ? job->counts + pair * pixels : NULL;
    _Alignas(64) REAL residual[BLOCK];
    double sum = 0;
    int64_t total = 0;
    for (int64_t start = 0; start < pixels; start += BLOCK) {
        const int count = (int)(pixels - start < BLOCK ? pixels - start : BLOCK);
        for (int k = 0; k < count; ++k) {
            const int64_t i = start + k;
            const REAL shown = hit[i] ? depth[i] : background;
            REAL found = fabs((shown > far ? far : shown) - (map[i] > far ? far : map[i]));  /* # Eq. 5 */
            if (silhouette) {
                const REAL x = anchor[2 * i] - nearest[2 * i], y = anchor[2 * i + 1] - nearest[2 * i + 1];
                const REAL aside = sqrt(x * x + y * y);
                found = (hit[i] != 0) & (seen[i] == 0) ? aside : found;
            }
            found = found > clamp ? clamp : found;
            residual[k] = job->squared ? found * found : found;
        }
        if (counts)
            for (int k = 0; k < count; ++k) residual[k] = counts[start + k] ? residual[k] : 0;
        for (int k = 0; k < count; ++k) total += counts ? counts[start + k] : 1;
        double each[8] = {0};
        for (int k = 0; k < count; ++k) each[k % 8] += residual[k];
        for (int k = 0; k < 8; ++k) sum += each[k];
    }
    if (total < 1) total = 1;
    job->value[pair] = (REAL)(sum / (double)total);
    job->total[pair] = (REAL)total;
}

static void residual_of(const void *given, int64_t pair) {
    const residual_t *job = given;
    if (job->silhouette) residuals_of(job, pair, 1);
    else residuals_of(job, pair, 0);
}

void residual_forward(int64_t pairs, int64_t threads, int64_t pixels, int64_t silhouette, int64_t squared,
                      double background, double far, double clamp, const REAL *depth, const int8_t *hit,
                      const REAL *anchor, const int64_t *target, const REAL *map, const int8_t *seen,
                      const REAL *nearest, const int8_t *counts, REAL *value, REAL *total) {
    const residual_t job = {pixels, silhouette, squared, background, far,   clamp, depth, hit,  anchor,
                            target, map,        seen,    nearest,    counts, value, total, NULL, NULL, NULL};
    share_out(residual_of, &job, pairs, threads);
}

static void residual_gradient_of(const void *given, int64_t pair) {
    const residual_t *job = given;
    const int64_t pixels = job->pixels, at = pair * pixels, of = job->target[pair] * pixels;
    const REAL far = (REAL)job->far, clamp = (REAL)job->clamp, by = job->by_value[pair] / job->total[pair];
    for (int64_t i = 0; i < pixels; ++i) {
        REAL by_depth = 0, by_x = 0, by_y = 0;
        if (job->hit[at + i] && (!job->counts || job->counts[at + i])) {
            if (job->silhouette && !job->seen[of + i]) {
                const REAL x = job->anchor[2 * (at + i)] - job->nearest[2 * (of + i)];
                const REAL y = job->anchor[2 * (at + i) + 1] - job->nearest[2 * (of + i) + 1];
                const REAL residual = sqrt(x * x + y * y);
                if (residual > 0 && residual <= clamp) {
                    const REAL share = job->squared ? 2 * by : by / residual;
                    by_x = share * x;
                    by_y = share * y;
                }
            } else if (job->depth[at + i] <= far) { /* a capped depth is constant */
                const REAL map = job->map[of + i], off = job->depth[at + i] - (map > far ? far : map);
                if (fabs(off) <= clamp) by_depth = job->squared ? 2 * by * off : by * (REAL)((off > 0) - (off < 0));
            }
        }
        job->by_depth[at + i] = by_depth;
        if (job->by_anchor) {
            job->by_anchor[2 * (at + i)] = by_x;
            job->by_anchor[2 * (at + i) + 1] = by_y;
        }
    }
}

void residual_backward(int64_t pairs, int64_t threads, int64_t pixels, int64_t silhouette, int64_t squared, double far,
                       double clamp, const REAL *depth, const int8_t *hit, const REAL *anchor, const int64_t *target,
                       const REAL *map, const int8_t *seen, const REAL *nearest, const int8_t *counts,
                       const REAL *total, const REAL *by_value, REAL *by_depth, REAL *by_anchor) {
    const residual_t job = {pixels, silhouette, squared, 0,      far,  clamp,         depth,    hit,      anchor,
                            target, map,        seen,    nearest, counts, NULL, (REAL *)total, by_value, by_depth, by_anchor};
    share_out(residual_gradient_of, &job, pairs, threads);
}
