"""Genres of a smaller place: legends, workshops, gardens. Data only, in the same form as tales.py."""

from tools.demo_models.scene import Genre

LEGEND: Genre = (
    (
        ("Once upon a time there was {job:a} [in|near|above] {town} who [owned|had found|was given] {thing:a}."),
        ("Once, [long ago|in {year}|before the bridge was built], {animal:a} came to {town} and asked for {food}."),
        "They say that under {spot} in {town} lies {thing:a}, and that {animal:a} guards it.",
        "There was once {kindly:a} {animal} who could [count to {big}|play the fiddle|read the weather].",
    ),
    (
        "The {job}’s name was {hero}, and {hero.they} was [poor|{mood}|never in a hurry].",
        "Only {hero} knew [about it|the truth], and {hero} told [nobody|only the {animal}|{friend}].",
        "Every night at {hour} it [sang|glowed|turned {colour}], and {hero} [listened|hid|wrote it down].",
    ),
    (
        (
            "Then {friend} came and {said}: “[Give me the {thing}|Tell me a story|Follow me], and I will "
            "give you {any_thing:a}.”"
        ),
        ("“[One wish|Three wishes|No more wishes],” {said} the {animal}, “[and choose well|for that is the rule].”"),
        ("{hero} walked {n} days to {town2} to ask {friend}, [the oldest {job}|who knew everything about {animal:s}]."),
        "“What {kindly:a} {animal} you are,” {said} {hero}, and the {animal} bowed.",
    ),
    (
        (
            "But the {thing} was [empty|too heavy|gone], and in its place lay [a single "
            "{fruit}|{food}|{n} {vegetable:s}]."
        ),
        (
            "So {hero} [planted the {vegetable}|broke the bread in two|opened the door], and "
            "[waited|nothing happened|it grew]."
        ),
        (
            "The {weather} lasted {n} days, and when it ended everyone in {town} [spoke softly|had "
            "{colour} hair|was friends]."
        ),
    ),
    (
        "And that is why [the people of {town} eat {food} on {day:s}|{animal:s} never sleep at {hour}].",
        "And if the {animal} has not [moved away|forgotten], it [still sits there|sings there] today.",
        (
            "From then on {hero} and {friend} were [never hungry|friends|{mood} together], and the "
            "{animal} grew [fat|old and wise]."
        ),
        "The {thing} is still in {town}; [go and look|you may touch it on {day:s}]. {emoji}",
    ),
)

WORKSHOP: Genre = (
    (
        ("{hero} was {job:a} in {town}, and [nobody mended|no one else could repair] {thing:a} [so well|as quickly]."),
        "In the morning {hero} opened the shop near {spot} and found {thing:a} [on the step|in the window].",
        (
            "The workshop of {hero} smelled of [glue and oranges|oil|sawdust and {herb}], and {animal:a} "
            "lived on the shelf."
        ),
    ),
    (
        (
            "“Can you mend it?” {said} {friend}, and put {thing:a} on the table. “[Perhaps|By {day}|For "
            "€{price}, yes],” {said} {hero}."
        ),
        ("It had [belonged to|been made by] {friend}, who [lost it in {town2}|paid {big} crowns for it in {year}]."),
        (
            "{friend} [held the lamp|swept the floor|made tea], while {hero} [took the {thing} "
            "apart|looked for the {any_colour} screw]."
        ),
    ),
    (
        "There were {big} small parts, and [one of them|the smallest] was [missing|bent|made of gold].",
        (
            "“I will [break the glue|cut a new one|shut the door] first,” {said} {hero}, “[and then we "
            "shall see|so have patience].”"
        ),
        "It took {n} hours, {n} cups of tea and [one {fruit}|a little luck].",
    ),
    (
        (
            "When it was done, the {thing} [shone|worked|ticked] again, and {friend} [clapped|was "
            "{mood}|could not speak]."
        ),
        (
            "“It is [better than new|as good as I can make it],” {said} {hero}. “[Keep it dry|Do not "
            "lend it to the {animal}].”"
        ),
        "{friend} paid with {food}, [which was more than enough|as people do in {town}]. {emoji}",
    ),
)

GARDEN: Genre = (
    (
        (
            "Behind the house in {town} {hero} grew {vegetable:s}, {herb} and [one stubborn {fruit} "
            "tree|{big} {fruit} trees]."
        ),
        "In {season} the garden of {hero} is full of [bees|{weather}|{colour} flowers] and {animal:s}.",
        ("The {vegetable} in {hero}’s garden was [as big as a {animal}|{colour} and round|the pride of {town}]."),
    ),
    (
        (
            "“[Dig deeper|Water it twice|Let it sleep],” {said} {friend}, {hero.their} neighbour, [over "
            "the wall|from the ladder]."
        ),
        (
            "The {animal} [ate the {herb}|rolled in the leaves|dug a hole], and {hero} [let it|only "
            "laughed|fetched {thing:a}]."
        ),
        ("On {day} {hero} planted {small} rows, and on {any_day} the {weather} [watered them|washed them away]."),
    ),
    (
        "“You have {kindly:a} hand,” {said} {friend}. “Mine grows only [stones|{vegetable2:s}|nettles].”",
        "{friend} came with {thing:a} and stayed [till {hour}|for {food}|all {season}].",
        "A silly {colour} hat hung on the scarecrow, and {animal:a} lived in it.",
    ),
    (
        (
            "By {month} there was enough for [{food}|the whole street|both of them], and {hero} gave "
            "{any_n} {vegetable:s} to {friend}."
        ),
        ("They sat under the {fruit} tree until {any_hour} and [said nothing|counted the stars|ate {food}]. {emoji}"),
        "Next year, {hero.they} thought, [more {herb}|fewer {vegetable:s}|no {animal:s}].",
    ),
)

FABLES: tuple[Genre, ...] = (LEGEND, WORKSHOP, GARDEN)
