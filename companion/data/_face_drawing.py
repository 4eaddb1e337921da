"""Draw faces by ray casting: a numba kernel that computes the colour of each pixel on its own.

The head is an ellipsoid with a relief (nose, sockets, lips, chin). Eyes, brows, mouth and beard are painted on its
surface, hair is a shell around it with an opening for the face, glasses are in a plane before it. Lengths are pixels of
CelebA's aligned frame of 178x218. There are two frames of reference: the camera's, with its origin in the middle of a
head that looks straight ahead, and the head's, which turns with it. In both, x points right, y down and z to the
viewer. Rays are parallel to z. Colours are linear until they are stored.
"""

# numba infers the types in this file.
# mypy: ignore-errors

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numba import njit

# The camera's origin in CelebA's frame of 178x218.
MIDDLE = (89.0, 108.0)

_CHIN, _CROWN, _DEPTH = 63.0, 54.0, 46.0
_EYE_X, _EYE_Y, _EYE_HALF_WIDTH = 19.0, 4.0, 11.5
_MOUTH_Y = 43.0
_GLASSES_Z = 51.0

# Quantities that all pixels of a face share.
FACE = np.dtype(
    [
        ("right", "f8", 3),  # the camera's axes, in the head's frame
        ("down", "f8", 3),
        ("ahead", "f8", 3),
        ("middle", "f8", 2),  # of the head, in the camera's frame
        ("light", "f8", 3),  # to the light and to halfway between it and the viewer, in the head's frame
        ("halfway", "f8", 3),
        ("camera_light", "f8", 3),
        ("half_width", "f8"),
        ("skin", "f8", 3),
        ("hair", "f8", 3),
        ("background", "f8", 3),
        ("hair_end", "f8"),
        ("fringe", "f8"),
        ("smile", "f8"),
        ("mouth_open", "f8"),
        ("eye_openness", "f8"),
        ("glasses", "f8"),
        ("beard", "f8"),
        ("gaze", "f8", 2),
    ]
)

# Bumps of the face: place (|x|, y), half-axes and height. Each is zero outside its half-axes.
_BUMPS = (
    (0, 20, 12, 14, 6.5),  # tip of the nose
    (0, 7, 11, 25, 4.5),  # its ridge
    (7.5, 23, 7, 7, 1.5),  # its wings
    (19, 3, 16, 13, -3.5),  # sockets
    (16, -11, 22, 11, 1.5),  # brows
    (26, 22, 20, 22, 2.5),  # cheeks
    (0, 40, 18, 8, 1.6),  # upper lip
    (0, 48.5, 14, 6, 1.2),  # lower lip
    (0, 59, 16, 12, 3.5),  # chin
)
_RELIEF_TOP, _RELIEF_SIZE = -23, (96, 48)


def _relief_table():
    """Tabulate the height of the relief over the ellipsoid and its slopes, by y from the brows down and by |x|."""
    rows, columns = _RELIEF_SIZE
    y, x = np.mgrid[_RELIEF_TOP : _RELIEF_TOP + rows, :columns].astype(float)
    table = np.zeros((rows, columns, 3))
    for centre_x, centre_y, half_x, half_y, height in _BUMPS:
        u, v = (x - centre_x) / half_x, (y - centre_y) / half_y
        rest = np.maximum(1 - u * u - v * v, 0)
        table[..., 0] += height * rest**3
        table[..., 1] -= 6 * height * rest**2 * u / half_x
        table[..., 2] -= 6 * height * rest**2 * v / half_y
    return table


_RELIEF = _relief_table()


def _compiled(function):
    compiled = partial(njit, nogil=True, error_model="numpy", fastmath=True)
    try:
        return compiled(cache=True)(function)
    except RuntimeError:  # no writable folder for numba's cache: each process compiles
        return compiled()(function)


_inline = njit(error_model="numpy", fastmath=True)


@_inline
def _cover(distance, width):
    """Return the share of a pixel inside an edge: 0 at `width` outside, 1 at `width` inside, smooth between."""
    u = min(max(0.5 + 0.5 * distance / width, 0.0), 1.0)
    return u * u * (3 - 2 * u)


@_inline
def _spot(x, y, half_width, half_height):
    """Return a soft elliptic spot: 1 in the middle, 0 outside the half-axes."""
    u = max(0.0, 1 - (x / half_width) ** 2 - (y / half_height) ** 2)
    return u * u


@_inline
def _mix(below, above, alpha):
    return (
        below[0] + alpha * (above[0] - below[0]),
        below[1] + alpha * (above[1] - below[1]),
        below[2] + alpha * (above[2] - below[2]),
    )


@_inline
def _scale(colour, by):
    return colour[0] * by, colour[1] * by, colour[2] * by


@_inline
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@_inline
def _unit(x, y, z):
    r = 1 / math.sqrt(x * x + y * y + z * z)
    return x * r, y * r, z * r


@_inline
def _relief(x, y):
    """Interpolate the height of the relief and its slopes along x and y in the table."""
    column, row = abs(x), y - _RELIEF_TOP
    if row < 0 or row >= _RELIEF_SIZE[0] - 1 or column >= _RELIEF_SIZE[1] - 1:
        return 0.0, 0.0, 0.0
    i, j = int(row), int(column)
    v, u = row - i, column - j
    a, b, c, d = (1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v
    near, far = _RELIEF[i], _RELIEF[i + 1]
    height = a * near[j, 0] + b * near[j + 1, 0] + c * far[j, 0] + d * far[j + 1, 0]
    slope_x = a * near[j, 1] + b * near[j + 1, 1] + c * far[j, 1] + d * far[j + 1, 1]
    slope_y = a * near[j, 2] + b * near[j + 1, 2] + c * far[j, 2] + d * far[j + 1, 2]
    return height, slope_x if x > 0 else -slope_x, slope_y


@_inline
def _ray(face, x, y):
    """Return where the ray of camera point (x, y) crosses the camera's plane z = 0, in the head's frame."""
    dx, dy = x - face.middle[0], y - face.middle[1]
    return (
        dx * face.right[0] + dy * face.down[0],
        dx * face.right[1] + dy * face.down[1],
        dx * face.right[2] + dy * face.down[2],
    )


@_inline
def _to_sphere(face, start, radii, centre):
    """Scale a ray so that an ellipsoid is the unit sphere: its start, its direction and 1 / |direction|^2."""
    ax, ay, az = 1 / radii[0], 1 / radii[1], 1 / radii[2]
    point = ((start[0] - centre[0]) * ax, (start[1] - centre[1]) * ay, (start[2] - centre[2]) * az)
    direction = (face.ahead[0] * ax, face.ahead[1] * ay, face.ahead[2] * az)
    return point, direction, 1 / _dot(direction, direction)


@_inline
def _crossings(point, direction, inverse):
    """Return the point nearest to the centre, 1 - its squared radius, and the depths of entry and exit."""
    b = _dot(point, direction) * inverse
    nearest = (point[0] - b * direction[0], point[1] - b * direction[1], point[2] - b * direction[2])
    rest = 1 - _dot(nearest, nearest)
    half = math.sqrt(max(rest, 0.0) * inverse)
    return nearest, rest, half - b, -half - b


@_inline
def _ellipsoid(face, start, radii, centre):
    """Return the distance of a ray inside the outline (negative outside), and the depths of entry and exit."""
    nearest, rest, front, back = _crossings(*_to_sphere(face, start, radii, centre))
    if rest > 0.6:
        return radii[0], front, back  # far inside: the exact distance does not matter
    gradient = (nearest[0] / radii[0], nearest[1] / radii[1], nearest[2] / radii[2])
    gx, gy = _dot(gradient, face.right), _dot(gradient, face.down)
    return 0.5 * rest / math.sqrt(gx * gx + gy * gy + 1e-9), front, back


@_inline
def _along(face, start, depth):
    return (
        start[0] + depth * face.ahead[0],
        start[1] + depth * face.ahead[1],
        start[2] + depth * face.ahead[2],
    )


@_inline
def _lit(colour, normal, light, halfway, gloss):
    """Light a surface by a warm lamp and a cool sky; red light scatters farthest beyond the shadow's edge."""
    cosine = _dot(normal, light)
    red = max(0.0, cosine + 0.42) / 1.42
    green = max(0.0, cosine + 0.28) / 1.28
    blue = max(0.0, cosine + 0.24) / 1.24
    sky = 0.27 - 0.07 * normal[1]
    shine = max(0.0, _dot(normal, halfway))
    shine *= shine
    shine *= shine
    shine *= shine
    shine = gloss * shine * shine
    return (
        colour[0] * (0.98 * red + 0.98 * sky) + shine,
        colour[1] * (0.93 * green + sky) + shine,
        colour[2] * (0.86 * blue + 1.08 * sky) + shine,
    )


@_inline
def _backdrop(face, x, y):
    fall = 1.08 - 0.30 * ((x / 110) ** 2 + ((y + 20) / 140) ** 2)
    return _scale((face.background[0], face.background[1], face.background[2]), max(fall, 0.3))


@_inline
def _shoulder_line(side):
    return 56 + 0.33 * side + 144 * max(0.0, side / 74 - 0.75) ** 2


@_inline
def _body(face, x, y, blur, below):
    """Paint clothes over the shoulders, with a round neckline."""
    side = abs(x)
    below_line = y - _shoulder_line(side)
    alpha = _cover(below_line, blur + 0.6)
    if alpha == 0:
        return below
    alpha *= max(_cover(y - 74 + 0.018 * side * side, 1.5 + blur), _cover(side - 24, 2.0))
    roll = max(0.0, 1 - below_line / 26)
    normal = _unit(0.9 * x / 74, -0.25 - 0.8 * roll * roll, 0.9)
    cloth = _lit((0.090, 0.105, 0.140), normal, face.camera_light, face.camera_light, 0.0)
    return _mix(below, _scale(cloth, 1 - 0.35 * _spot(side, y - 72 - 0.4 * side, 60.0, 14.0)), alpha)


@_inline
def _neck(face, x, y, outside, blur, below):
    """Paint the neck in the shadow of the chin; `outside` is the distance from the head's outline."""
    side = abs(x)
    half = 22.5 + 10 * max(0.0, (y - 52) / 30) ** 2
    alpha = _cover(half - side, blur + 0.4) * _cover(y - 20, 4.0)
    alpha *= _cover(78.5 - 0.018 * side * side - y, 1.5 + blur)
    if alpha == 0:
        return below
    u = min(side / half, 1.0)
    normal = _unit(math.copysign(u, x), 0.12, math.sqrt(1.02 - u * u))
    colour = _lit((face.skin[0], face.skin[1], face.skin[2]), normal, face.camera_light, face.camera_light, 0.0)
    return _mix(below, _scale(colour, 1 - 0.62 * _cover(9 - outside, 16.0)), alpha)


@_inline
def _hair_shell(face, start):
    """Intersect a ray with the shell of hair, an ellipsoid whose lower half is extended to a tube."""
    drop = max(0.0, start[1] + 2.0)
    t = min(drop / (max(face.hair_end, 26.0) + 8), 1.2)
    bulge = 11 * t * (1 - t) - 4 * t * t * t * t
    level = (start[0], start[1] - drop, start[2])
    radii = (face.half_width + 7.0 + bulge, _CROWN + 7.0, _DEPTH + 9.0)
    return _ellipsoid(face, level, radii, (0.0, -2.0, -5.0))


@_inline
def _strands(p):
    """Return the brightness of strands that run down from the crown, from -1 to 1."""
    across = abs(p[0]) * (1 + 18 / (p[1] + 90)) + 0.02 * p[1]
    return 0.55 * math.cos(0.55 * across) + 0.45 * math.cos(0.23 * across + 0.05 * p[2])


@_inline
def _hair_colour(face, p, light):
    """Return the colour of the hair at a point of its shell; `light` is the share of light that reaches it."""
    half_width = face.half_width + 7
    nx, ny, nz = _unit(p[0] / half_width**2, min(p[1] + 2.0, 0.0) / 61.0**2, (p[2] + 5) / 55.0**2)
    cosine = nx * face.light[0] + ny * face.light[1] + nz * face.light[2]
    # The strands run down from the crown: the gloss is a band across them.
    gloss = max(0.0, nx * face.halfway[0] + (ny + 0.25) * face.halfway[1] + nz * face.halfway[2])
    gloss *= gloss
    gloss *= gloss
    gloss *= gloss
    strands = _strands(p)
    tone = light * (0.32 + 0.75 * max(0.0, cosine + 0.35) / 1.35) * (1 + 0.10 * strands)
    # The parting.
    tone *= 1 - 0.25 * _spot(p[0], p[1] + 46, 4.0, 20.0)
    shine = light * 0.065 * gloss * (1 + 0.5 * strands)
    return (
        face.hair[0] * tone + shine * (0.5 + 2.0 * face.hair[0]),
        face.hair[1] * tone + shine * (0.5 + 2.0 * face.hair[1]),
        face.hair[2] * tone + shine * (0.5 + 2.0 * face.hair[2]),
    )


@_inline
def _smooth_max(a, b, width):
    u = max(0.0, width - abs(a - b)) / width
    return max(a, b) + 0.25 * u * u * width


@_inline
def _hairline(face, p):
    """Return the distance inside the hair's edge, where a ray enters the shell; negative over the face."""
    side = abs(p[0])
    length = (face.hair_end + 4) / 76
    free = -34.5 + 0.016 * side * side
    bangs = -13 + 0.005 * side * side
    top = free + face.fringe * (bangs - free) - p[1]
    temple = max(0.0, 1 - ((p[1] + 16) / 30) ** 2)
    jaw = max(0.0, 1 - ((p[1] - 50) / 34) ** 2)
    sides = side - (face.half_width + 7) * (0.89 - 0.07 * length - 0.05 * temple - 0.07 * length * jaw)
    sides = max(sides, -4 - p[2])
    # The ends form an arch.
    ends = face.hair_end - 0.004 * side * side + 4.0 - p[1]
    return -_smooth_max(-_smooth_max(top, sides, 18.0), -ends, 14.0)


@_inline
def _brows(face, side, y, blur):
    u = (side - 20.0) / 13.0
    line = -7.2 - 3.2 * face.eye_openness - 3.4 * (1 - u * u) + 1.4 * u
    thick = 1.9 * (1 - 0.4 * u)
    return 0.75 * _cover(thick - abs(y - line), blur + 1.0) * _cover((1 - abs(u)) * 13.0, blur + 1.5)


@_inline
def _eyes(face, x, y, blur, skin, shade):
    """Paint lids, lashes, the white, iris, pupil and the lamp's reflection over the skin."""
    side, sign = abs(x), math.copysign(1.0, x)
    u = (side - _EYE_X) / _EYE_HALF_WIDTH
    if abs(u) > 1.6 or abs(y - _EYE_Y) > 16:
        return skin
    arch = max(0.0, 1 - u * u)
    tilt = -0.7 * u
    upper = _EYE_Y + 0.6 + tilt - (0.8 + 6.2 * face.eye_openness) * arch
    lower = _EYE_Y + 0.6 + tilt + (0.5 + 2.9 * face.eye_openness) * arch
    corner = (1 - abs(u)) * _EYE_HALF_WIDTH
    fold = _cover(1.1 - abs(y - upper + 2.6 + 0.5 * face.eye_openness), blur + 1.0) * _cover(corner, 3.0)
    skin = _scale(skin, 1 - 0.30 * fold)
    white = _cover(min(y - upper, lower - y), blur + 0.2) * _cover(corner, blur + 0.3)
    shadow = 0.62 + 0.38 * _cover(y - upper - 2.2, 2.2)
    eye = _scale((0.78, 0.74, 0.71), shadow * shade)
    dx, dy = x - sign * _EYE_X - face.gaze[0], y - _EYE_Y + 0.3 - face.gaze[1]
    r = math.sqrt(dx * dx + dy * dy)
    eye = _mix(eye, _scale((0.10, 0.055, 0.03), shade * (0.7 + 0.12 * r)), _cover(5.4 - r, blur + 0.3))
    eye = _mix(eye, (0.006, 0.005, 0.005), _cover(2.3 - r, blur + 0.3))
    gx, gy = dx - 1.7 * face.camera_light[0], dy + 1.5
    eye = _mix(eye, (0.9, 0.9, 0.9), 0.85 * _cover(1.15 - math.sqrt(gx * gx + gy * gy), blur + 0.3))
    skin = _mix(skin, eye, white)
    lashes = 0.85 * _cover(0.95 - abs(y - upper + 0.3), blur + 0.3) * _cover(corner + 0.8, blur + 0.4)
    skin = _mix(skin, (0.016, 0.011, 0.010), lashes)
    rim = 0.28 * _cover(0.6 - abs(y - lower), blur + 0.5) * _cover(corner, blur + 0.5)
    return _mix(skin, (0.05, 0.025, 0.02), rim)


@_inline
def _mouth(face, x, y, blur, skin, shade):
    """Paint the lips, and teeth and the dark between them."""
    side = abs(x)
    half = _mouth_half_width(face)
    u = side / half
    if u > 1.5 or y < 24 or y > 62:
        return skin
    arch = max(0.0, 1 - u * u)
    middle = _MOUTH_Y - _curve(face) * (u * u - 0.35)
    gap = 11.0 * face.mouth_open * arch
    upper, lower = middle - 0.3 * gap, middle + 0.7 * gap
    bow = 1 - 0.22 * max(0.0, 1 - (side / 3.5) ** 2)
    top = upper - (3.9 - 0.6 * face.smile) * bow * math.sqrt(arch) * (0.35 + 0.65 * arch)
    bottom = lower + (5.0 - 0.7 * face.smile) * math.sqrt(arch) * (0.3 + 0.7 * arch)
    corner = (1 - u) * half
    lips = _cover(min(y - top, bottom - y), blur + 0.5) * _cover(corner, blur + 0.5)
    fullness = 0.88 + 0.22 * _spot(side, y - lower - 2.4, 8.0, 2.6) - 0.12 * _cover(upper - y, 1.5)
    skin = _mix(skin, (0.88 * skin[0] * fullness, 0.48 * skin[1] * fullness, 0.52 * skin[2] * fullness), lips)
    inside = _cover(min(y - upper, lower - y), blur + 0.2) * _cover(corner, blur + 0.3)
    inside *= min(1.0, 0.4 * gap)
    teeth = _cover(upper + 0.45 * gap + 0.6 - y, blur + 0.3) * _cover(corner - 2.5, 2.0)
    dark = _mix((0.035, 0.010, 0.010), (0.26, 0.07, 0.07), _spot(side, y - lower - 0.5, 10.0, 5.0))
    skin = _mix(skin, _mix(dark, _scale((0.84, 0.80, 0.73), 0.25 + 0.75 * shade), 0.95 * teeth), inside)
    seam = 0.62 * _cover(0.55 - abs(y - upper), blur + 0.4) * _cover(corner + 1.0, blur + 0.8)
    return _mix(skin, (0.055, 0.018, 0.016), seam)


@_inline
def _mouth_half_width(face):
    return 15.5 + 4.0 * face.smile


@_inline
def _curve(face):
    """Return how much higher the corners of the mouth are than its middle."""
    return 1.0 + 7.2 * face.smile + 1.8 * face.smile * face.smile


@_inline
def _beard(face, x, y, blur):
    """Return the density of the beard: from the ears along the jaw, around the lips."""
    side = abs(x)
    dense = _cover(y - 33.0 - 0.28 * side + 0.0135 * side * side, 6.0)
    u = side / (_mouth_half_width(face) + 1.2)
    middle = _MOUTH_Y + 0.8 - _curve(face) * (u * u - 0.35) + 2.2 * face.mouth_open
    bare = _cover(0.75 - u * u - ((y - middle) / (4.8 + 5.0 * face.mouth_open)) ** 2, 0.3)
    return 0.84 * dense * (1 - bare)


@_inline
def _head(face, p, normal, hairline, blur):
    """Return the colour of the face at a point of the head."""
    x, y = p[0], p[1]
    side = abs(x)
    skin = (face.skin[0], face.skin[1], face.skin[2])
    # Redder cheeks and nose.
    warm = (0.55 + 0.45 * face.smile) * _spot(side - 25, y - 24, 17.0, 15.0) + 0.4 * _spot(side, y - 20, 10.0, 9.0)
    warm += 0.25 * _spot(side - 19, y - 2, 13.0, 8.0)
    skin = (skin[0] * (1 - 0.04 * warm), skin[1] * (1 - 0.22 * warm), skin[2] * (1 - 0.20 * warm))
    # Ambient occlusion: sockets, under the nose, under the lip; and the folds beside a smile.
    shut = 0.14 * _spot(side - 16, y + 1, 13.0, 9.0) + 0.30 * _spot(side, y - 29, 10.0, 6.0)
    shut += 0.22 * _spot(side, y - 56 - 5.5 * face.mouth_open, 10.0, 4.0)
    fold = side - 13.5 - 0.40 * (y - 24) + 0.012 * (y - 33) ** 2
    shut += (0.03 + 0.13 * (1 + face.smile)) * _cover(1.2 - abs(fold), 3.5) * _spot(0.0, y - 33, 1.0, 13.0)
    shut += 0.55 * _spot(side - 4.6, y - 26.2, 3.6, 2.6)
    # Shadow of the hair.
    shut += 0.30 * _cover(hairline + 1.0, 9.0)
    skin = _lit(skin, normal, face.light, face.halfway, 0.055)
    skin = _scale(skin, 1 - min(shut, 0.85))
    shade = 0.35 + 0.65 * max(0.0, 0.3 + 0.7 * _dot(normal, face.light))
    if face.beard > 0:
        dense = face.beard * _beard(face, x, y, blur)
        tone = 0.45 + 0.6 * shade
        skin = _mix(skin, (0.8 * face.hair[0] * tone, 0.8 * face.hair[1] * tone, 0.8 * face.hair[2] * tone), dense)
    brow = (0.55 * face.hair[0] + 0.004, 0.5 * face.hair[1] + 0.003, 0.45 * face.hair[2] + 0.003)
    skin = _mix(skin, _scale(brow, 0.5 + 0.6 * shade), _brows(face, side, y, blur))
    skin = _eyes(face, x, y, blur, skin, shade)
    skin = _mouth(face, x, y, blur, skin, shade)
    if face.glasses > 0:
        arm = 0.9 * _cover(1.2 - abs(y - 1.0), blur + 0.2) * _cover(side - 31, 2.0)
        skin = _mix(skin, (0.02, 0.018, 0.018), face.glasses * arm)
    return skin


@_inline
def _glasses(face, start, blur, below):
    """Paint glasses in a plane before the eyes, with a faint reflection in the lenses."""
    depth = (_GLASSES_Z - start[2]) / face.ahead[2]
    x, y = start[0] + depth * face.ahead[0], start[1] + depth * face.ahead[1]
    side = abs(x)
    if side > 40 or y < -16 or y > 26:
        return below
    # Signed distance of a rounded rectangle.
    qx, qy = abs(side - 18.5) - 13.5 + 8, abs(y - 4.5) - 11.5 + 8
    inside = 8 - math.sqrt(max(qx, 0.0) ** 2 + max(qy, 0.0) ** 2) - min(max(qx, qy), 0.0)
    glare = 0.02 + 0.05 * _cover(1 - y, 8.0)
    below = _mix(below, (0.75, 0.80, 0.85), glare * _cover(inside, blur + 0.3))
    rim = _cover(1.15 - abs(inside), blur + 0.2)
    bridge = _cover(1.1 - abs(y - 1.5 - 0.04 * side * side), blur + 0.2) * _cover(5.5 - side, blur + 0.2)
    return _mix(below, (0.022, 0.018, 0.018), 0.95 * max(rim, bridge))


@_inline
def _ears(face, start, head_depth, head_alpha, blur, below):
    """Paint both ears where the head does not hide them."""
    if start[1] < -8 or start[1] > 22:
        return below
    for sign in (-1.0, 1.0):
        centre = (sign * (face.half_width - 0.5), 7.0, -7.0)
        inside, front, _ = _ellipsoid(face, start, (5.5, 12.0, 8.0), centre)
        alpha = _cover(inside, blur + 0.4)
        if alpha == 0:
            continue
        if head_alpha > 0:
            alpha *= 1 - head_alpha * (1 - _cover(front - head_depth, 3.0))
        p = _along(face, start, front)
        normal = _unit((p[0] - centre[0]) / 30.0, (p[1] - centre[1]) / 144.0, (p[2] - centre[2]) / 64.0)
        skin = (face.skin[0], 0.86 * face.skin[1], 0.84 * face.skin[2])
        colour = _lit(skin, normal, face.light, face.halfway, 0.02)
        below = _mix(below, _scale(colour, 0.78 - 0.25 * _spot(p[1] - centre[1], inside - 4, 8.0, 4.0)), alpha)
    return below


@_inline
def _behind_head(face, x, y, start, back, on_shell, inside, blur):
    """Return the colour behind the head: background, shoulders, the far side of the hair, the neck."""
    colour = _body(face, x, y, blur, _backdrop(face, x, y))
    if on_shell > 0:
        p = _along(face, start, back)
        ends = _cover(face.hair_end + 6.0 - p[1], 3.0 + blur)
        if ends > 0:
            colour = _mix(colour, _hair_colour(face, (p[0], p[1], -10.0), 0.55), on_shell * ends)
    return _neck(face, x, y, -inside, blur, colour)


@_inline
def _surface(face, start, radii, depth):
    """Return where a ray meets the relief, and the normal there, by two fixed-point iterations."""
    height = slope_x = slope_y = 0.0
    point, direction, inverse = _to_sphere(face, start, radii, (0.0, 0.0, 0.0))
    p = _along(face, start, depth)
    for _ in range(2):
        height, slope_x, slope_y = _relief(p[0], p[1])
        _, _, depth, _ = _crossings((point[0], point[1], point[2] - height / radii[2]), direction, inverse)
        p = _along(face, start, depth)
    nx, ny, nz = p[0] / radii[0] ** 2, p[1] / radii[1] ** 2, (p[2] - height) / radii[2] ** 2
    return p, _unit(nx - nz * slope_x, ny - nz * slope_y, nz)


@_inline
def _pixel(face, x, y, blur):
    """Return the colour of the camera's point (x, y); edges are soft over `blur` to both sides."""
    start = _ray(face, x, y)
    shell, front, back = _hair_shell(face, start)
    on_shell = _cover(shell, blur + 0.8)
    hair, hairline = 0.0, -99.0
    if on_shell > 0:
        hairline = _hairline(face, _along(face, start, front))
        hair = on_shell * _cover(hairline, blur + 1.4)
    colour = (0.0, 0.0, 0.0)
    if hair < 1:
        colour = _under_hair(face, x, y, start, back, on_shell, hairline, blur)
    if hair > 0:
        light = 1 - 0.30 * _cover(3 - hairline, 8.0)
        colour = _mix(colour, _hair_colour(face, _along(face, start, front), light), hair)
    if face.glasses > 0:
        colour = _mix(colour, _glasses(face, start, blur, colour), face.glasses)
    return colour


@_inline
def _under_hair(face, x, y, start, back, on_shell, hairline, blur):
    """Return the colour without the hair before the head: the head, its ears and what is behind it."""
    jaw = _cover(start[1], 34.0)
    radii = (face.half_width * (1 - 0.10 * jaw), _CROWN + (_CHIN - _CROWN) * jaw, _DEPTH)
    inside, depth, _ = _ellipsoid(face, start, radii, (0.0, 0.0, 0.0))
    on_head = _cover(inside, blur + 0.4)
    colour = (0.0, 0.0, 0.0)
    if on_head < 1:
        colour = _behind_head(face, x, y, start, back, on_shell, inside, blur)
    if on_head > 0:
        p, normal = _surface(face, start, radii, depth)
        colour = _mix(colour, _head(face, p, normal, hairline, blur), on_head)
    return _ears(face, start, depth, on_head, blur, colour)


@_compiled
def draw(faces, corner, step, pictures):
    """Fill uint8 pictures (n, 3, height, width); pixel (0, 0) has its corner at `corner` and sides of length `step`."""
    n, _, height, width = pictures.shape
    for i in range(n):
        face = faces[i]
        for row in range(height):
            for column in range(width):
                x = corner[0] + (column + 0.5) * step
                y = corner[1] + (row + 0.5) * step
                colour = _pixel(face, x, y, 0.5 * step)
                for channel in range(3):
                    # The square root approximates the sRGB transfer function.
                    value = 255 * math.sqrt(min(max(colour[channel], 0.0), 1.0))
                    pictures[i, channel, row, column] = np.uint8(value + 0.5)
