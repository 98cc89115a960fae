"""What evaluation tasks score and ask, a second time: after the benchmarks' own Python (LongBench's metrics.py and
pred.py, SQuAD's evaluation, RULER's eval constants, lm-evaluation-harness's gsm8k.yaml and mmlu templates), sharing
nothing with the tuner. Standard library only."""
import collections
import re
import string


def normalize_answer(text):
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def f1(prediction, reference):
    prediction, reference = normalize_answer(prediction).split(), normalize_answer(reference).split()
    same = sum((collections.Counter(prediction) & collections.Counter(reference)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(prediction), same / len(reference)
    return 2 * precision * recall / (precision + recall)


def comparable(text):
    for pattern in [",", r"\$", r"(?s).*#### ", r"\.$"]:
        text = re.sub(pattern, "", text)
    return text.lower()


def last_number(text):
    found = re.findall(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", text)
    return [group for group in found[-1] if group][0].strip() if found else "[invalid]"


def marked_number(text):
    found = re.search(r"#### (\-?[0-9\.\,]+)", text)
    return found.group(1).strip() if found else "[invalid]"


def same_number(number, references):
    return float(any(comparable(number) == comparable(reference) for reference in references))


METRICS = {
    "f1": lambda output, refs: max(f1(output, ref) for ref in refs),
    "exact": lambda output, refs: float(any(normalize_answer(output) == normalize_answer(ref) for ref in refs)),
    "contains_all": lambda output, refs: sum(ref.lower() in output.lower() for ref in refs) / len(refs),
    "contains_any": lambda output, refs: float(any(ref.lower() in output.lower() for ref in refs)),
    "number": lambda output, refs: same_number(last_number(output), refs),
    "number_strict": lambda output, refs: same_number(marked_number(output), refs),
}

_PASSAGES = (
    "Answer the question based on the given passages. Only give me the answer and do not output any other words.\n\n"
    "The following are given passages.\n{context}\n\n"
    "Answer the question based on the given passages. Only give me the answer and do not output any other words.\n\n"
    "Question: {input}\nAnswer:")
_BRIEF = ("Answer the question asconcisely as you can, using a single phrase if possible. "
          "Do not provide any explanation.")
_ARTICLE = ("as concisely as you can, using a single phrase or sentence if possible. If the question cannot be "
            "answered based on the information in the article, write \"unanswerable\". If the question is a yes/no "
            "question, answer \"yes\", \"no\", or \"unanswerable\". Do not provide any explanation.")
LONGBENCH = {  # dataset -> prompt, new tokens
    "hotpotqa": (_PASSAGES, 32),
    "2wikimqa": (_PASSAGES, 32),
    "musique": (_PASSAGES, 32),
    "qasper": ("You are given a scientific article and a question. Answer the question " + _ARTICLE +
               "\n\nArticle: {context}\n\n Answer the question based on the above article " + _ARTICLE +
               "\n\nQuestion: {input}\n\nAnswer:", 128),
    "multifieldqa_en": (
        "Read the following text and answer briefly.\n\n{context}\n\nNow, answer the following question based on the "
        "above text, only give me the answer and do not output any other words.\n\nQuestion: {input}\nAnswer:", 64),
    "narrativeqa": ("You are given a story, which can be either a novel or a movie script, and a question. " + _BRIEF +
                    "\n\nStory: {context}\n\nNow, answer the question based on the story asconcisely as you can, "
                    "using a single phrase if possible. Do not provide any explanation.\n\n"
                    "Question: {input}\n\nAnswer:", 128),
}


def chat(user):
    """ChatML without a system message: what the tiny model's template makes."""
    return f"<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"


def truncate_middle(pieces, max_tokens):
    if len(pieces) <= max_tokens:
        return "".join(pieces)
    half = int(max_tokens / 2)
    return "".join(pieces[:half]) + "".join(pieces[-half:])


def gsm8k_prompt(examples, row):
    shots = "".join(f"Question: {shot['question']}\nAnswer: {shot['answer']}\n\n" for shot in examples)
    return f"{shots}Question: {row['question']}\nAnswer:"


def mmlu_question(row):
    choices = "".join(f"{letter}. {choice}\n" for letter, choice in zip(string.ascii_uppercase, row["choices"]))
    return f"{row['question'].strip()}\n{choices}Answer:"


def mmlu_prompt(examples, row):
    subject = row["subject"].replace("_", " ")
    shots = "".join(f"{mmlu_question(shot)} {string.ascii_uppercase[shot['answer']]}\n\n" for shot in examples)
    return (f"The following are multiple choice questions (with answers) about {subject}.\n\n{shots}"
            f"{mmlu_question(row)}")
