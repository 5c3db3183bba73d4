"""Writes worker/encode/tests/fixtures/bm25_reference.json: vectors of fastembed's Qdrant/bm25, in many languages.

fastembed takes its stop words from files that it would download; here they are ours, so that what the fixture compares is
everything around them: what is a word, stemming, numbers of terms and their weights.

    pip install fastembed==0.9.1
    python scripts/bm25_reference.py
"""

import json
import pathlib
import tempfile

from fastembed.sparse.bm25 import Bm25

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "worker/encode/tests/fixtures/bm25_reference.json"

TEXTS = {
    "english": [
        "The quick brown fox jumps over the lazy dogs, and over the laziest of them again and again.",
        "Don't stop_words _ and snake_case: it's 3.14 (or 2²) at https://example.org/a-b?c=d — O'Reilly's!",
        "", " \n\t ", "the of and", "ΣΊΣΥΦΟΣ rolled the stone; İstanbul was Constantinople; ﬁne ligatures, NAÏVE cafe\u0301s",
        "x" * 40 + " " + "y" * 41,
        "running runner runs ran; generously generosity; " * 90,
        "mixed 東京タワー scripts, Привет мир, नमस्ते दुनिया, สวัสดี, العربية 123 ١٢٣ Ⅻ ½",
    ],
    "german": ["Die Häuser der Städte wären größer, wenn die Bürgermeisterinnen es wüßten: STRASSE und Straße."],
    "french": ["L'été dernier, nous avons mangé des crêpes près de l'église où elles étaient nées."],
    "spanish": ["Los niños corrían por las calles de la ciudad; ¿quién habría imaginado aquella canción?"],
    "italian": ["Le città italiane sono bellissime, e gli abitanti parlavano velocemente dell'università."],
    "portuguese": ["As crianças não tinham comido as maçãs; amanhã irão à estação."],
    "dutch": ["De kinderen speelden in de tuinen van de oude huizen, geïnteresseerd in vlinders."],
    "danish": ["Børnene løb gennem skovene og fandt de gamle æbletræer ved søen."],
    "norwegian": ["Barna løp gjennom skogene og fant de gamle epletrærne ved sjøen."],
    "swedish": ["Barnen sprang genom skogarna och hittade de gamla äppelträden vid sjön."],
    "finnish": ["Lapset juoksivat metsien läpi ja löysivät vanhat omenapuut järven rannalta."],
    "hungarian": ["A gyerekek átfutottak az erdőkön, és megtalálták a régi almafákat a tónál."],
    "romanian": ["Copiii au alergat prin păduri și au găsit merii bătrâni de lângă lacul frumos."],
    "russian": ["Дети бежали через леса и нашли старые яблони у озера, где когда-то жили рыбаки."],
    "greek": ["Τα παιδιά έτρεχαν στα δάση και βρήκαν τις παλιές μηλιές δίπλα στη λίμνη. ΟΔΥΣΣΕΎΣ."],
    "turkish": ["Çocuklar ormanlardan koşarak geçtiler ve gölün yanındaki yaşlı elma ağaçlarını buldular. IŞIK İĞNE"],
    "arabic": ["ركض الأطفال عبر الغابات ووجدوا أشجار التفاح القديمة بجانب البحيرة."],
    "tamil": ["குழந்தைகள் காடுகள் வழியாக ஓடி ஏரியின் அருகே பழைய ஆப்பிள் மரங்களைக் கண்டனர்."],
}

OPTIONS = [
    {"k": 0.9, "b": 0.4, "avg_len": 12.0},
    {"k": 0.0},
    {"disable_stemmer": True},
    {"disable_stemmer": True, "stopwords": ["The", "quick"]},
    {"stopwords": []},
    {"language": "german", "stopwords": ["fox"]},
]


def model(options):
    with tempfile.TemporaryDirectory() as empty:
        words = pathlib.Path(empty)
        for path in (ROOT / "storage/types/src/language/stop_words").glob("*.txt"):
            (words / path.name).write_text(path.read_text())
        (words / "config.json").write_text("{}")
        options = {name: set(value) if name == "stopwords" else value for name, value in options.items()}
        return Bm25("Qdrant/bm25", specific_model_path=empty, **options)


def vector(embedding):
    entries = sorted(zip(embedding.indices.tolist(), embedding.values.tolist()))
    return {"indices": [index for index, _ in entries], "values": [value for _, value in entries]}


def case(options, text):
    bm25 = model(options)
    document, query = next(iter(bm25.embed([text]))), next(iter(bm25.query_embed(text)))
    return {"options": options, "text": text, "document": vector(document), "query": vector(query)}


def main():
    cases = [case({"language": language}, text) for language, texts in TEXTS.items() for text in texts]
    cases += [case(options, TEXTS["english"][0]) for options in OPTIONS]
    lines = ",\n ".join(json.dumps(one, ensure_ascii=False) for one in cases)
    OUT.write_text(f"[{lines}]\n")


if __name__ == "__main__":
    main()
