"""Every thing that the procedural world has a word for, by category."""

from dfast.world.nouns.arms_and_science import ARMS_AND_SCIENCE
from dfast.world.nouns.belongings import BELONGINGS
from dfast.world.nouns.birds_and_insects import BIRDS_AND_INSECTS
from dfast.world.nouns.buildings import BUILDINGS
from dfast.world.nouns.classics import FIRST, SOLIDS
from dfast.world.nouns.craft import CRAFT
from dfast.world.nouns.creatures import CREATURES
from dfast.world.nouns.farm import FARM
from dfast.world.nouns.figures import FIGURES
from dfast.world.nouns.fittings import FITTINGS
from dfast.world.nouns.food import FOOD
from dfast.world.nouns.fruit import FRUIT
from dfast.world.nouns.furniture import FURNITURE
from dfast.world.nouns.household import HOUSEHOLD
from dfast.world.nouns.kitchen import KITCHEN
from dfast.world.nouns.landscape import LANDSCAPE
from dfast.world.nouns.machines import MACHINES
from dfast.world.nouns.music import MUSIC
from dfast.world.nouns.noun import Noun
from dfast.world.nouns.outdoors import OUTDOORS
from dfast.world.nouns.people import PEOPLE
from dfast.world.nouns.plants import PLANTS
from dfast.world.nouns.play import PLAY
from dfast.world.nouns.road import ROAD
from dfast.world.nouns.sea import SEA
from dfast.world.nouns.sweets import SWEETS
from dfast.world.nouns.tools import TOOLS
from dfast.world.nouns.vegetables import VEGETABLES
from dfast.world.nouns.wear import WEAR
from dfast.world.nouns.wild import WILD

CATEGORIES: dict[str, dict[str, Noun]] = {
    "solids": SOLIDS,
    "basics": FIRST,
    "farm": FARM,
    "wild": WILD,
    "creatures": CREATURES,
    "sea": SEA,
    "birds and insects": BIRDS_AND_INSECTS,
    "people": PEOPLE,
    "figures": FIGURES,
    "road": ROAD,
    "machines": MACHINES,
    "craft": CRAFT,
    "buildings": BUILDINGS,
    "outdoors": OUTDOORS,
    "plants": PLANTS,
    "landscape": LANDSCAPE,
    "furniture": FURNITURE,
    "fittings": FITTINGS,
    "household": HOUSEHOLD,
    "belongings": BELONGINGS,
    "kitchen": KITCHEN,
    "tools": TOOLS,
    "arms and science": ARMS_AND_SCIENCE,
    "food": FOOD,
    "sweets": SWEETS,
    "fruit": FRUIT,
    "vegetables": VEGETABLES,
    "music": MUSIC,
    "play": PLAY,
    "wear": WEAR,
}
"""The things of each category, by noun."""
NOUNS: dict[str, Noun] = {w: noun for group in CATEGORIES.values() for w, noun in group.items()}
"""Every thing by its noun."""

__all__ = ["CATEGORIES", "NOUNS", "Noun"]
