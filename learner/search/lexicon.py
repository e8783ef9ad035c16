"""Words of a language that say how a query is meant, not what it is about.

Owns the tables: words without a subject, and words before a number, a time or what is not wanted. Knows no
items. A language is named as Snowball names it; what is not here is read as English.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

_FUNCTION = {
    "english":
        "a about all also am an and any are as at be been but by can could did do does each every for "
        "from get give had has have he her him his how i if in into is it its just let like looking "
        "made make me more most much my of on one only or other our out please really she should show "
        "so some than that the their them then there these they this those to too up us very want was "
        "we were what when where which who whose will with would you your need find anything "
        "something everything good best great nice featuring set see search suggest recommend not no "
        "nor without",
    "german":
        "aber alle als am an auch auf aus bei bin bitte da das dem den der des die doch ein eine "
        "einem einen einer es etwas fuer für gute guten hat ich ihr im in ist ja kann man mein meine "
        "mich mir mit möchte nach noch nur oder schöne sich sie sind so suche über um und uns von vom "
        "was welche wie will wir wo zeig zu zum zur",
    "french":
        "a à ai au aux avec bon bonne ce ces cette dans de des du elle en est et il ils je la le les "
        "leur lui ma mais me mes moi mon nous on ou par pas pour que quel quelle qui quelque s se si "
        "son sur te tu un une veux vous y cherche",
    "spanish":
        "a al algo buena bueno como con de del el ella en es esta este la las le lo los me mi muy o "
        "para pero por que quiero se si su sus también te un una uno unos y busco",
    "italian":
        "a al alla che con da dal del della di e è gli ho i il in io la le lo ma mi nel o per qualche "
        "qualcosa quale se si su sul tra un una uno vorrei cerco",
    "dutch":
        "aan als bij dat de den die dit een en er goede het hij iets ik in is maar me mijn naar of om "
        "ook op te tot uit van voor waar wat wil worden ze zoek",
    "portuguese":
        "a ao algo as com da das de do dos e ela em é eu isso mais mas me meu na nas no nos o os ou "
        "para por quero que se seu sua um uma procuro",
    "swedish":
        "en ett och att det den i jag är på för med av till som om har inte vill något någon bra "
        "söker",
}  # fmt: skip

# What a query calls the things it looks for: subject enough only where nothing else is said.
_KINDS = frozenset(
    [
        "film", "films", "movie", "movies", "flick", "flicks", "item", "items", "product", "products",
        "thing", "things", "stuff", "kind", "kinds", "type", "types", "sort", "genre", "genres",
        "category", "categories", "title", "titles", "filme", "produkte", "artikel", "películas",
        "pelicula", "película", "productos", "produits",
    ]
)  # fmt: skip

# Forms of one word, or names of one thing, that a stem does not join.
_ALIKE = (
    ("children", "kids", "child", "kid"), ("science fiction", "sci fi", "scifi", "sf"),
    ("romance", "romantic"),
    ("men", "man"), ("women", "woman"),
)  # fmt: skip

_ARTICLES = frozenset(
    [
        "a", "an", "the", "der", "die", "das", "le", "la", "les", "l", "el", "los", "las", "il", "lo",
        "i", "gli", "un", "une", "una", "een", "de", "het",
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Phrases:
    """Patterns, plain as `words.plain` makes texts, of what stands before a number, a year or no wish."""

    below: str = r"under|below|less than|cheaper than|lower than"
    at_most: str = r"at most|up to|no more than|not more than|maximum|max"
    above: str = r"over|above|more than|higher than"
    at_least: str = r"at least|no less than|minimum|min|starting at"
    before: str = r"before|until|prior to|older than|earlier than"
    after: str = r"after|later than|newer than"
    since: str = r"since|from"
    in_year: str = r"from|in|of|out in|made in"
    decade: str = r"from the|in the|of the|the"
    between: str = r"between"
    to: str = r"and|to|-|–"
    without: str = r"but not|and not|not|without|no|except for|except|excluding|other than|but no"
    intended: str = r"for"


_PHRASES = {
    "english": Phrases(),
    "german": Phrases(
        below=r"unter|weniger als|billiger als|gunstiger als", at_most=r"hochstens|maximal|bis zu",
        above=r"uber|mehr als|teurer als", at_least=r"mindestens",
        before=r"vor|bis", after=r"nach", since=r"seit|ab",
        in_year=r"von|aus|aus dem jahr", decade=r"aus den|der|die", between=r"zwischen", to=r"und|bis|-|–",
        without=r"aber nicht|aber kein|aber keine|nicht|ohne|kein|keine|keinen|ausser", intended=r"fur",
    ),
    "french": Phrases(
        below=r"moins de|sous|moins cher que", at_most=r"au plus|jusqu a|maximum",
        above=r"plus de", at_least=r"au moins",
        before=r"avant", after=r"apres", since=r"depuis", in_year=r"de|en",
        decade=r"des annees|annees|les annees", between=r"entre", to=r"et|a|-|–",
        without=r"mais pas de|mais pas|sans|pas de|pas|sauf", intended=r"pour les|pour",
    ),
    "spanish": Phrases(
        below=r"menos de|por debajo de|bajo", at_most=r"como maximo|hasta",
        above=r"mas de", at_least=r"al menos", before=r"antes de", after=r"despues de", since=r"desde",
        in_year=r"de|en", decade=r"de los anos|los anos|anos|de los", between=r"entre", to=r"y|a|-|–",
        without=r"pero no|sin|no|excepto|salvo", intended=r"para",
    ),
}  # fmt: skip


@lru_cache(maxsize=32)
def function_words(language: str) -> frozenset[str]:
    """Words of a language that no text is about, plain: as `learner.search.words.plain` has them."""
    from learner.search.words import plain

    words = _FUNCTION.get(language, _FUNCTION["english"])
    return frozenset(re.findall(r"\w+", plain(words)))


def languages() -> tuple[str, ...]:
    """Those that have a table."""
    return tuple(_FUNCTION)


def phrases(language: str) -> Phrases:
    """What stands before numbers and unwanted words."""
    return _PHRASES.get(language, _PHRASES["english"])


def is_kind(word: str) -> bool:
    """Whether a word only says that things are looked for."""
    return word in _KINDS


def alike(phrase: str) -> list[str]:
    """A plain phrase, and behind it others that mean the same."""
    group: tuple[str, ...] = next((group for group in _ALIKE if phrase in group), ())
    return [phrase, *(other for other in group if other != phrase)]


def is_article(word: str) -> bool:
    """Whether a title is the same without the word."""
    return word in _ARTICLES
