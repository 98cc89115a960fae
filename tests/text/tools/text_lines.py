"""Generated text that is hard on tokenizers: every script, white space, digits, code, broken-up and special forms."""
import random
import unicodedata

WORDS = ("the of and to in a is that for it was on are as with his they at be this from I have or by one had not but what "
         "all were when we there can an your which their said if do will each about how up out them then she many some so "
         "these would other into has more her two like him see time could no make than first been its who now people my "
         "made over did down only way find use may water long little very after words called just where most know").split()
CONTRACTIONS = ["I'm", "you're", "he's", "we've", "they'll", "she'd", "don't", "I'M", "YOU'RE", "HE'S", "We'Ve", "it\u2019s",
                "'tis", "rock'n'roll", "o'clock", "d'accord", "'s", "'S", "'\u017f", "''d", "'ll'"]
EMOJI = ["\U0001f600", "\U0001f44d\U0001f3fd", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u2764\ufe0f", "\U0001f1e9\U0001f1ea",
         "\U0001f9d1\u200d\U0001f680", "\u263a", "\U0001f3f4\U000e0067\U000e0062\U000e007f", "\u2728"]
SCRIPTS = ["\u4f60\u597d\u4e16\u754c", "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8", "\ud55c\uad6d\uc5b4 \ubb38\uc7a5", "\u041f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440",
           "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "\u05e9\u05dc\u05d5\u05dd", "\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e\u0937\u093e", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
           "\u0391\u03b8\u03ae\u03bd\u03b1", "\u10e5\u10d0\u10e0\u10d7\u10e3\u10da\u10d8", "\U00010338\U0001033f", "\U0001d54f\U0001d7d8", "na\u00efve caf\u00e9 \u00dcber stra\u00dfe", "\u1e9e\ufb01\ufb03"]
SPACES = [" ", "  ", "   ", "\t", "\t\t", "\n", "\n\n", "\r\n", "\r", " \n", "\n ", " \n \n  ", "\u00a0", "\u3000", "\u2003\u2009",
          "\u2028", "\u2029", "\u0085", "\u180e", "\u200b", "\x0b", "\x0c", "\x1c\x1f", " " * 17, "\t    ", "\n\n\n\n", "\ufeff"]
NUMBERS = ["0", "7", "42", "1234567890", "3.14159", "1,000,000", "0x1F", "1e-9", "\u0663\u0664", "\u00b2\u00bd", "\u2167", "\u4e94", "2024-01-31", "12:30",
           "\u09ea\u09eb", "+49 (0)30 1234-567", "99%", "$5.00", "\U0001d7ce\U0001d7cf"]
CODE = ["def f(x):\n    return x**2\n", "if (a != b && c <= d) { e->f(); }", "#include <vector>\n", "for i in range(10): print(i)",
        "SELECT * FROM t WHERE id='x';", "<div class=\"a\">&nbsp;</div>", "\\frac{a}{b}", "x = {'k': [1, 2, 3]}", "/* c */ // d",
        "https://example.org/a?b=c&d=%20#e", "foo_bar.bazQux::operator<<()", "```python\n\tpass\n```", "\"\\u00e9\\n\"", "!!!???...---___"]
CONTROLS = ["\x00", "\x01\x02", "\x07", "\x1b[31m", "\x7f", "\u0080\u009f", "\ufffd", "\ufffe", "\U0010ffff", "\u2060", "\u202e", "\u00ad"]
MARKS = ["e\u0301", "a\u0308\u0323", "a\u0323\u0308", "\u1100\u1161\u11a8", "\u212b", "\u2126", "o\u0302\u0301", "\u0344", "\u0958", "q\u0307\u0323", "\u0301", "n\u0303o", "\ufa1e", "\U0001d15e"]


def word(rng):
    text = rng.choice(WORDS) if rng.random() < 0.7 else "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(1, 14)))
    return rng.choice([text, text, text, text.capitalize(), text.upper()])


def prose(rng):
    words = [word(rng) for _ in range(rng.randint(1, 12))]
    return "".join(w + rng.choice([" ", " ", " ", ", ", ". ", "; ", "-", "'s ", "\n", "  "]) for w in words)


def random_characters(rng):
    """Any assigned characters, from everywhere in Unicode."""
    out = []
    while len(out) < rng.randint(1, 12):
        c = chr(rng.choice([rng.randrange(0x80), rng.randrange(0x800), rng.randrange(0x3000), rng.randrange(0x10000),
                            rng.randrange(0x20000)]))
        if unicodedata.category(c) not in ("Cn", "Cs", "Co"):
            out.append(c)
    return "".join(out)


def lines(count, special_tokens, seed):
    """`count` lines; a part of them with tokens of `special_tokens` written out, whole and broken."""
    rng = random.Random(seed)
    pools = [SCRIPTS, SPACES, NUMBERS, CODE, CONTROLS, MARKS, EMOJI, CONTRACTIONS]

    def piece():
        kind = rng.random()
        if kind < 0.3:
            return prose(rng)
        if kind < 0.85:
            return rng.choice(rng.choice(pools))
        if kind < 0.92:
            return random_characters(rng)
        if kind < 0.97 or not special_tokens:
            return rng.choice(SPACES) + word(rng) + rng.choice(SPACES)
        token = rng.choice(special_tokens)
        return rng.choice([token, token, " " + token, token + " ", token[:-1], token[1:], token + token])

    out = ["", " ", "\n", "a", " a", "  a", "a ", "\u2581", "\u2581a \u2581", " \u2581"]
    while len(out) < count:
        line = "".join(piece() for _ in range(rng.randint(1, 6)))
        out.append(unicodedata.normalize("NFD", line) if rng.random() < 0.1 else line)
    return out
