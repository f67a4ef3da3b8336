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
    const int64_t *target;     /* (P,), the depth map of each */
    const REAL *map;           /* (N, H, W) */
    const int8_t *seen;        /* (N, H, W), where it shows a surface */
    const REAL *nearest;       /* (N, H, W, 2), x and y of the nearest such pixel; null without `silhouette` */
    const int8_t *counts;      /* (P, H, W), which pixels count; null for all */
    REAL *value, *total;       /* (P,) the mean and by what it was divided */
    const REAL *by_value;      /* (P,) */
    REAL *by_depth, *by_anchor; /* (P, H, W) and (P, H, W, 2); the latter null without `silhouette` */
} residual_t;

static void residual_of(const void *given, int64_t pair) {
    const residual_t *job = given;
    const int64_t pixels = job->pixels, at = pair * pixels, of = job->target[pair] * pixels;
    const REAL background = (REAL)job->background, far = (REAL)job->far, clamp = (REAL)job->clamp;
    double sum = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < pixels; ++i) {
        if (job->counts && !job->counts[at + i]) continue;
        ++count;
        const int hit = job->hit[at + i];
        REAL residual;
        if (job->silhouette && hit && !job->seen[of + i]) {
            const REAL x = job->anchor[2 * (at + i)] - job->nearest[2 * (of + i)];
            const REAL y = job->anchor[2 * (at + i) + 1] - job->nearest[2 * (of + i) + 1];
            residual = sqrt(x * x + y * y);
        } else {
            const REAL depth = hit ? job->depth[at + i] : background, map = job->map[of + i];
            residual = fabs((depth > far ? far : depth) - (map > far ? far : map));
        }
        residual = residual > clamp ? clamp : residual;
        sum += job->squared ? residual * residual : residual;
    }
    const int64_t total = count > 0 ? count : 1;
    job->value[pair] = (REAL)(sum / (double)total);
    job->total[pair] = (REAL)total;
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
            } else if (job->depth[at + i] <= far) { /* capped, it is a constant */
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
