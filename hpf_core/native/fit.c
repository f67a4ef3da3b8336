/* Queries of a fit to depth maps: the nearest marked pixel of each pixel, and the points beyond a plane.
 *
 * REAL is float or double. All arrays are contiguous. No sum goes over maps.
 */
#include <string.h>

#include "native.h"

/* -------------------------------------------------------------------------------------------------- nearest pixel */

typedef struct {
    int64_t height, width;
    const int8_t *mask; /* (N, H, W) */
    int64_t *nearest;   /* (N, H, W, 2), column and row */
} nearest_t;

static void nearest_of(const void *given, int64_t map) {
    const nearest_t *job = given;
    const int64_t height = job->height, width = job->width;
    const int8_t *mask = job->mask + map * height * width;
    int64_t *nearest = job->nearest + map * height * width * 2;
    const int32_t none = 2 * (int32_t)(height > width ? height : width); /* farther than any pixel */

    /* Along the columns: the nearest marked row above, then the nearer of this row and of the one below. The result's
     * memory holds them: a map may be too large for a thread's stack. */
    int32_t last[width], row[width], best[width];
    int any = 0;
    for (int64_t u = 0; u < width; ++u) last[u] = -none;
    for (int64_t v = 0; v < height; ++v)
        for (int64_t u = 0; u < width; ++u) {
            any |= mask[v * width + u];
            last[u] = mask[v * width + u] ? (int32_t)v : last[u];
            nearest[2 * (v * width + u) + 1] = last[u];
        }
    for (int64_t u = 0; u < width; ++u) last[u] = 2 * none;
    for (int64_t v = height - 1; v >= 0; --v)
        for (int64_t u = 0; u < width; ++u) {
            last[u] = mask[v * width + u] ? (int32_t)v : last[u];
            int64_t *above = nearest + 2 * (v * width + u) + 1;
            *above = v - *above <= last[u] - v ? *above : last[u];
        }
    /* Along the rows: the least sum of squares and the first such column, both in one integer. */
    for (int64_t v = 0; v < height; ++v) {
        for (int64_t u = 0; u < width; ++u) {
            best[u] = INT32_MAX;
            row[u] = (int32_t)nearest[2 * (v * width + u) + 1];
        }
        for (int64_t from = 0; from < width; ++from) {
            const int32_t apart = row[from] > (int32_t)v ? row[from] - (int32_t)v : (int32_t)v - row[from];
            if (apart >= none) continue; /* no marked pixel in this column */
            const int32_t key = apart * apart * (int32_t)width + (int32_t)from;
            for (int32_t u = 0; u < (int32_t)width; ++u) {
                const int32_t found = key + (u - (int32_t)from) * (u - (int32_t)from) * (int32_t)width;
                best[u] = found < best[u] ? found : best[u];
            }
        }
        for (int64_t u = 0; u < width; ++u) {
            const int64_t column = any ? best[u] % width : u;
            nearest[2 * (v * width + u)] = column;
            nearest[2 * (v * width + u) + 1] = any ? row[column] : v;
        }
    }
}

void nearest_marked(int64_t maps, int64_t threads, int64_t height, int64_t width, const int8_t *mask,
                    int64_t *nearest) {
    const nearest_t job = {height, width, mask, nearest};
    share_out(nearest_of, &job, maps, threads);
}

/* --------------------------------------------------------------------------------------------------------- planes */

typedef struct {
    int64_t queries;
    double least; /* least share of a map's points on this side, else the result is empty */
    const REAL *points; /* (N, Q, 3) */
    const int8_t *valid; /* (N, Q) */
    const int64_t *target; /* (P,), index of the map of each plane */
    const REAL *normal, *offset; /* (P, 3) and (P,): beyond is where normal . p > offset */
    int8_t *beyond; /* (P, Q) */
} plane_t;

static void beyond_of(const void *given, int64_t plane) {
    const plane_t *job = given;
    const REAL *points = job->points + job->target[plane] * job->queries * 3;
    const int8_t *valid = job->valid + job->target[plane] * job->queries;
    const REAL *normal = job->normal + plane * 3, offset = job->offset[plane];
    int8_t *beyond = job->beyond + plane * job->queries;
    int64_t count = 0, left_out = 0;
    for (int64_t q = 0; q < job->queries; ++q) {
        const REAL height =
            -offset + points[3 * q] * normal[0] + points[3 * q + 1] * normal[1] + points[3 * q + 2] * normal[2];
        beyond[q] = (int8_t)(valid[q] & (height > 0));
    }
    for (int64_t q = 0; q < job->queries; ++q) {
        count += valid[q];
        left_out += beyond[q];
    }
    if (!((REAL)(count - left_out) >= (REAL)job->least * (REAL)count)) memset(beyond, 0, job->queries);
}

void beyond_planes(int64_t planes, int64_t threads, int64_t queries, double least, const REAL *points,
                   const int8_t *valid, const int64_t *target, const REAL *normal, const REAL *offset,
                   int8_t *beyond) {
    const plane_t job = {queries, least, points, valid, target, normal, offset, beyond};
    share_out(beyond_of, &job, planes, threads);
}
