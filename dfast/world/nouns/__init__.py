"""Every thing that the procedural world has a word for, by category."""

from dfast.world.nouns.buildings import BUILDINGS
from dfast.world.nouns.classics import FIRST, SOLIDS
from dfast.world.nouns.craft import CRAFT
from dfast.world.nouns.farm import FARM
from dfast.world.nouns.food import FOOD
from dfast.world.nouns.furniture import FURNITURE
from dfast.world.nouns.household import HOUSEHOLD
from dfast.world.nouns.kitchen import KITCHEN
from dfast.world.nouns.nature import NATURE
from dfast.world.nouns.noun import Noun
from dfast.world.nouns.people import PEOPLE
from dfast.world.nouns.play import PLAY
from dfast.world.nouns.produce import PRODUCE
from dfast.world.nouns.road import ROAD
from dfast.world.nouns.sea_and_air import SEA_AND_AIR
from dfast.world.nouns.tools import TOOLS
from dfast.world.nouns.wear import WEAR
from dfast.world.nouns.wild import WILD

CATEGORIES: dict[str, dict[str, Noun]] = {
    "solids": SOLIDS,
    "first": FIRST,
    "farm": FARM,
    "wild": WILD,
    "sea and air": SEA_AND_AIR,
    "people": PEOPLE,
    "road": ROAD,
    "craft": CRAFT,
    "buildings": BUILDINGS,
    "nature": NATURE,
    "furniture": FURNITURE,
    "household": HOUSEHOLD,
    "kitchen": KITCHEN,
    "tools": TOOLS,
    "food": FOOD,
    "produce": PRODUCE,
    "play": PLAY,
    "wear": WEAR,
}
"""The things of each category, by noun."""
NOUNS: dict[str, Noun] = {w: noun for group in CATEGORIES.values() for w, noun in group.items()}
"""Every thing by its noun."""

__all__ = ["CATEGORIES", "NOUNS", "Noun"]
