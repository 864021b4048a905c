"""Words of the synthetic reviews: what reviewers praise and blame in each domain.

An aspect is written `noun phrase | praise; praise; praise | blame; blame; blame`. Some words praise
in one domain and blame in another, on purpose: a quiet hotel, but a quiet loudspeaker.
"""
# Each aspect stays on one line, because that is easier to read.
# ruff: noqa: E501

import dataclasses


@dataclasses.dataclass(frozen=True)
class Aspect:
    """One part or property of a product.

    Attributes:
      noun: Noun phrase of the aspect, with its article.
      praise: Verb phrases that praise it.
      blame: Verb phrases that blame it.
    """

    noun: str
    praise: tuple[str, ...]
    blame: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Domain:
    """A kind of product.

    Attributes:
      name: Name of the domain.
      items: Words for the product.
      aspects: Aspects that reviewers have opinions on.
      asides: Sentences without an opinion.
    """

    name: str
    items: tuple[str, ...]
    aspects: tuple[Aspect, ...]
    asides: tuple[str, ...]


def _split(text: str, separator: str = ";") -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(separator) if part.strip())


def _domain(name: str, items: str, aspects: str, asides: str) -> Domain:
    parsed = []
    for line in aspects.strip().split("\n"):
        noun, praise, blame = _split(line, "|")
        parsed.append(Aspect(noun, _split(praise), _split(blame)))
    return Domain(name, _split(items), tuple(parsed), _split(asides, "\n"))


DOMAINS: tuple[Domain, ...] = (
    _domain(
        "phones",
        "phone; handset; smartphone; mobile",
        """
the battery | lasts a long weekend; is half full at bedtime; charges over one coffee | dies before lunch; drains while the thing lies on the table; needs the wall socket twice a day
the screen | is sharp even in full sun; shows every shade of a sunset; shrugs off scratches | is unreadable outdoors; has dead pixels in one corner; cracks at a stern look
the loudspeaker | is loud enough for the whole kitchen; keeps voices clear; fills a room | is so quiet that I miss calls; rattles at half volume; makes everybody sound underwater
the camera | catches my dog in mid jump; takes warm pictures by candlelight; focuses before I can blink | turns every face orange; smears anything that moves; needs daylight and a prayer
the case | is thin enough for a shirt pocket; feels solid in the hand; survived two falls down the stairs | gets hot against the ear; creaks when I hold it; is slippery as soap
the software | starts apps in a blink; stays out of my way; gets its updates on time | freezes in the middle of a call; pushes adverts at me; forgets my settings overnight
the signal | holds in the cellar and on the train; is steady on the night bus; finds a mast behind every hill | drops out in my own living room; vanishes at the first tree; comes and goes like a ghost
the fingerprint reader | knows me with wet hands; opens in an instant; never needs a second try | refuses my thumb every morning; lets my son in; works one time in five
""",
        """
I carry it for work.
My contract ran out in spring.
I took the grey one.
It replaces a model from four years ago.
I make about ten calls a day.
My daughter has the same one in blue.
""",
    ),
    _domain(
        "kitchen",
        "kettle; blender; coffee maker; toaster",
        """
the lid | clicks shut with one finger; stays put when I pour; comes off for rinsing | flies open while pouring; jams when it is warm; snapped off in the second week
the motor | turns ice into snow; hums along quietly; has strength to spare | howls like a jet; smells of burnt rubber; stalls on a soft banana
the jug | keeps water hot for an hour; is light to lift; pours without a drip | leaks over the counter; weighs a ton when full; leaves plastic taste in the tea
the timer | is predictable to the second; wakes me with fresh coffee; remembers last week's settings | is unpredictable at best; forgets the time at each power cut; beeps all night
the cord | reaches the far socket; winds away neatly; stays cool | is too short for any kitchen; gets alarmingly hot; frays at the plug
cleaning | takes ten seconds under the tap; is a matter of one wipe; needs no tools | takes longer than cooking; needs a toothbrush and patience; leaves crumbs in every corner
the blades | are sharp after a year; chop an onion in a breath; stay firmly in place | are blunt out of the box; rust after two washes; came loose in my soup
the toast | comes out golden on both sides; is even from edge to edge; pops up on cue | is black outside and white inside; comes out pale on one side; sticks and has to be dug out
""",
        """
We are four at breakfast.
It stands next to the sink.
I use it most mornings.
The box also held a small brush.
Ours is the red version.
My old one lasted nine years.
""",
    ),
    _domain(
        "books",
        "novel; book; paperback; thriller",
        """
the plot | is unpredictable to the last page; ties every thread; moves like a river after rain | is predictable by page ten; is thin as tissue; forgets its own beginning
the heroine | feels like someone I know; grows with every chapter; makes mistakes I understand | is a cardboard figure; talks like a leaflet; does whatever the author needs that day
the dialogue | crackles; made me laugh out loud on the bus; sounds like real kitchens and real quarrels | creaks; is stuffed with speeches; sounds as if translated twice
the ending | stayed with me for days; earns its tears; rewards every slow page | is pulled out of a hat; falls flat; stops in the middle of a thought
the opening | grabs you by the collar; sets the scene in one paragraph; promises a lot and keeps it | sends me to sleep; lists every ancestor back to the flood; drags on for eighty pages
the prose | is simple and clear as glass; sings; has not a word too many | is simple-minded; drowns in adjectives; trips over its own commas
the villain | is chilling because he is polite; has reasons I could almost share; haunts the quiet scenes | twirls his moustache; is explained to death; has no reason to be there
the print | is large and easy on tired eyes; sits well on the page; is crisp | is so small that I need a lens; rubs off on the fingers; fades into the gutter
""",
        """
I read it on a train through Wales.
It is the second part of a series.
Our reading circle chose it.
I had the library copy.
It has about four hundred pages.
My aunt gave it to me at Christmas.
""",
    ),
    _domain(
        "films",
        "film; movie; picture; feature",
        """
the leading actor | carries every scene; says more with a glance than others with a page; disappears into the part | sleepwalks through the part; shouts where a whisper would do; has one face for everything
the pacing | never lets go; gives each scene the time it needs; makes two hours feel like one | crawls; makes one hour feel like three; rushes past whatever matters
the music | gives me goose bumps; knows when to be silent; lingers in the ear | tells me what to feel every minute; drowns the dialogue; sounds borrowed from a lift
the photography | turns rain into poetry; makes each frame worth hanging up; finds light where there is none | is too dark to make out a face; wobbles until I feel seasick; looks like a car advert
the jokes | land one after another; come from the characters; had the whole row in stitches | were old when my grandfather told them; are explained twice; met with silence in a full house
the story | trusts its audience; surprises without cheating; is as gripping as a good quarrel | has holes a bus could drive through; makes no sense after the first hour; copies three better ones
the effects | look as real as my own street; serve the story; are breathtaking | look like a school project; hide that nothing happens; have aged before the premiere
the final scene | sent us home in silence and happy; pays off everything; is worth the ticket alone | begs for a sequel; undoes all that came before; left the audience groaning
""",
        """
We saw it on a Tuesday evening.
I watched it at home with subtitles.
The cinema was half full.
It runs for about two hours.
It is a remake, I believe.
My brother picked it.
""",
    ),
    _domain(
        "restaurants",
        "restaurant; place; bistro; diner",
        """
the soup | comes steaming; tastes of a long slow afternoon; is worth the detour | comes cold; tastes of the packet; is mostly salt
the waiters | remember your name; are there before you look up; know every dish by heart | forget half the order; roll their eyes at questions; vanish once you sit down
the portions | leave nobody hungry; are generous; make you skip supper | are light enough to send you to the chip shop; would not feed a sparrow; shrink with every visit
the beer | is cold as a mountain stream; comes from the brewery next door; is poured with care | is warm and flat; tastes of dishwater; costs more than the meal
the table | is quiet enough to talk; looks onto the harbour; is laid like for a wedding | wobbles; stands in the draught of the door; sticks to the elbows
the fish | was swimming this morning; flakes at the touch of a fork; needs nothing but lemon | smells of last week; is dry as cork; still has ice inside
the bill | is cheap for what you get; makes you smile; holds no surprises | is a shock; lists things nobody ordered; takes half an hour to arrive
the dessert | makes the table go silent; is made by somebody's grandmother; is worth saving room for | tastes of fridge; is a frozen brick; is sugar and little else
""",
        """
We were a party of five.
We had a table at eight.
It is round the corner from the station.
I had the set menu.
They close on Mondays.
It was a rainy Thursday.
""",
    ),
    _domain(
        "hotels",
        "hotel; guesthouse; inn; resort",
        """
the room | is so quiet that you hear the sea; has space for a family; smells of fresh linen | is so small that the door hits the bed; smells of old smoke; looks onto the bins
the bed | is soft as a cloud; gave me the best sleep in years; is wide enough for three | sags in the middle; squeaks at every breath; is hard as a church pew
the walls | keep the world out; hold lovely old photographs; are freshly painted | are thin enough to follow the neighbours' film; show patches of mould; shake with each tram
breakfast | is a feast; has warm bread and real jam; is served until noon | is a sad roll and a sachet; is gone by eight; tastes of cardboard
the staff | solve problems before you notice them; greet you like old friends; found my lost ring | shrug at everything; argue about the booking; are nowhere to be seen after nine
the shower | is hot at any hour; massages tired shoulders; is spotless | is cold by seven; drips rather than runs; floods the floor
the pool | is cool and clean; is open till midnight; has room for proper laps | is green at the edges; is closed without notice; is the size of a bathtub
the location | puts the old town at your feet; is a minute from the beach; is calm and still central | is an hour from anything; is under the flight path; is a building site
""",
        """
We stayed three nights in May.
I was there for a conference.
We came by train.
Our room was on the second floor.
We travel with a small dog.
I booked by telephone.
""",
    ),
    _domain(
        "shoes",
        "pair; boot; shoe; trainer",
        """
the soles | grip on wet rock; are soft on long days; look new after a year | slide on a dry floor; split in the first month; are hard as boards
the fit | is right from the first step; leaves room for thick socks; hugs the heel | pinches the toes; is a size off; leaves blisters by noon
the leather | is light and supple; takes polish well; ages with grace | cracks at the bend; is plastic, whatever the label says; stains at the first drop
the laces | stay tied all day; are strong as rope; run smoothly | come undone every mile; snap when pulled; are too short for a bow
the lining | keeps feet warm in snow; breathes in summer; dries overnight | rubs the skin off; smells after two days; peels away in strips
the stitching | is neat and tight; holds where others give up; shows a careful hand | comes apart at the toe; was crooked from the start; lets the rain in
the colour | is exactly as in the picture; stays deep after many walks; goes with everything I own | runs into the socks; is nothing like the picture; fades in one season
the heel | is steady on cobbles; is sound after hundreds of miles; cushions every step | wobbles; wore down in weeks; has sharp edges inside
""",
        """
I walk to work.
They came in a plain box.
I take a nine in most brands.
I needed something for autumn.
These are the brown ones.
My feet are rather narrow.
""",
    ),
    _domain(
        "games",
        "game; board game; card game; box",
        """
the rules | are simple and learnt in five minutes; leave no doubts; fit on one page | contradict each other; take an evening to read; leave out the important part
the playing time | flies by; is just right for a weeknight; suits impatient children | drags on past midnight; is twice what the box says; outlasts everybody's patience
the pieces | are carved with love; feel heavy and good; fit back into the box | snap at the joints; look like cereal gifts; arrive warped
the strategy | has depth for a hundred evenings; is hard in the best way; rewards a bold plan | is solved after two rounds; is luck in disguise; punishes whoever goes first
the artwork | makes you want to move in; is gorgeous; hides small jokes | is muddy and dull; hurts the eyes; was clearly done in a hurry
the teamwork | brings the whole table together; makes even my mother talk tactics; lifts the mood | lets one person play for all; ends in sulking; is a word on the box only
the two-player version | is tense as a duel; works as well as the full table; has become our ritual | is an afterthought; falls apart; is no fun whatsoever
replaying it | is different each time; uncovers new tricks; is what we do every Sunday | brings the same game again; feels like homework; is something nobody asks for
""",
        """
We are usually four.
It was a birthday present.
We have the second edition.
The box is square.
The children are eight and eleven.
We play on Sundays.
""",
    ),
)

GOOD: tuple[str, ...] = _split(
    "excellent; superb; delightful; splendid; dependable; charming; impressive; first-rate;"
    " brilliant; lovely; satisfying; well made; outstanding; terrific; flawless; pleasing;"
    " admirable; wonderful; enjoyable; fantastic; remarkable; top-notch; thoughtful; clever;"
    " worthwhile; magnificent; stylish; refreshing; marvellous; great; good; beautiful;"
    " convincing; faultless; likeable; exquisite; commendable; trustworthy"
)
BAD: tuple[str, ...] = _split(
    "awful; shoddy; disappointing; dreadful; tedious; overpriced; useless; poor; sloppy;"
    " unpleasant; frustrating; lousy; careless; infuriating; second-rate; miserable; half-baked;"
    " terrible; dismal; hopeless; dire; underwhelming; horrid; annoying; pathetic; irritating;"
    " wretched; bad; clumsy; ugly; dull; worthless; deplorable; flimsy; unreliable; appalling;"
    " feeble; bland"
)
EVEN: tuple[str, ...] = _split(
    "average; ordinary; middling; passable; unremarkable; so-so; standard; acceptable; plain;"
    " tolerable; run-of-the-mill; adequate; typical"
)
EVEN_CLAUSES: tuple[str, ...] = _split(
    "does its job and no more; is what one expects at the price; is neither here nor there;"
    " deserves no special mention; is like any other; will please some and bore others;"
    " gives me nothing to report; is fine on some days and not on others;"
    " is halfway between a treat and a trial; leaves me indifferent"
)
