"""Genres that are written down or overheard: letters, recipes, weather notes, kitchen talk, diaries, notices.

Data only, in the same form as tales.py; a stage that begins with a line break starts a new line.
"""

from tools.demo_models.scene import Genre

LETTER: Genre = (
    (
        "{town}, {small} {month} {year}\n\nDear {friend},",
        "Dear {friend},",
        "My dear {friend},",
    ),
    (
        (
            "\n\nThank you for the {thing}, which [arrived on {day}|came safely through the {weather}|is "
            "more than I deserve]."
        ),
        "\n\nI write to you from {town}, where it is {season} and {degrees} degrees, and I am {mood}.",
        "\n\nYou ask how I am. I am [well|{mood}|{mood} and well fed], and the {animal} sends its love.",
        (
            "\n\nHow are you? Here in {town} there is {weather}, [and more {weather2}|day after day], "
            "and I think of you."
        ),
    ),
    (
        "Yesterday {guest} came to see us and [brought {food}|mended the {any_thing}|stayed until {hour}].",
        (
            "The {animal} has [learned to open the door|eaten the {food}|had {n} little ones], and [we "
            "are proud|nobody minds]."
        ),
        "I have [bought|sold|lost] {any_thing:a}, and [you will laugh|I cannot say why|{guest} is to blame].",
        (
            "We walk to {spot} every {day}, {guest} and I, and [talk about you|count the "
            "{any_animal:s}|say very little]."
        ),
    ),
    (
        "Do you remember [the summer in {town2}|{guest} and the {animal2}|how we ate {food2} at midnight]?",
        "Come in {month2}: [the {fruit:s} are ripe then|there is a bed for you|bring your {any_thing}].",
        ("I still have your {any_thing}; [come and fetch it|shall I send it to {town2}|it is quite safe with me]."),
        "",
    ),
    (
        "\n\n[Yours|Your old friend|With love|Ever yours|Yours, in haste],\n{hero}",
        "\n\nWrite soon. {emoji}\n{hero}",
        "\n\n{hero}\n\nP.S. The {animal} is [asleep on this letter|well again|quite fat].",
    ),
)

RECIPE: Genre = (
    (
        "[How to make {food}|{food} as in {town}|{hero}’s {food}] (for {small} people)",
        "Recipe: {food}, from {town}",
        "A recipe for {food}",
    ),
    (
        "\nTake {small} {vegetable:s}, {small} {fruit:s} and [a little|a handful of|no] {herb}.",
        "\nYou need {big} grams of flour, {small} {fruit:s}, {herb} and [patience|salt|an oven].",
    ),
    (
        "\n1. Wash the {vegetable:s} and [cut them small|peel them|boil them for {big} minutes].",
        "\n1. Mix the flour with [warm milk|water|butter] until it is [smooth|as soft as an ear|{colour}].",
    ),
    (
        (
            "\n2. Add the {herb} and stir [gently|{small} times|with a wooden spoon] until the kitchen "
            "smells of {season}."
        ),
        "\n2. Let it rest [until {hour}|under a cloth|for {small} hours]; {animal:a} must not see it.",
        "\n2. Beat {small} eggs, pour them in, and [do not stop stirring|wait|taste].",
    ),
    (
        "\n3. Bake it at {big} degrees until the top is {colour}.",
        "\n3. Cook it slowly — [{hero} says|my aunt says|they say in {town}]: the slower, the better.",
        "\n3. Serve it [hot|cold|on {day:s}|with {any_food}], and give the first plate to {friend}. {emoji}",
    ),
    (
        "\n“[It needs salt|It is perfect|Like at home in {town2}],” {said} {friend}.",
        "\nIt keeps for {small} days, [if nobody finds it|in {thing:a}].",
        "",
    ),
)

WEATHER: Genre = (
    (
        "Weather for {town}, {day}, {small} {month}:",
        "{day}, {hour}. {town}.",
        "Forecast for {town} and the coast.",
    ),
    (
        "{weather} until {hour2}, then [slowly clearing|more {weather2}|a little sun], {degrees}°C.",
        "Wind from the {wind}, [light|fresh|strong], {big} kilometres an hour, with {weather}.",
        ("A {colour} sky in the [morning|evening], {degrees} degrees, and [no wind at all|wind from the {wind}]."),
    ),
    (
        "The {animal:s} [are flying low|stay indoors|know it already], says {hero}, the {job}.",
        "[Ships|Boats] should [stay in harbour|keep clear of the cape|wait] until {day2}.",
        "{hero} at the lighthouse saw [{n} ships|the {ship}|nothing], and [wrote it down|went to bed].",
    ),
    (
        "Take {thing:a} with you. {emoji}",
        "Tomorrow: [the same|{weather2}, {degrees}°C|better, says {hero}].",
        "On {day3} [we expect {weather3}|nobody knows], {degrees} degrees at noon and less at night.",
    ),
)

KITCHEN: Genre = (
    (
        (
            "“[Good morning|You are late|There you are],” {said} {hero}. “[The {food} is cold|Sit "
            "down|Is it {hour} already]?”"
        ),
        ("“Have you seen my {thing}?” {said} {hero}, [looking under the table|with flour on {hero.their} nose]."),
        "{hero} stood in the kitchen at {hour} and [stirred the {food}|peeled {vegetable:s}|hummed].",
        "“What is for dinner?” {said} {friend}. “{food}, [again|as always on {day:s}],” {said} {hero}.",
    ),
    (
        (
            "“[I met|I saw|I heard] {guest} at {spot},” {said} {friend}. “[{guest.they} has bought "
            "{any_thing:a}|{guest.they} asked after you].”"
        ),
        "“The {animal} took it,” {said} {friend}. “[It always does|I saw it myself|Ask {guest}].”",
        "“You look {mood},” {said} {friend}. “Have some {food2}.”",
    ),
    (
        "“[No|Really|Oh]!” {said} {hero}. “[Tell me everything|And then?|In {town}?]”",
        (
            "“Pass me the {herb}, please,” {said} {hero}, and {friend} [did|passed the {any_herb} "
            "instead|was already asleep]."
        ),
        "{friend} [laughed|shrugged|put down the {any_thing}], and the {animal} looked up.",
    ),
    (
        (
            "“[On {day}|At {hour2}|In {season}] we go to {town},” {said} {hero}, “[all of us|you and "
            "I|with the {animal}].”"
        ),
        "“I will throw you the [towel|spoon|salt],” {said} {friend}. “Catch!”",
        "“If you [wash|dry|cook], I will [dry|sing|cut the bread],” {said} {hero}.",
        "",
    ),
    (
        "And so they ate the {food}, and [it was good|nobody spoke of it again|there was none left]. {emoji}",
        (
            "Outside there was {weather}, but in the kitchen it was [warm|bright|{degrees} degrees and "
            "smelled of {herb}]."
        ),
        "“You are {kindly:a} cook,” {said} {friend}, [with a full mouth|and meant it].",
        "In the end the {any_thing} was [in the oven|under the {animal}|where it had always been].",
    ),
)

DIARY: Genre = (
    (
        "{day}. [Woke at {hour}|Slept badly|Up early]; {weather} over {town}.",
        "{small} {month} {year}. [Nothing happened|A long day|A day of {weather}].",
        "Today [I am {mood}|I saw {animal:a}|was market day in {town}].",
    ),
    (
        (
            "{friend} came [at {hour2}|with {food}|to borrow the {thing}] and [stayed too long|told me "
            "about {guest}|was {mood}]."
        ),
        ("I [walked to {spot}|wrote {small} letters|painted the door {colour}] and [felt better|met {friend}]."),
        "The {animal} [is ill|has a new name: {guest}|sat on the {thing} all day].",
    ),
    (
        ("{friend} says that [{guest} is moving to {town2}|the {job} has married|{food} is good for the heart]."),
        "Spent €{price} on {any_thing:a}; [worth it|a mistake|{friend} must not know].",
        "Read {big} pages about [{animal:s}|{town2}|the winter of {year}].",
        "",
    ),
    (
        "To bed at {any_hour}, {mood}.",
        "Tomorrow [to {town2}|the {fruit:s}|more of the same]. {emoji}",
        "[Must|Must not] forget: {small} {vegetable:s}, {herb}, {any_thing:a}.",
    ),
)

NOTICE: Genre = (
    (
        "[LOST|Lost|Missing]: {thing:a}, {colour}, near {spot} in {town}, on {day}.",
        "FOUND at {spot}: {colour:a} {animal}, {mood}, answers to {guest}.",
        "[For sale|Wanted]: {thing:a}, [hardly used|from {year}|{colour} if possible], €{price}.",
        "[The choir|The library|The chess club] of {town} meets on {day} at {hour}.",
    ),
    (
        "[Please ask|Call|Write to] {hero}, {job}, [next to {spot}|{town}, door {big}].",
        "Bring {food} or {any_thing:a}; [all are welcome|{animal:s} are welcome too].",
        "{hero} misses it [very much|every day]; a reward of {big} euros, or {food}.",
    ),
    (
        "No {animal:s}, please.",
        "Thank you! {emoji}",
        "[Ring twice|Knock|Come after {any_hour}|Not on {day2}].",
    ),
)

NOTES: tuple[Genre, ...] = (LETTER, RECIPE, WEATHER, KITCHEN, DIARY, NOTICE)
