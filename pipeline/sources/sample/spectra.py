"""What the made-up ground is made of: materials, their classes, reflectances and roughness.

Reflectances are hemispherical, 0 to 1, in broad red (650 nm), green (550 nm), blue (450 nm) and
near-infrared (840 nm) bands. The visible values of aged asphalt, of grey shingles (here slate and
shingle) and of weathered cedar are those of the records GDS376, GDS367, GDS368 and GDS359 of the
USGS Spectral Library Version 7 (Kokaly et al. 2017, doi:10.5066/F7RR1WDJ). The others are round
numbers, typical of such surfaces in that library, in the ECOSTRESS library (Meerdink et al. 2019,
Remote Sensing of Environment 230, 111196) and, for roofs and pavements, in Herold et al. (2004,
Remote Sensing of Environment 91, 304-319). Canopies are darker than their leaves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BANDS = ("red", "green", "blue", "nir")
CLASSES = ("building", "barren_land", "trees", "grassland", "road", "water")  # labels 1 to 6

# Water of growing turbidity: as many materials as it takes for the steps not to show.
TURBIDITIES = 24


class Material(NamedTuple):
    """A surface: its class, mean reflectance and relative deviations of its texture."""

    name: str
    cover: str
    reflectance: tuple[float, float, float, float]  # red, green, blue, nir
    grain: float  # from point to point
    mottle: float  # over 2 to 4 m
    drift: float  # over 10 to 30 m


# fmt: off
GROUND = (
    Material("roof_tile",       "building",    (0.225, 0.125, 0.085, 0.300), 0.05, 0.03, 0.04),
    Material("roof_cedar",      "building",    (0.139, 0.090, 0.058, 0.280), 0.06, 0.04, 0.04),
    Material("roof_slate",      "building",    (0.100, 0.101, 0.093, 0.110), 0.05, 0.03, 0.04),
    Material("roof_shingle",    "building",    (0.201, 0.206, 0.189, 0.215), 0.05, 0.03, 0.04),
    Material("roof_tar",        "building",    (0.045, 0.045, 0.043, 0.050), 0.06, 0.05, 0.06),
    Material("roof_gravel",     "building",    (0.190, 0.172, 0.145, 0.225), 0.07, 0.05, 0.06),
    Material("roof_metal",      "building",    (0.330, 0.330, 0.320, 0.345), 0.03, 0.02, 0.04),
    Material("roof_membrane",   "building",    (0.480, 0.480, 0.450, 0.500), 0.03, 0.03, 0.05),
    Material("roof_concrete",   "building",    (0.260, 0.240, 0.205, 0.300), 0.05, 0.04, 0.06),
    Material("roof_sedum",      "building",    (0.075, 0.090, 0.048, 0.330), 0.08, 0.08, 0.08),
    Material("roof_unit",       "building",    (0.380, 0.380, 0.370, 0.400), 0.05, 0.00, 0.00),
    Material("soil_sand",       "barren_land", (0.290, 0.235, 0.165, 0.360), 0.06, 0.05, 0.09),
    Material("soil_loam",       "barren_land", (0.180, 0.140, 0.098, 0.250), 0.07, 0.06, 0.10),
    Material("soil_humus",      "barren_land", (0.095, 0.078, 0.060, 0.145), 0.07, 0.06, 0.10),
    Material("soil_clay",       "barren_land", (0.235, 0.150, 0.098, 0.310), 0.07, 0.06, 0.10),
    Material("gravel",          "barren_land", (0.225, 0.205, 0.175, 0.255), 0.09, 0.09, 0.10),
    Material("rock",            "barren_land", (0.270, 0.255, 0.225, 0.300), 0.10, 0.12, 0.12),
    Material("broadleaf",       "trees",       (0.038, 0.075, 0.030, 0.420), 0.10, 0.06, 0.05),
    Material("conifer",         "trees",       (0.030, 0.050, 0.024, 0.260), 0.10, 0.06, 0.05),
    Material("undergrowth",     "trees",       (0.050, 0.062, 0.035, 0.240), 0.12, 0.10, 0.08),
    Material("grass_lush",      "grassland",   (0.055, 0.098, 0.042, 0.430), 0.05, 0.06, 0.08),
    Material("grass_mown",      "grassland",   (0.085, 0.118, 0.058, 0.390), 0.04, 0.04, 0.07),
    Material("grass_hay",       "grassland",   (0.150, 0.145, 0.085, 0.350), 0.06, 0.07, 0.10),
    Material("grass_dry",       "grassland",   (0.225, 0.180, 0.115, 0.350), 0.06, 0.08, 0.10),
    Material("asphalt_new",     "road",        (0.060, 0.057, 0.053, 0.066), 0.05, 0.03, 0.04),
    Material("asphalt_aged",    "road",        (0.103, 0.086, 0.069, 0.125), 0.05, 0.03, 0.05),
    Material("asphalt_worn",    "road",        (0.175, 0.160, 0.138, 0.205), 0.05, 0.03, 0.05),
    Material("concrete",        "road",        (0.280, 0.258, 0.222, 0.325), 0.04, 0.03, 0.05),
    Material("paint",           "road",        (0.450, 0.440, 0.410, 0.470), 0.08, 0.05, 0.00),
    Material("car",             "road",        (0.170, 0.170, 0.175, 0.180), 0.05, 0.00, 0.00),
)
# fmt: on
INDEX = {material.name: i for i, material in enumerate(GROUND)}
FIRST_WATER = len(GROUND)


def label_table() -> NDArray[np.uint8]:
    """Label of every material, 1 to 6; (materials,)."""
    covers = [material.cover for material in GROUND] + ["water"] * TURBIDITIES
    return np.array([CLASSES.index(cover) + 1 for cover in covers], dtype=np.uint8)


def roughness_table() -> NDArray[np.float32]:
    """Relative deviations of grain, mottle and drift of every material; (3, materials)."""
    rows = [(m.grain, m.mottle, m.drift) for m in GROUND] + [(0.05, 0.05, 0.04)] * TURBIDITIES
    return np.array(rows, dtype=np.float32).T.copy()


def water_reflectance(sediment: NDArray[np.float64]) -> NDArray[np.float64]:
    """Reflectance of deep water, (n, 4), from suspended sediment in g/m3, (n,).

    R = 0.33 bb / (a + bb) below the surface (Gordon et al. 1975), about half of it above, and a
    mirrored part of the sky. Absorption of water: Pope and Fry (1997) in the visible, Kou et al.
    (1993) in the near infrared, 1/m. Dissolved matter and particles absorb along exponentials.
    """
    wavelength = np.array([650.0, 550.0, 450.0, 840.0])
    water = np.array([0.340, 0.0565, 0.0092, 3.5])
    dissolved = 0.6 * np.exp(-0.014 * (wavelength - 440.0))
    grams = sediment[:, None]
    absorption = water + dissolved + 0.03 * grams * np.exp(-0.011 * (wavelength - 440.0))
    scattering = 0.002 + 0.012 * grams * (550.0 / wavelength) ** 0.5
    return 0.54 * 0.33 * scattering / (absorption + scattering) + 0.02


def reflectance_table(rng: np.random.Generator) -> NDArray[np.float32]:
    """Reflectance of every material in one scene, (4, materials): season and place differ.

    Greenness moves red and near infrared of plants against each other, moisture darkens soils, and
    each material is a little off its mean.
    """
    water = water_reflectance(np.geomspace(1.0, 400.0, TURBIDITIES))
    table = np.vstack([np.array([m.reflectance for m in GROUND]), water])
    labels = label_table()
    dryness, moisture = rng.uniform(-0.18, 0.30), rng.uniform(0.72, 1.12)
    plants = (labels == 3) | (labels == 4)
    table[plants] *= np.array([1 + dryness, 1 + dryness / 2, 1 + dryness / 2, 1 - dryness / 2])
    table[labels == 2] *= moisture
    table[:FIRST_WATER] *= rng.lognormal(0.0, 0.08, (FIRST_WATER, 1))
    table[:FIRST_WATER] *= rng.lognormal(0.0, 0.03, (FIRST_WATER, 4))
    return np.ascontiguousarray(table.T, dtype=np.float32)
