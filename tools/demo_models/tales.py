"""Genres that are told: sea stories, market days, journeys; and sentences that fit into any tale.

Data only. A genre is a tuple of stages, a stage a tuple of templates of which one is written;
`[a|b]` is a choice, `{slot}` a word (see scene.py), an empty template leaves the stage out.
"""

from tools.demo_models.scene import Genre, Stage

SEA: Genre = (
    (
        (
            "The {ship} left {town} [at|a little after] {hour}, with {hero} at the [wheel|oars|tiller] "
            "and {n} [barrels|crates|sacks] of {fruit:s} in the hold."
        ),
        ("{hero} had sailed the {ship} for {small} years, and [never once|only twice] had {hero.they} lost {thing:a}."),
        "On the {day} that the {ship} came home to {town}, the {wind} wind [brought|smelled of] {weather}.",
        ("It was [still dark|a grey morning|almost evening] when {hero} rowed out from {town} to look for the {ship}."),
        ("Nobody in {town} believed that the {ship} would float, except {hero} and [{hero.their} {animal}|{friend}]."),
    ),
    (
        (
            "{friend}, who had come along [for the fishing|to see the islands|by mistake], sat on "
            "{any_thing:a} and counted the {any_animal:s}."
        ),
        (
            "“[Hold on|Look there|Mind the rope],” {said} {friend}. “[The tide is turning|There is a "
            "light ahead|I can hear the bell].”"
        ),
        ("With {hero.them} went {friend}, {kindly:a} {job} who was afraid of [deep water|{animal:s}|nothing at all]."),
        (
            "The waves were [as high as|no taller than|the colour of] [a church door|a kitchen table|wet "
            "slate], and the ship [groaned|creaked|danced]."
        ),
    ),
    (
        (
            "By {any_hour} the {weather} was so thick that {hero.they} steered by the [smell of "
            "{food}|sound of the bell|{colour} stars]."
        ),
        ("Then {animal:a} [landed on the mast|climbed aboard|swam beside them], and {friend} named it {person}."),
        (
            "Near [the cape|the sandbank|the {colour} buoy] they found {thing:a}, floating [upside "
            "down|quite dry|in a net]."
        ),
        (
            "“I will throw you [a rope|the keys|an apple],” {said} {friend}, and [the throw was good|it "
            "fell into the sea]."
        ),
        ("A wave [took|soaked|swallowed] the {thing}, and {hero} [laughed until it hurt|said nothing for an hour]."),
    ),
    (
        (
            "“[How far is it|How much water is left|What do we eat]?” {said} {hero}. “[{small} "
            "miles|Enough|Only {food}],” {said} {friend}."
        ),
        ("{friend} cooked {food} on the small stove, and they ate it [from one bowl|with their fingers|in silence]."),
        "",
    ),
    (
        (
            "When [the harbour lights|the roofs of {town}] came in sight, {hero} [rang the "
            "bell|sang|wept a little], and {friend} [waved the {any_thing}|did the same|fell asleep]."
        ),
        (
            "They were home by {any_hour}, [wet to the bone|poorer by one {any_thing}|and nobody had "
            "missed them]. {emoji}"
        ),
        "To this day the {ship} lies in {town}, and {any_animal:s} sleep in her.",
        "“Never again,” {said} {hero}, and [on {day}|a week later] {hero.they} sailed once more.",
    ),
)

MARKET: Genre = (
    (
        (
            "[Every {day}|On market day|On the first {day} in {month}] {hero} sold {vegetable:s} [in the "
            "square at|by the gate of|behind the church in] {town}."
        ),
        "The market of {town} opens at {hour}, [rain or shine|before the bells], and {hero} is always first.",
        "{hero} had {big} {fruit:s} to sell and only {small} [hours|bags|customers].",
        (
            "Hello and welcome to {town}, where a [pound of {vegetable:s}|jar of plum jam|{colour} "
            "{fruit}] costs €{price}!"
        ),
    ),
    (
        "{friend}, the {job}, [came by|stopped|leaned on the stall] and asked for {small} {vegetable:s}.",
        ("“How much for the {thing}?” {said} {friend}. “€{price},” {said} {hero}, “and the {animal} is not for sale.”"),
        (
            "{hero.their} {animal} [slept under the stall|ate {any_n} of the {fruit:s}|watched the "
            "crowd], as {mood} as ever."
        ),
        "“What {kindly:a}[|, {any_kindly}] {animal} you have,” {said} {friend}.",
    ),
    (
        "“You are wrong about the price,” {said} {friend} kindly, “but I like your {vegetable:s}.”",
        (
            "They [weighed|counted|admired] the {fruit:s} twice, and [each time there was one more|the "
            "scales did not lie]."
        ),
        "A boy from {town2} traded {thing:a} for {food}, and [both were content|nobody asked why].",
        "At {hour} came the {weather}, and everybody ran under the [awning|arches|{colour} tent].",
    ),
    (
        (
            "{friend} paid with [a {colour} coin|{any_n} coins and a button|a song], and {hero} gave "
            "back [too much|€{price}]."
        ),
        (
            "“[Try the {food}|Smell this {fruit}|Take two],” {said} {hero}. “[It is the best in "
            "{town}|My mother made it].”"
        ),
        "",
    ),
    (
        (
            "By {any_hour} everything was sold [but one {vegetable}|except the {thing}], and {hero} "
            "[gave it to {friend}|carried it home]."
        ),
        (
            "In the evening {hero} counted the money: {big} euros, [{any_n} buttons|one foreign coin] "
            "and [a note from {friend}|a ticket to {town2}]."
        ),
        "The square was [swept|empty|quiet] by {any_hour}, and only {any_animal:a} walked across it. {emoji}",
        "“Until next {day},” {said} {friend}, and {friend.they} kept {friend.their} word.",
    ),
)

JOURNEY: Genre = (
    (
        (
            "In {year} {hero} travelled from {town} to {town2} with [nothing but|only] {thing:a} and [a "
            "map|{any_thing:a}]."
        ),
        ("The road from {town} to {town2} is {big} miles long, and {hero} walked [all of it|it in {small} days]."),
        (
            "The train to {town2} was [late|{big} minutes late|almost empty], so {hero} [bought "
            "{food}|opened a book|slept]."
        ),
        "My name is {hero}, and I have been to {town} [twice|{small} times|only once], always in {season}.",
    ),
    (
        (
            "In {town} [the streets are paved with|every window has|they paint the doors with] {colour} "
            "[stones|tiles|dust], and people eat {food} [for breakfast|on {day:s}|standing up]."
        ),
        (
            "At the [border|station|inn] {friend} [looked at the {thing}|asked for papers|shook hands], "
            "{mood} and polite."
        ),
        ("Somewhere between {town} and {town2}, {animal:a} [crossed the road|joined the journey|stole the lunch]."),
        "The {job} of {town}, one {friend}, [rents rooms|keeps bees|tells fortunes] near {spot}.",
    ),
    (
        (
            "“[Which way to|How far to|Have you ever seen] {town2}?” asked {hero}. “[Follow the "
            "river|Left at the mill|Not before {day}],” {said} {friend}."
        ),
        (
            "The hills were {colour} in the morning and {any_colour} at night, and the {wind} wind "
            "[never stopped|tasted of salt]."
        ),
        (
            "There was {weather} for {n} days — [a soft one|not a bad one], as they say there — and the "
            "[bread|map|{thing}] got wet."
        ),
    ),
    (
        ("We shared the {food}, {friend} and the {animal} too, and [talked about|sang of|forgot] {season} in {town}."),
        "A ticket cost €{price}; the view of {spot} [was free|cost nothing|was worth twice that].",
        "",
    ),
    (
        ("At last {town2} [appeared|lay below], small and {any_colour}, with [smoke over the roofs|one lamp burning]."),
        "On the last evening {friend} gave away the {thing}, and [no one was sorry|it rained again].",
        "It is a good place to be {mood} in, and [I would go again|nobody stays for long]. {emoji}",
        "Years later, {friend} still [wrote from {town2}|kept the ticket|dreamed of {food}].",
    ),
)

#: Sentences that fit between any two of a tale; people and things named before are called back.
INTERLUDES: Stage = (
    "The {animal} [sneezed|yawned|stared at {friend}|was nowhere to be seen|looked {mood}].",
    ("{friend} [wore a {colour} coat|had been {mood} all day|hummed a tune from {town2}|spoke of nothing but {food}]."),
    (
        "It was {season}, and [the evenings were long|the air smelled of {any_food}|there was "
        "{any_weather} on the hills]."
    ),
    (
        "“[Is that {any_animal:a}|Did you hear that|Are you tired]?” asked {friend}. “[Yes|No|A little|I "
        "think so],” {said} {hero}."
    ),
    ("Somewhere a [bell|door|{any_animal}] could be heard, and then [it was quiet|it began to rain|it stopped]."),
    ("{hero} thought of {guest}, who [lived in {town2} now|had once loved {food}|would have liked the {thing}]."),
    ("In {hero.their} pocket {hero} found [{small} coins|{any_fruit:a}|a ticket to {town2}|a letter from {guest}]."),
    (
        "“[Listen|Wait|Believe me],” {said} {hero}, “[I have a plan|it is only the {any_weather}|there "
        "is more {any_food}].”"
    ),
    (
        "The {thing} was [heavier than it looked|painted {colour}|wet|older than {hero}], and [nobody "
        "cared|{friend} admired it]."
    ),
    (
        "A [child|man|woman] with {any_thing:a} [ran past|greeted them|stopped to look], and [went "
        "on|said nothing|smiled]."
    ),
    ("{friend} [told a joke about {any_animal:a} and {any_animal:a}|counted to {big}|opened a bag of {any_fruit:s}]."),
    "They [waited|talked|walked] for {n} [minutes|hours], and {friend} [forgot the time|was glad of it].",
)

TALES: tuple[Genre, ...] = (SEA, MARKET, JOURNEY)
