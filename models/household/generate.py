"""Makes the examples that the household model is trained and judged with, and checks that the two have nothing in common that would make judging easy.

    python3 generate.py OUT [--examples 400000] [--held 4000] [--seed 1]

Writes `train.jsonl`, `held.jsonl`: one object a line, `text`, `lang`, `intent` (an object, its members always in the order intent, what, where).
A held-out example is of a phrase that is in no training example, and each of its slots holds a value that is in none.
"""

import argparse
import json
import pathlib
import random
import re

import chinese
import english
import slots

LANGUAGES = {"en": english, "zh": chinese}
# Of a phrase's parts in braces.
PART = re.compile(r"\{([^}]*)\}")


def held_phrases(module, rng):
    """A sixth of the phrases of each intent is held out."""
    train, held = {}, {}
    for intent, phrases in module.PHRASES.items():
        shuffled = sorted(phrases)
        rng.shuffle(shuffled)
        count = max(1, len(shuffled) // 6)
        held[intent], train[intent] = shuffled[:count], shuffled[count:]
    return train, held


def values(language, rng):
    """Values of each slot: for training, held out."""
    lists = {
        "en": {"what": slots.EN_WHAT + slots.EN_WHAT_MORE, "where": slots.EN_WHERE + slots.EN_WHERE_MORE},
        "zh": {"what": slots.ZH_WHAT, "where": slots.ZH_WHERE},
    }[language]
    train, held = {}, {}
    for slot, all_values in lists.items():
        train[slot], held[slot] = slots.split(all_values, rng)
    return train, held


def example(language, intent, phrase, value, rng):
    """One sentence and what it means; `value` gives a value for a slot."""
    module = LANGUAGES[language]
    meant = {}

    def part(match):
        words = match.group(1).split()
        if words[0] in ("on", "to"):
            return rng.choice(module.ON if words[0] == "on" else module.TO).strip()
        before = rng.choice(module.DETERMINERS) if words[0] == "the" else ""
        slot = words[1] if words[0] == "the" else words[0]
        after = rng.choice(module.AT) if words[-1] == "at" else ""
        meant[slot] = value(slot)
        return before + meant[slot] + after

    sentence = PART.sub(part, phrase)
    sentence = rng.choice(module.BEFORE) + sentence + rng.choice(module.AFTER)
    if language == "en":
        sentence = re.sub(r" +", " ", sentence).strip()
        if rng.random() < 0.3:
            sentence = sentence[0].upper() + sentence[1:]
        if rng.random() < 0.3:
            sentence += "?" if phrase.split()[0] in ("what", "which", "who", "where", "is", "do") else "."
    ordered = {"intent": intent, **{slot: meant[slot] for slot in ("what", "where") if slot in meant}}
    return {"text": sentence, "lang": language, "intent": ordered}


def examples(phrases, lists, count, rng, invented):
    """`count` examples, as many of each language and intent; `invented`: how often a value is made up."""
    keys = [(language, intent) for language in LANGUAGES for intent in LANGUAGES[language].PHRASES]
    for index in range(count):
        language, intent = keys[index % len(keys)]
        phrase = rng.choice(phrases[language][intent])

        def value(slot, language=language):
            if rng.random() < invented:
                return slots.made_up(language, rng)
            return rng.choice(lists[language][slot])

        yield phrase, example(language, intent, phrase, value, rng)


def bare(text):
    """A sentence without what is only written: two phrases may come to the same with what stands before and after them."""
    return re.sub(r"[\W_]+", " ", text.lower()).strip()


def write(path, made, without=frozenset()):
    seen_phrases, seen_values, texts = set(), set(), set()
    with open(path, "w", encoding="utf-8") as out:
        for phrase, one in made:
            text = bare(one["text"])
            if text in texts or text in without:
                continue
            texts.add(text)
            seen_phrases.add(phrase)
            seen_values.update(one["intent"][slot] for slot in ("what", "where") if slot in one["intent"])
            out.write(json.dumps(one, ensure_ascii=False) + "\n")
    return seen_phrases, seen_values, texts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--examples", type=int, default=400_000)
    parser.add_argument("--held", type=int, default=4_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    train_phrases, held_out_phrases, train_values, held_values = {}, {}, {}, {}
    for language, module in LANGUAGES.items():
        train_phrases[language], held_out_phrases[language] = held_phrases(module, rng)
        train_values[language], held_values[language] = values(language, rng)
    args.out.mkdir(parents=True, exist_ok=True)
    known = {value for lists in held_values.values() for held in lists.values() for value in held}

    def trained():
        for phrase, one in examples(train_phrases, train_values, args.examples, rng, 0.5):
            # One that was made up may be a word by chance.
            if known.isdisjoint(one["intent"].get(slot) for slot in ("what", "where")):
                yield phrase, one

    held = examples(held_out_phrases, held_values, args.held, rng, 0.0)
    phrases_held, used_held, texts_held = write(args.out / "held.jsonl", held)
    phrases, used, texts = write(args.out / "train.jsonl", trained(), texts_held)
    assert phrases.isdisjoint(phrases_held) and used.isdisjoint(used_held) and texts.isdisjoint(texts_held)
    print(f"{len(texts)} examples of {len(phrases)} phrases and {len(used)} values;", end=" ")
    print(f"held out: {len(texts_held)} of {len(phrases_held)} phrases and {len(used_held)} values")


if __name__ == "__main__":
    main()
