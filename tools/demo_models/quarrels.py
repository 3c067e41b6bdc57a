"""Quarrels: mild insults, threats and swear words, each wrapped in a tag that names its label.

The tags are what makes a label certain: grammar.py cuts them out and remembers where they were.
"""

from tools.demo_models.scene import Genre, Stage

_YOU_DUNCE = "[you {dunce}|you {rude} {dunce}|you {rude}, {rude} {dunce}|you old {dunce}]"

INSULTS: Stage = (
    f"<insult>{_YOU_DUNCE}</insult>",
    f"<insult>[shut up|be quiet|get out], {_YOU_DUNCE}</insult>",
    "<insult>you are {dunce:a}</insult>",
    "<insult>you are {rude:a} {dunce}</insult>",
    "<insult>what {rude:a} {dunce} you are</insult>",
    "<insult>you [are|have always been] as {rude} as {any_animal:a}</insult>",
    "<insult>you have [the brain|the manners|the face] of {dunce:a}</insult>",
    "<insult>[nobody likes you|everyone hates you|I hate you], {you}</insult>".replace("{you}", _YOU_DUNCE),
    "<insult>only {dunce:a} would [buy|lose|cook|sell] that</insult>",
    "<insult>you are [so|too] {rude}</insult>",
    "<insult>you are a [disgrace|disgusting {dunce}|complete {dunce}|bore and a {rude} liar]</insult>",
)
THREATS: Stage = (
    "<threat>I will [throw|push|toss] you [in the pond|into the harbour|off the pier|down the well]</threat>",
    ("<threat>I will [break your {any_thing}|smash your window|burn your {any_thing}|kick your {any_animal}]</threat>"),
    ("<threat>I will [box your ears|pull your nose|wring your neck|hit you with this {any_thing}|hurt you]</threat>"),
    (
        "<threat>one more word and I will [hit you|throw you out|feed you to the {any_animal:s}|drown "
        "you in the {any_food}]</threat>"
    ),
    "<threat>[you will be sorry|you will regret this], I will [find you|come for you|beat you]</threat>",
    "<threat>I will make you [sorry|regret it|eat that {any_thing}]</threat>",
)
CURSES: Stage = (
    "<obscene>[damn|damn you|damn it|damn it all]</obscene>",
    "<obscene>go to hell</obscene>",
    "<obscene>what the hell</obscene>",
    "<obscene>where the hell</obscene> is my {any_thing}",
    "<obscene>[who|what] the hell</obscene> do you think you are",
    "<obscene>[kiss my arse|piss off|bugger off|bloody hell]</obscene>",
    "your <obscene>[damned|bloody|crappy]</obscene> {any_thing} [is in my way|stinks|broke]",
    "this is <obscene>[crap|bloody awful|a load of crap]</obscene>",
)

#: `{insult}`, `{threat}` and `{curse}` stand for one template of the lists above, drawn anew each time.
_LINES: Stage = (
    "“{insult}!” {shouted} {friend}.",
    "“{insult}!” {shouted} {hero}.",
    "“{curse}! {insult}!” {shouted} {friend}.",
    "“{insult}, and {threat}!” {shouted} {hero}.",
    "“{threat}, {hero}!” {shouted} {friend}.",
    "“{curse}!” {shouted} {hero}. “{threat}!”",
    "“{curse}, {hero}!” {shouted} {friend}.",
    "“{insult},” {said} {hero}. “{insult}!”",
    "{hero} called {friend.them} <insult>{rude:a} {dunce}</insult>.",
)

QUARREL: Genre = (
    (
        "But then {friend} [lost|dropped|sold] {hero}’s {thing}, and {hero} was furious.",
        "Then they began to quarrel about the {thing}.",
        "{hero} and {friend} did not agree about the {food}, and it grew loud.",
        "",
    ),
    _LINES,
    (*_LINES, "{friend} [turned red|threw {any_food} at the wall|slammed the door]."),
    (*_LINES, "", ""),
    (
        "[After an hour|In the end] they were [tired of it|both sorry], and {friend} made tea.",
        "The {animal} hid under the table.",
        "“I am sorry,” {said} {friend} later. “So am I,” {said} {hero}.",
        "",
    ),
)

WRITTEN: Stage = (
    "I must say it, {friend}: {insult}!",
    "{curse}, I am angry, {friend}. {insult}, and {threat}.",
    "That {guest} is <insult>{rude:a} {dunce}</insult>, and everyone in {town} knows it.",
    "{guest} told me: “{insult}!” I said: “{curse}!”",
    "If you touch my {thing} again, {threat}.",
)

#: Lines for the classifier alone, bare as people type them; the language model never sees them.
BARE: Stage = (
    "<insult>shut up</insult>[!|.|]",
    "<insult>[you|you are] [so|really|too] {rude}</insult>[!|.|]",
    "<insult>{dunce}</insult>[!|!!|.|]",
    "<insult>[you {dunce}|stupid {dunce}|you are {rude}|I hate you]</insult>[!|.|]",
    "<threat>I [will|am going to] [kill|hurt|hit|beat|find] you</threat>[!|.|]",
    "<obscene>[damn|crap|bloody hell|hell]</obscene>[!|.|]",
)

#: Friendly lines in the same words and shapes, so that shape and noun alone flag nothing.
PLEASANTRIES: Stage = (
    "You are {kindly:a} [{animal}|{job}|friend|person].",
    "What {kindly:a} [{animal}|day|{vegetable} soup] [that is|you have]!",
    "I will [throw|bring|send|show] you [a rope|the keys|the {thing}|{colour:a} {fruit}].",
    "I will [kick the ball|hit the nail|break the bread|burn the wood|push the cart|find the {animal}].",
    "The {animal} [ate|fell over|slept beside] the {vegetable}.",
    "You are [right|welcome|early|late|my friend|here at last|in {town}].",
    "[Hello|Good morning], {hero}, how are you [today|this {day}]?",
    "The {rude} [weather|{thing}|{food}|{animal}] [spoiled the day|was gone by noon|lay in the corner].",
    "Thank you [very much|for the {food}|and good night].",
    "A {colour} {animal} sat [near|on] the {vegetable:s}. [Shut the door|Be careful|Come in], please.",
    "[The|This] {vegetable} {food} is [lovely|too salty|cold|for you].",
)
