/* Spheres under an orthographic camera, map by map: Eq. 6-8 and 10-11 of Wan et al., CVPR 2019, and their gradients.
 *
 * REAL is float or double. All arrays are contiguous. No sum goes over maps.
 */
#include <math.h>
#include <string.h>
#include <tgmath.h>

#include "native.h"

/* --------------------------------------------------------------------------------------------------------- depth */

typedef struct {
    int64_t spheres, size;
    double pixel_mm, far, floor;
    const REAL *points, *radii;  /* (N, J, 3), (N, J) */
    REAL *depth;                 /* (N, H, W) */
    int8_t *hit;                 /* (N, H, W) */
    int64_t *primitive;            /* (N, H, W) */
    REAL *anchor;                /* (N, H, W, 2) */
} depth_t;

static REAL ray(int64_t pixel, int64_t size, REAL pixel_mm) {
    return ((REAL)pixel + (REAL)0.5 - (REAL)size / 2) * pixel_mm;
}

static void depth_of(const void *given, int64_t map) {
    const depth_t *job = given;
    const int64_t size = job->size, pixels = size * size;
    const REAL pixel_mm = (REAL)job->pixel_mm, floor_mm2 = (REAL)job->floor, far = (REAL)job->far;
    const REAL *points = job->points + map * job->spheres * 3, *radii = job->radii + map * job->spheres;
    REAL *depth = job->depth + map * pixels, *anchor = job->anchor + map * pixels * 2;
    int8_t *hit = job->hit + map * pixels;
    int64_t *primitive = job->primitive + map * pixels;

    REAL axis[size];
    for (int64_t u = 0; u < size; ++u) axis[u] = ray(u, size, pixel_mm);
    for (int64_t i = 0; i < pixels; ++i) depth[i] = far;
    memset(primitive, 0, pixels * sizeof *primitive);

    for (int64_t j = 0; j < job->spheres; ++j) {
        const REAL x = points[3 * j], y = points[3 * j + 1], z = points[3 * j + 2], r = radii[j];
        if (!(isfinite(x) && isfinite(y) && isfinite(z))) continue;
        /* The pixels that the sphere can cover, with a margin of 1% against rounding at the rim. The code bounds them
         * before the conversion to integers: a sphere may lie anywhere. */
        const double middle = (double)size / 2 - 0.5, reach = (double)r / job->pixel_mm + 0.01;
        const double at_u = x / job->pixel_mm + middle, at_v = y / job->pixel_mm + middle;
        const int64_t u0 = (int64_t)fmin(fmax(ceil(at_u - reach), 0), size);
        const int64_t u1 = (int64_t)fmax(fmin(floor(at_u + reach), size - 1), -1);
        const int64_t v0 = (int64_t)fmin(fmax(ceil(at_v - reach), 0), size);
        const int64_t v1 = (int64_t)fmax(fmin(floor(at_v + reach), size - 1), -1);
        for (int64_t v = v0; v <= v1; ++v) {
            const REAL in_row = r * r - (axis[v] - y) * (axis[v] - y);
            REAL *front = depth + v * size;
            int64_t *who = primitive + v * size;
            for (int64_t u = u0; u <= u1; ++u) {
                const REAL gap = in_row - (axis[u] - x) * (axis[u] - x);  /* # Eq. 7 */
                const REAL surface = z - sqrt(gap > floor_mm2 ? gap : floor_mm2);  /* # Eq. 6 */
                const REAL shown = gap >= 0 ? surface : far;
                /* The first of two spheres at the same depth stays. Bits replace a selection, which would compile to a
                 * branch with many mispredictions. */
                const int64_t nearer = -(int64_t)(shown < front[u]);
                front[u] = shown < front[u] ? shown : front[u];  /* # Eq. 8 */
                who[u] ^= (who[u] ^ (j + 1)) & nearer;
            }
        }
    }
    for (int64_t v = 0; v < size; ++v)
        for (int64_t u = 0; u < size; ++u) {
            const int64_t i = v * size + u;
            const int64_t seen = primitive[i];
            hit[i] = seen > 0;
            primitive[i] = seen > 0 ? seen - 1 : 0;
            anchor[2 * i] = axis[u];
            anchor[2 * i + 1] = axis[v];
        }
}

void depth_forward(int64_t maps, int64_t threads, int64_t spheres, int64_t size, double pixel_mm, double far,
                   double floor, const REAL *points, const REAL *radii, REAL *depth, int8_t *hit, int64_t *primitive,
                   REAL *anchor) {
    const depth_t job = {spheres, size, pixel_mm, far, floor, points, radii, depth, hit, primitive, anchor};
    share_out(depth_of, &job, maps, threads);
}

typedef struct {
    int64_t spheres, size;
    double pixel_mm, floor;
    const REAL *points, *radii;
    const int8_t *hit;
    const int64_t *primitive;
    const REAL *by_depth, *by_anchor;  /* gradients (N, H, W) and (N, H, W, 2), or null */
    REAL *by_points;                   /* (N, J, 3) */
} depth_gradient_t;

static void depth_gradient_of(const void *given, int64_t map) {
    const depth_gradient_t *job = given;
    const int64_t size = job->size, pixels = size * size;
    const REAL pixel_mm = (REAL)job->pixel_mm, floor_mm2 = (REAL)job->floor;
    const REAL *points = job->points + map * job->spheres * 3, *radii = job->radii + map * job->spheres;
    const int8_t *hit = job->hit + map * pixels;
    const int64_t *primitive = job->primitive + map * pixels;
    const REAL *by_depth = job->by_depth ? job->by_depth + map * pixels : NULL;
    const REAL *by_anchor = job->by_anchor ? job->by_anchor + map * pixels * 2 : NULL;

    double sums[3 * job->spheres];
    REAL axis[size];
    for (int64_t k = 0; k < 3 * job->spheres; ++k) sums[k] = 0;
    for (int64_t u = 0; u < size; ++u) axis[u] = ray(u, size, pixel_mm);

    for (int64_t v = 0; v < size; ++v)
        for (int64_t u = 0; u < size; ++u) {
            const int64_t i = v * size + u;
            if (!hit[i]) continue;
            const int64_t j = primitive[i];
            double *sum = sums + 3 * j;
            if (by_depth) {
                const REAL x = points[3 * j] - axis[u], y = points[3 * j + 1] - axis[v];
                const REAL gap = radii[j] * radii[j] - y * y - x * x;
                if (gap >= floor_mm2) {  /* below the floor, the surface moves only with z */
                    const double share = (double)by_depth[i] / sqrt((double)gap);
                    sum[0] += share * x;
                    sum[1] += share * y;
                }
                sum[2] += by_depth[i];
            }
            if (by_anchor) {
                sum[0] += by_anchor[2 * i];
                sum[1] += by_anchor[2 * i + 1];
            }
        }
    REAL *by_points = job->by_points + map * job->spheres * 3;
    for (int64_t k = 0; k < 3 * job->spheres; ++k) by_points[k] = (REAL)sums[k];
}

void depth_backward(int64_t maps, int64_t threads, int64_t spheres, int64_t size, double pixel_mm, double floor,
                    const REAL *points, const REAL *radii, const int8_t *hit, const int64_t *primitive,
                    const REAL *by_depth, const REAL *by_anchor, REAL *by_points) {
    const depth_gradient_t job = {spheres, size,    pixel_mm, floor,     points,   radii,
                                  hit,     primitive, by_depth, by_anchor, by_points};
    share_out(depth_gradient_of, &job, maps, threads);
}

/* ------------------------------------------------------------------------------------------------------ distance */

enum { BLOCK = 256 /* queries per block: compared with all spheres before the next block */ };

typedef struct {
    int64_t spheres, queries;
    const REAL *points, *radii, *query;  /* (N, J, 3), (N, J), (N, Q, 3) */
    REAL *distance;                      /* (N, Q) */
    int64_t *primitive;                    /* (N, Q) */
} distance_t;

/* The least |(|p - c| - r)| of a block of places over all spheres, and the first sphere with this value. */
static void nearest_of(int64_t spheres, const REAL *restrict points, const REAL *restrict radii, const REAL *restrict x,
                       const REAL *restrict y, const REAL *restrict z, REAL *restrict least, int32_t *restrict who) {
    for (int q = 0; q < BLOCK; ++q) {
        least[q] = INFINITY;
        who[q] = 0;
    }
    for (int64_t j = 0; j < spheres; ++j) {
        const REAL px = points[3 * j], py = points[3 * j + 1], pz = points[3 * j + 2], r = radii[j];
        for (int q = 0; q < BLOCK; ++q) {
            const REAL dx = x[q] - px, dy = y[q] - py, dz = z[q] - pz;
            const REAL apart = fabs(sqrt(dx * dx + dy * dy + dz * dz) - r);  /* # Eq. 10 */
            const int32_t nearer = -(int32_t)(apart < least[q]);
            least[q] = apart < least[q] ? apart : least[q];  /* # Eq. 11 */
            who[q] ^= (who[q] ^ (int32_t)j) & nearer;
        }
    }
}

static void distance_of(const void *given, int64_t map) {
    const distance_t *job = given;
    const REAL *points = job->points + map * job->spheres * 3, *radii = job->radii + map * job->spheres;
    /* A NaN sphere is nearest to everything, as in a minimum over tensors: the loss must show it. */
    int64_t lost = -1;
    for (int64_t j = job->spheres - 1; j >= 0; --j)
        if (isnan(points[3 * j]) || isnan(points[3 * j + 1]) || isnan(points[3 * j + 2])) lost = j;

    for (int64_t start = 0; start < job->queries; start += BLOCK) {
        const int64_t count = job->queries - start < BLOCK ? job->queries - start : BLOCK;
        const REAL *query = job->query + (map * job->queries + start) * 3;
        REAL *distance = job->distance + map * job->queries + start;
        int64_t *primitive = job->primitive + map * job->queries + start;
        _Alignas(64) REAL x[BLOCK], y[BLOCK], z[BLOCK], least[BLOCK];
        _Alignas(64) int32_t who[BLOCK];
        for (int64_t q = 0; q < count; ++q) {
            x[q] = query[3 * q];
            y[q] = query[3 * q + 1];
            z[q] = query[3 * q + 2];
        }
        for (int64_t q = count; q < BLOCK; ++q) x[q] = y[q] = z[q] = 0; /* a fixed length is faster */
        nearest_of(job->spheres, points, radii, x, y, z, least, who);
        for (int64_t q = 0; q < count; ++q) {
            distance[q] = least[q];
            primitive[q] = who[q];
        }
        for (int64_t q = 0; q < count; ++q) { /* no finite distance, or NaN */
            if (lost < 0 && least[q] < INFINITY) continue;
            if (lost >= 0 || isnan(x[q] + y[q] + z[q])) distance[q] = NAN;
            if (lost >= 0) primitive[q] = lost;
        }
    }
}

void distance_forward(int64_t maps, int64_t threads, int64_t spheres, int64_t queries, const REAL *points,
                      const REAL *radii, const REAL *query, REAL *distance, int64_t *primitive) {
    const distance_t job = {spheres, queries, points, radii, query, distance, primitive};
    share_out(distance_of, &job, maps, threads);
}

typedef struct {
    int64_t spheres, queries;
    const REAL *points, *radii, *query;
    const int64_t *primitive;
    const REAL *by_distance;   /* (N, Q) */
    REAL *by_points, *by_query; /* (N, J, 3), (N, Q, 3) or null */
} distance_gradient_t;

static void distance_gradient_of(const void *given, int64_t map) {
    const distance_gradient_t *job = given;
    const REAL *points = job->points + map * job->spheres * 3, *radii = job->radii + map * job->spheres;
    const REAL *query = job->query + map * job->queries * 3, *by = job->by_distance + map * job->queries;
    const int64_t *primitive = job->primitive + map * job->queries;
    double sums[3 * job->spheres];
    for (int64_t k = 0; k < 3 * job->spheres; ++k) sums[k] = 0;
    for (int64_t q = 0; q < job->queries; ++q) {
        const int64_t j = primitive[q];
        double offset[3], share = 0;
        for (int k = 0; k < 3; ++k) offset[k] = query[3 * q + k] - points[3 * j + k];
        const double apart = sqrt(offset[0] * offset[0] + offset[1] * offset[1] + offset[2] * offset[2]);
        const double beyond = apart - radii[j];
        /* The gradient is zero at a sphere's centre and on its surface. */
        if (apart != 0 && beyond != 0) share = (beyond > 0 ? by[q] : -by[q]) / apart;
        for (int k = 0; k < 3; ++k) {
            sums[3 * j + k] -= share * offset[k];
            if (job->by_query) job->by_query[(map * job->queries + q) * 3 + k] = (REAL)(share * offset[k]);
        }
    }
    REAL *by_points = job->by_points + map * job->spheres * 3;
    for (int64_t k = 0; k < 3 * job->spheres; ++k) by_points[k] = (REAL)sums[k];
}

void distance_backward(int64_t maps, int64_t threads, int64_t spheres, int64_t queries, const REAL *points,
                       const REAL *radii, const REAL *query, const int64_t *primitive, const REAL *by_distance,
                       REAL *by_points, REAL *by_query) {
    const distance_gradient_t job = {spheres, queries, points, radii, query, primitive, by_distance, by_points, by_query};
    share_out(distance_gradient_of, &job, maps, threads);
}
