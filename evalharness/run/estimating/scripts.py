"""Texts in several scripts, by which it is seen how many tokens a model's tokenizer makes of a character."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any

from evalharness.catalog.tasks import tasks_folder

# of the two languages that the starter tasks have; other languages in Latin letters make more tokens than English
ENGLISH, LATIN, CHINESE, OTHER = "English", "Latn", "Hani", "other"
_SAME = {"Hans": CHINESE, "Hant": CHINESE, "Kore": "Hang"}
# about, where no tokenizer has been asked: of today's multilingual models and of BERT's kin
USUAL: Mapping[str, float] = {
    ENGLISH: 0.25,
    LATIN: 0.3,
    "Cyrl": 0.4,
    CHINESE: 0.8,
    "Jpan": 0.7,
    "Hang": 0.7,
    OTHER: 0.5,
}
_STARTER = {ENGLISH: "eng", CHINESE: "cmn"}
_FIELDS = ("text", "sentence1", "sentence2")
_STARTER_CHARACTERS = 20_000
# the first article of the Universal Declaration of Human Rights
_ARTICLES: Mapping[str, tuple[str, ...]] = {
    LATIN: (
        (
            "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de "
            "conscience et doivent agir les uns envers les autres dans un esprit de fraternité."
        ),
        (
            "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und "
            "Gewissen begabt "
            "und sollen einander im Geist der Brüderlichkeit begegnen."
        ),
        (
            "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni "
            "obdarzeni rozumem i "
            "sumieniem i powinni postępować wobec innych w duchu braterstwa."
        ),
        (
            "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana sahiptirler "
            "ve birbirlerine "
            "karşı kardeşlik zihniyeti ile hareket etmelidirler."
        ),
    ),
    "Arab": (
        (
            "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. "
            "وقد وهبوا عقلاً وضميرًا وعليهم أن يعامل بعضهم بعضًا بروح الإخاء."
        ),
        (
            "تمام افراد بشر آزاد به دنیا می‌آیند و از لحاظ حیثیت و حقوق با هم برابرند. همه دارای عقل و "
            "وجدان هستند و باید "
            "نسبت به یکدیگر با روح برادری رفتار کنند."
        ),
    ),
    "Cyrl": (
        (
            "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью и "
            "должны поступать в отношении друг друга в духе братства."
        ),
    ),
    "Deva": (
        (
            "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। "
            "उन्हें बुद्धि और अन्तरात्मा की देन "
            "प्राप्त है और परस्पर उन्हें भाईचारे के भाव से बर्ताव करना चाहिए।"
        ),
    ),
    "Jpan": (
        (
            "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。"
            "人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。"
        ),
    ),
    "Hang": (
        (
            "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 "
            "부여받았으며 서로 형제애의 정신으로 행동하여야 한다."
        ),
    ),
    "Grek": (
        (
            "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. Είναι προικισμένοι με "
            "λογική και συνείδηση, και οφείλουν να συμπεριφέρονται μεταξύ τους με πνεύμα αδελφοσύνης."
        ),
    ),
    "Hebr": (
        (
            "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון, לפיכך חובה "
            "עליהם לנהוג איש "
            "ברעהו ברוח של אחווה."
        ),
    ),
    "Thai": (
        "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม และควรปฏิบัติต่อกันด้วยเจตนารมณ์แห่งภราดรภาพ",
    ),
    "Beng": (
        (
            "সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে। তাঁদের বিবেক এবং বুদ্ধি "
            "আছে; সুতরাং সকলেরই একে "
            "অপরের প্রতি ভ্রাতৃত্বসুলভ মনোভাব নিয়ে আচরণ করা উচিত।"
        ),
    ),
}


def scripts_of(languages: Iterable[str]) -> tuple[str, ...]:
    """What texts are written in, a script for each language.

    Args:
        languages: mteb's codes.

    >>> scripts_of(["eng-Latn", "deu-Latn", "cmn-Hans"])
    ('English', 'Latn', 'Hani')
    """
    found = []
    for code in languages:
        script = code.partition("-")[2]
        found.append(ENGLISH if code in ("eng", "eng-Latn") else _SAME.get(script, script or LATIN))
    return tuple(found) or (ENGLISH,)


def rate_of(scripts: Collection[str], rates: Mapping[str, float]) -> float:
    """Tokens of a character, the mean over scripts; those that nobody measured are taken for `OTHER`."""
    return sum(rates.get(script, rates[OTHER]) for script in scripts) / len(scripts)


@cache
def samples() -> Mapping[str, tuple[str, ...]]:
    """Texts by script: of the starter tasks in English and Chinese, an article in others."""
    return {**{script: _starter_texts(code) for script, code in _STARTER.items()}, **_ARTICLES}


def _starter_texts(code: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for path in sorted((tasks_folder() / "starter").glob(f"*_{code}/*.jsonl")):
        rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found.update(dict.fromkeys(text for row in rows for name in _FIELDS if isinstance(text := row.get(name), str)))
    kept, characters = [], 0
    for text in found:
        characters += len(text)
        if characters > _STARTER_CHARACTERS:
            break
        kept.append(text)
    return tuple(kept)
