"""A batch of estimates held against all views: points taken across views, renders, distances, each made once.

A `Fit` belongs to one step and one stack. Terms read from it; what two of them need is computed once. With
`cross_view` the ordered pairs of all present views of a frame are used (estimate of view i against the depth map of view j, Sec. 3.4.1
"Data terms" of the paper), without it the own views alone.
"""

from __future__ import annotations
