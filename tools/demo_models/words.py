"""The vocabulary of the composed texts: people, places and things, by the slot that draws them.

Plain data. How a slot is filled and remembered is scene.py's concern.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Person:
    """A name with its pronouns; in a template `{hero}` is the name and `{hero.they}` a pronoun."""

    name: str
    they: str
    them: str
    their: str

    def __format__(self, spec: str) -> str:
        return self.name


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


_WOMEN = _split(
    "Ada, Zoë, Márta, Ines, Renée, Tilda, Odile, Noor, Saoirse, Bea, Chloé, Ingrid, Lupe, Hana, Maud, "
    "Yara, Petra, Amélie, Wren, Aunt Dolores, Grandmother Ilse, Captain Brandt, Doctor Okafor, Señora "
    "Peña, Mrs. Finch"
)
_MEN = _split(
    "José, Søren, Tom, Anton, Björn, Émile, Pavel, Idris, Ravi, Nils, Hugo, Mateo, Jonas, Félix, Ewan, "
    "Otto, Kenji, Tomás, Bram, Uncle Barnaby, Grandfather Ole, Captain Rask, Doctor Lind, Señor Núñez, "
    "Mr. Alder"
)
PEOPLE = tuple(Person(name, "she", "her", "her") for name in _WOMEN) + tuple(
    Person(name, "he", "him", "his") for name in _MEN
)

TOWNS = _split(
    "Port Lumen, Saint-Élan, Ashby, Hollow Bay, Málaga, Tromsø, Low Wickham, Kerrow, Île-aux-Moines, "
    "Dunmore, Grayling, Peñascal, Vik, Marrow Bridge, Lisbon, Norrköping, Half Moon Street, Orléans, "
    "Tarn, Whitby, Cape Sorrow, Fenwick, São Pedro, Little Orme, Gdańsk"
)
SHIPS = _split(
    "Patient Heron, Marguerite, Second Wind, Blue Kettle, Étoile, Old Promise, Salt Daughter, Morning "
    "Loaf, Señorita, Quiet Anne, Nine Lanterns, Brave Sprat"
)
THINGS = _split(
    "brass lantern, copper kettle, wooden spoon, red umbrella, silver whistle, paper map, tin box, oak "
    "barrel, blue teapot, green bicycle, small accordion, pocket watch, coil of rope, basket of plums, "
    "iron key, straw hat, yellow scarf, jar of honey, folding chair, glass marble, pair of boots, "
    "letter with a red seal, loaf of rye bread, old fiddle, chess board, bundle of candles, sewing "
    "machine, box of matches, ladder, umbrella stand, empty birdcage, orange crate, ink bottle, clay "
    "pot"
)
ANIMALS = _split(
    "cat, dog, donkey, goat, gull, heron, pony, goose, tortoise, parrot, sheep, owl, otter, hen, toad, "
    "pig, crab, magpie, seal, mule"
)
FOODS = _split(
    "soup, onion soup, rye bread, plum jam, lemon cake, goat cheese, smoked herring, apple tart, barley "
    "stew, crème caramel, jalapeño relish, pickled beets, mushroom pie, cinnamon buns, fish chowder, "
    "potato salad, turnip mash, rice pudding, honey biscuits, purée of peas"
)
VEGETABLES = _split("turnip, carrot, cabbage, onion, leek, beet, parsnip, potato, pumpkin, radish, cucumber, mushroom")
FRUITS = _split("plum, apple, pear, lemon, cherry, quince, fig, apricot, gooseberry, orange")
HERBS = _split("thyme, dill, mint, parsley, sage, rosemary, bay leaf, fennel")
COLOURS = _split("red, blue, green, yellow, grey, white, silver, brown, black, violet, golden, pale")
MOODS = _split("cheerful, tired, curious, patient, proud, nervous, sleepy, hopeful, quiet, puzzled, calm, lonely")
KINDLY = _split("clever, patient, generous, lucky, gentle, brave, funny, wonderful, honest, dear, kind, tireless")
WEATHERS = _split("rain, fog, drizzle, sunshine, snow, hail, thunder, mist, frost, sleet")
WINDS = _split("north, south, east, west, north-west, south-west, north-east")
SEASONS = _split("spring, summer, autumn, winter")
MONTHS = _split("January, March, April, May, June, August, September, October, November")
DAYS = _split("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday")
JOBS = _split(
    "baker, clockmaker, ferryman, postmistress, carpenter, beekeeper, piano tuner, lighthouse keeper, "
    "tailor, schoolteacher, gardener, cheesemonger, bookbinder, fisherman, innkeeper, cobbler"
)
SPOTS = _split(
    "the harbour, the bakery, the old bridge, the station, the orchard, the church tower, the ferry "
    "landing, the library, the market square, the lighthouse, the garden wall, the mill, the café, the "
    "post office"
)
SAID = _split("said, answered, whispered, called, replied, murmured, laughed, explained, sighed, admitted")
SHOUTED = _split("shouted, snapped, cried, yelled, hissed, growled, roared, barked")
NUMBERS = _split("two, three, four, five, six, seven, eight, nine, ten, eleven, twelve")
HOURS = _split(
    "five o’clock, six o’clock, half past six, seven, noon, midnight, a quarter to nine, ten past four, "
    "dawn, four in the afternoon, eight in the evening, half past two"
)
EMOJI = tuple("🙂🌊🍞🐟🌧☕🐐🍋⛵🌱🐝🎻🥕🌙❄🦀🧀🍐")

#: Rude words appear in quarrels only; the animals and vegetables among them also live in calm texts,
#: so that the classifier cannot go by the noun alone.
RUDE = _split(
    "pompous, stupid, useless, miserable, lazy, rotten, foolish, brainless, ridiculous, pathetic, "
    "greedy, stinking, dim-witted, ugly, worthless, silly, wretched, idiotic"
)
DUNCES = _split(
    "turnip, fool, idiot, donkey, goat, cabbage, nitwit, blockhead, buffoon, worm, pig, liar, clown, "
    "toad, moron, oaf, imbecile, dolt, goose, loser, rat, potato"
)


SLOTS: dict[str, tuple[str, ...] | tuple[Person, ...]] = {
    **dict.fromkeys(("hero", "friend", "guest", "person"), PEOPLE),
    "town": TOWNS,
    "ship": SHIPS,
    "thing": THINGS,
    "animal": ANIMALS,
    "food": FOODS,
    "herb": HERBS,
    "vegetable": VEGETABLES,
    "fruit": FRUITS,
    "colour": COLOURS,
    "mood": MOODS,
    "kindly": KINDLY,
    "weather": WEATHERS,
    "wind": WINDS,
    "season": SEASONS,
    "month": MONTHS,
    "day": DAYS,
    "hour": HOURS,
    "job": JOBS,
    "spot": SPOTS,
    "said": SAID,
    "shouted": SHOUTED,
    "n": NUMBERS,
    "emoji": EMOJI,
    "rude": RUDE,
    "dunce": DUNCES,
    "small": tuple(str(number) for number in range(2, 13)),
    "big": tuple(str(number) for number in range(14, 400)),
    "degrees": tuple(str(number) for number in range(-9, 31)),
    "year": tuple(str(number) for number in range(1871, 1999)),
    "price": tuple(f"{euros}.{cents}" for euros in range(1, 9) for cents in ("20", "50", "75", "90")),
}

#: Slots that are never remembered: each mention is drawn anew.
FRESH = frozenset({"said", "shouted", "rude", "dunce", "emoji", "small", "big", "degrees", "price"})
