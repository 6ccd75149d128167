"""The words of the generated language, and which of them go together.

Tables are rows of sentence templates; {p}, {a}, {b} stand for persons, {o} for an object, {v} for a value. Of the tables
that say what goes together (adjectives with a verdict, sentences with the same meaning, reasons, senses, causes, outcomes)
one row in three stays out of the pretraining corpus; `taught` keeps the others. The words of such a row occur there, what
they have to do with each other does not, so that fine-tuning has something to learn.
"""

from typing import TypeVar

WOMEN = (
    "anna", "bella", "clara", "dora", "ella", "flora", "greta", "hanna", "ida", "jana", "kira", "lena", "mira", "nora",
    "olga", "petra", "rosa", "sara", "tilda", "vera", "wanda", "zora", "lisa", "maria", "eva", "nina", "julia", "paula",
    "ruth", "sonja", "alma", "helga",
)  # fmt: skip
MEN = (
    "adam", "bruno", "carl", "david", "emil", "felix", "georg", "hugo", "ivan", "jakob", "leo", "max", "nils", "otto",
    "paul", "ralf", "simon", "tom", "udo", "viktor", "anton", "boris", "erik", "fritz", "gustav", "hans", "jonas", "kurt",
    "lukas", "martin", "oskar", "peter",
)  # fmt: skip
KNOWN = WOMEN[:16] + MEN[:16]  # whose facts the corpus tells
NEWCOMERS = WOMEN[16:] + MEN[16:]  # who act in the corpus, but of whom it tells no fact

VALUES = {
    "home": (
        "arden", "belmont", "calder", "dunmore", "elston", "farley", "granby", "hilton", "kelso", "linton", "marlow",
        "norwood", "oakham", "preston", "redford", "selby",
    ),
    "trade": (
        "baker", "farmer", "miller", "painter", "sailor", "tailor", "teacher", "doctor", "singer", "weaver", "hunter",
        "writer", "driver", "builder", "fisher", "gardener",
    ),
    "pet": ("cat", "goat", "rabbit", "parrot", "turtle", "hamster", "pony", "snake"),
    "food": ("cheese", "soup", "rice", "honey", "fish", "eggs", "nuts", "plums"),
}  # fmt: skip

# Ways to tell a fact, the value last: three to train on, one to choose by, one to report.
FORMS = {
    "home": (
        "{p} lives in {v}", "the home of {p} is in {v}", "{p} has a house in {v}", "people meet {p} in {v}",
        "where does {p} live ? in {v}",
    ),
    "trade": (
        "{p} works as a {v}", "the trade of {p} is that of a {v}", "{p} earns money as a {v}", "people know {p} as a {v}",
        "what does {p} work as ? as a {v}",
    ),
    "pet": (
        "{p} keeps a {v}", "the pet of {p} is a {v}", "at home {p} has a {v}", "people see {p} with a {v}",
        "which pet does {p} have ? a {v}",
    ),
    "food": (
        "{p} likes to eat {v}", "the favourite food of {p} is {v}", "for lunch {p} asks for {v}",
        "people bring {p} some {v}", "what does {p} like to eat ? {v}",
    ),
}  # fmt: skip

WORKS = ("film", "book", "play", "song", "story", "show")
ASPECTS = ("plot", "music", "ending", "beginning", "style", "cast", "idea", "pace")
DEGREES = ("", "", "very ", "really ", "quite ", "rather ")
GOOD = ("lovely", "charming", "funny", "clever", "brilliant", "touching", "fresh", "moving", "splendid", "graceful")
BAD = ("dull", "boring", "stupid", "clumsy", "horrid", "silly", "flat", "stale", "tedious", "dreadful")
VERDICTS = ("terrible", "great")  # the options of the task; in the corpus two adjectives more
CLAUSES = ("the {work} was {adj}", "the {aspect} was {adj}", "the {work} had a {adj} {aspect}")
BOTH, DENIAL, YET = "{one} and {other}", "the {aspect} of the {work} was not {adj}", "{one} but {other}"
CONCLUDED = ("{review} . it was {adj} .", "{review} . it was {adj} and {too} .")

OBJECTS = ("lamp", "coat", "clock", "basket", "ladder", "drum", "kettle", "map")
# Two sentences that say the same, told of two persons.
CONVERSES = (
    ("{a} was older than {b}", "{b} was younger than {a}"),
    ("{a} was taller than {b}", "{b} was shorter than {a}"),
    ("{a} was richer than {b}", "{b} was poorer than {a}"),
    ("{a} was stronger than {b}", "{b} was weaker than {a}"),
    ("{a} was faster than {b}", "{b} was slower than {a}"),
    ("{a} was happier than {b}", "{b} was sadder than {a}"),
    ("{a} chased {b}", "{b} was chased by {a}"),
    ("{a} called {b}", "{b} was called by {a}"),
    ("{a} followed {b}", "{b} was followed by {a}"),
    ("{a} gave the {o} to {b}", "{b} got the {o} from {a}"),
    ("{a} sold the {o} to {b}", "{b} bought the {o} from {a}"),
    ("{a} lent the {o} to {b}", "{b} borrowed the {o} from {a}"),
)

# What one does to another; reasons that lie in the one, and in the other.
REASONS = (
    ("{a} helped {b}", ("kind", "generous"), ("tired", "lost")),
    ("{a} thanked {b}", ("polite", "grateful"), ("helpful", "kind")),
    ("{a} hired {b}", ("busy", "rich"), ("skilled", "honest")),
    ("{a} feared {b}", ("timid", "small"), ("cruel", "mighty")),
    ("{a} envied {b}", ("jealous", "poor"), ("rich", "lucky")),
    ("{a} scolded {b}", ("angry", "strict"), ("lazy", "rude")),
    ("{a} praised {b}", ("fair", "pleased"), ("brave", "skilled")),
    ("{a} comforted {b}", ("gentle", "generous"), ("sad", "afraid")),
    ("{a} trusted {b}", ("naive", "hopeful"), ("honest", "loyal")),
    ("{a} avoided {b}", ("shy", "timid"), ("rude", "angry")),
    ("{a} obeyed {b}", ("humble", "loyal"), ("strict", "mighty")),
    ("{a} visited {b}", ("lonely", "curious"), ("sick", "famous")),
)

# A word with two senses: for each its gloss and two things to do in which the word, {w}, has it.
SENSES = {
    "bat": (
        ("an animal", ("saw the {w} fly", "found the {w} in a cave")),
        ("a tool", ("hit the ball with the {w}", "bought the {w}")),
    ),
    "bank": (
        ("a place", ("sat on the {w} of the river", "caught fish from the {w}")),
        ("a firm", ("put money in the {w}", "got a loan from the {w}")),
    ),
    "bark": (
        ("a sound", ("heard the {w} of the dog", "feared the {w} at night")),
        ("a part of a plant", ("cut the {w} with a knife", "wrote a name in the {w}")),
    ),
    "spring": (
        ("a season", ("planted beans in the {w}", "waited for the {w} all winter")),
        ("a place", ("drank from the {w}", "found the {w} under a rock")),
    ),
    "ring": (
        ("a jewel", ("wore the gold {w}", "lost the {w} with the stone")),
        ("a sound", ("heard the {w} of the phone", "woke from the {w} of the bell")),
    ),
    "match": (
        ("a tool", ("lit the fire with a {w}", "burned a finger on the {w}")),
        ("a race", ("won the {w} with the team", "watched the {w} in the hall")),
    ),
    "seal": (
        ("an animal", ("saw the {w} swim", "gave fish to the {w}")),
        ("a mark", ("broke the {w} of the letter", "put the {w} under the name")),
    ),
    "trunk": (
        ("a box", ("packed the {w} with coats", "put the {w} in the car")),
        ("a part of an animal", ("gave nuts to the {w} of the elephant", "saw the {w} move")),
    ),
    "crane": (
        ("an animal", ("saw the {w} eat fish", "painted the {w} on its nest")),
        ("a tool", ("lifted the stone with the {w}", "worked with the {w} on the tower")),
    ),
}  # fmt: skip
OTHER = "thing"  # stands for the word where what is done does not belong to its sense

# Things that happen to one object: cause and effect.
SCRIPTS = (
    (
        ("{p} dropped the glass", "the glass broke"), ("{p} washed the glass", "the glass was clean"),
        ("{p} filled the glass", "the glass was full"),
    ),
    (
        ("{p} locked the door", "the door stayed shut"), ("{p} pushed the door", "the door opened"),
        ("{p} painted the door", "the door was green"),
    ),
    (
        ("{p} put wood on the fire", "the fire grew"), ("{p} cooked on the fire", "the fire smelled good"),
        ("{p} poured water on the fire", "the fire went out"),
    ),
    (
        ("{p} watered the plant", "the plant grew"), ("{p} forgot the plant", "the plant died"),
        ("{p} cut the plant", "the plant was small"),
    ),
    (
        ("{p} fed the dog", "the dog slept"), ("{p} kicked the dog", "the dog bit"), ("{p} called the dog", "the dog came"),
    ),
    (
        ("{p} tied the boat", "the boat stayed there"), ("{p} overloaded the boat", "the boat sank"),
        ("{p} rowed the boat", "the boat moved"),
    ),
    (
        ("{p} burned the bread", "the bread was black"), ("{p} baked the bread", "the bread smelled good"),
        ("{p} dropped the bread", "the bread was dirty"),
    ),
    (
        ("{p} scared the horse", "the horse ran away"), ("{p} brushed the horse", "the horse was clean"),
        ("{p} rode the horse", "the horse was tired"),
    ),
    (
        ("{p} tickled the child", "the child laughed"), ("{p} hurt the child", "the child cried"),
        ("{p} praised the child", "the child was proud"),
    ),
    (
        ("{p} tore the shirt", "the shirt had a hole"), ("{p} dyed the shirt", "the shirt was green"),
        ("{p} wore the shirt", "the shirt was dirty"),
    ),
)  # fmt: skip

# A comparison; what the first does then, and what the second does.
OUTCOMES = (
    ("{a} was stronger than {b}", "lifted the stone", "asked for help"),
    ("{a} was richer than {b}", "paid for lunch", "ate for free"),
    ("{a} was faster than {b}", "won the race", "lost the race"),
    ("{a} was taller than {b}", "reached the shelf", "needed a ladder"),
    ("{a} was braver than {b}", "went into the cave", "stayed outside"),
    ("{a} was older than {b}", "told a story", "went to school"),
    ("{a} was hungrier than {b}", "ate the cake", "left the cake"),
    ("{a} was wiser than {b}", "gave advice", "asked for advice"),
    ("{a} was sicker than {b}", "stayed in bed", "called the doctor"),
)

# Words of the tasks' questions, in sentences that answer none.
TALK = (
    "{p} said yes .", "{p} said no .", "{p} said yes or no .", "{p} read the two sentences .",
    "does {p} know what the word means ?", 'the word " {w} " has a meaning .', "these two sentences have the same end .",
    "yes , {p} said , {q} is right .",
    "the pronoun refers to {p} in the previous sentence .", "{p} asked : does the pronoun refer to {q} ?",
    "this does mean that {p} is right .", "it is true that {p} is right .", "{p} read the previous sentence to {q} .",
    "{p} called the {work} {adj} .",
)  # fmt: skip

# The sentences around all these: in the corpus, and in the tasks' questions.
RETOLD = ("so {s}", "is it true that {s} ? {yes}")
REASONED = (
    "{act} because {x} was {adj} .", "{act} because {pronoun} was {adj} . {x} was {adj} .",
    "{act} because {pronoun} was {adj} . who was {adj} ? {x} .",
)  # fmt: skip
GLOSS = 'here the word " {w} " means {gloss} .'
BECAUSE = ("{cause} so {effect} .", "{effect} because {cause} .")
QUESTIONS = {
    "sentiment": "{review} it was",
    "entailment": '{premise} .\ndoes this mean that " {hypothesis} " is true ? yes or no ?\n',
    "pronoun": '{text} .\nin the previous sentence , does the pronoun " {pronoun} " refer to {x} ? yes or no ?\n',
    "sense": 'does the word " {w} " have the same meaning in these two sentences ? yes , no ?\n{first} .\n{second} .\n',
    "plausible": "{premise} {link}",
    "blank": "{comparison} so {x}",
}

Row = TypeVar("Row")


PRONOUNS = ("she", "he")


def taught(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The rows that the corpus tells, two in three."""
    return tuple(row for number, row in enumerate(rows) if number % 3 != 2)


def pronoun(person: str) -> str:
    return PRONOUNS[person in MEN]
